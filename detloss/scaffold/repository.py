"""The template as a git repository with a tag a version, which is the only kind that copier can update from.

The template ships as plain folders. A repository is made of them in the user's home, always at the same place below it,
so that the answers file of a package means the same on a collaborator's machine. Each version is one commit without
parent, whose author and date are fixed: everybody has the same commits, and versions that another installed detloss
brought stay where they are.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from detloss.errors import ScaffoldError

__all__ = ["LOCATION", "TEMPLATES", "current_template", "git", "outside_hooks", "refresh_repository"]

TEMPLATES = Path(__file__).parent / "templates"
"""One folder a version: v1, v2 and so on."""

LOCATION = "~/.local/share/detloss/template"
"""Where the repository is. The template's answers file has this very text; so it is the same on every system."""


def current_template(templates: Path = TEMPLATES) -> Path:
    """Return the folder of the newest version."""
    return _versions(templates)[-1]


def refresh_repository(templates: Path = TEMPLATES) -> Path:
    """Make the repository at `LOCATION`, or bring it up to date, and return its folder.

    Args:
        templates: A folder of versions, like `TEMPLATES`.

    Raises:
        ScaffoldError: git is not installed, or cannot write there.
    """
    repository = Path(LOCATION).expanduser()
    try:
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            _git(repository, scratch, "init", "--quiet", "--template=")
            # Older copiers look at HEAD before they look for tags: it is a commit of nothing, as the folder is empty.
            empty = _git(repository, scratch, "write-tree", GIT_INDEX_FILE=f"{scratch}/empty.index")
            nothing = _git(repository, scratch, "commit-tree", "-m", "See the tags", empty)
            _git(repository, scratch, "update-ref", "refs/heads/main", nothing)
            _git(repository, scratch, "symbolic-ref", "HEAD", "refs/heads/main")
            for folder in _versions(templates):
                index = {"GIT_INDEX_FILE": f"{scratch}/{folder.name}.index"}
                # `--force`: a user's own list of ignored files must not leave holes in the template.
                _git(repository, scratch, f"--work-tree={folder}", "add", "--all", "--force", ".", **index)
                tree = _git(repository, scratch, "write-tree", **index)
                commit = _git(repository, scratch, "commit-tree", "-m", folder.name, tree)
                _git(repository, scratch, "update-ref", f"refs/tags/{folder.name}", commit)
    except OSError as error:
        raise ScaffoldError(f"The template's repository cannot be written to {repository}: {error}.") from error
    return repository


def git(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run git and return what it printed.

    Raises:
        ScaffoldError: git is not installed, or fails.
    """
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**outside_hooks(), **(environment or {})},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise ScaffoldError(
            "Updating a package needs git, which is not installed. Install it from https://git-scm.com or with your "
            "system's package manager; `detloss new` itself does without."
        ) from error
    if done.returncode:
        raise ScaffoldError(f"`{' '.join(command)}` failed in {cwd}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def outside_hooks() -> dict[str, str]:
    """Return the environment without the variables of a git hook, which would lead git to the hook's repository."""
    elsewhere = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}
    return {key: value for key, value in os.environ.items() if key not in elsewhere}


def _versions(templates: Path) -> list[Path]:
    return sorted(templates.glob("v[0-9]*"), key=lambda folder: int(folder.name[1:]))


def _git(repository: Path, scratch: str, *arguments: str, **environment: str) -> str:
    """Run git on the repository, without the user's configuration, hooks and attributes, or the time."""
    fixed = {
        "GIT_DIR": str(repository / ".git"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "XDG_CONFIG_HOME": scratch,
        "HOME": scratch,
    }
    for who in ("AUTHOR", "COMMITTER"):
        fixed |= {
            f"GIT_{who}_NAME": "detloss",
            f"GIT_{who}_EMAIL": "detloss@localhost",
            f"GIT_{who}_DATE": "2000-01-01T00:00:00+00:00",
        }
    return git(*arguments, cwd=repository, environment={**fixed, **environment})
