"""Write a plugin package from the template, and update one."""

from __future__ import annotations

import keyword
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from detloss._version import __version__
from detloss.errors import ScaffoldError
from detloss.registry import find_plugins
from detloss.registry.distributions import normalized
from detloss.registry.entry_points import NAME_PATTERN
from detloss.scaffold.repository import LOCATION, TEMPLATES, current_template, git, outside_hooks, refresh_repository

__all__ = ["ANSWERS", "Update", "default_distribution", "update_plugin", "write_plugin"]

ANSWERS = ".copier-answers.yml"
"""Where a package keeps the answers that it was made of, and the template's version."""


def write_plugin(
    name: str,
    folder: Path | str | None = None,
    answers: Mapping[str, Any] | None = None,
    *,
    ask: bool = False,
    templates: Path = TEMPLATES,
) -> tuple[Path, tuple[str, ...]]:
    """Write a complete plugin package of one loss.

    Args:
        name: What configs call the loss.
        folder: Where to; by default a new folder in the current one, with the name of the distribution.
        answers: To the questions of the template: distribution, title, class_name, paper, space, parameters
            (``"alpha=3.0 beta=1:ge=0,le=2"``), author, license.
        ask: Ask on the terminal for what is left out; otherwise it gets its default.
        templates: A folder of versions of the template.

    Returns:
        The folder and the files in it, as paths relative to it.

    Raises:
        ScaffoldError: The folder holds something, an installed package has the name, an answer is wrong, or copier is
            not installed. Nothing is written then.
    """
    given = {key: value.strip() if isinstance(value, str) else value for key, value in (answers or {}).items()}
    given.setdefault("distribution", default_distribution(name))
    _check_name(name, given["distribution"])
    target = Path(given["distribution"] if folder is None else folder)
    _check_empty(target)
    given |= {"loss": name, "year": date.today().year, "written_for": ".".join(__version__.split(".")[:2])}
    copier = _copier()
    from copier.errors import CopierAnswersInterrupt, CopierError  # noqa: PLC0415 - an extra, which is there

    try:
        copier.run_copy(
            str(current_template(templates)), target, given, defaults=not ask, overwrite=True, quiet=True, unsafe=False
        )
    except CopierAnswersInterrupt:  # Ctrl-C at a question, and a CopierError as well
        raise KeyboardInterrupt from None
    except ValueError as error:
        # Copier names the question, "Validation error for question 'title': ...", and folded text has many spaces.
        message = re.sub(r"^Validation error for question '(\w+)'", r"\1", str(error))
        raise ScaffoldError(f"{' '.join(message.split())} Nothing was written.") from error
    except (CopierError, OSError) as error:
        raise ScaffoldError(f"{target} cannot be written: {error}") from error
    files = (path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    return target, tuple(sorted(file for file in files if not file.startswith(".git/")))


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        before: The version of the template that the package came from.
        after: The version that it has now.
        changed: The package's files that differ from the last commit, relative to the top of its repository.
        conflicts: Those of them where the author and the template changed the same lines; both are in the file.
    """

    before: str
    after: str
    changed: tuple[str, ...]
    conflicts: tuple[str, ...]


def update_plugin(folder: Path | str = ".", *, templates: Path = TEMPLATES) -> Update:
    """Bring what the newest template has improved into a package, and keep its author's edits.

    It is `copier update`, after the template's repository was refreshed. The package must be in git with everything
    committed, so that what the update changes can be looked at and undone.

    Args:
        folder: The package that `detloss new` wrote.
        templates: A folder of versions of the template.

    Raises:
        ScaffoldError: The folder is no such package, is not in git, or has changes that are not committed; git or
            copier is not installed.
    """
    folder = Path(folder)
    before = _version_of(folder)
    _copier()
    refresh_repository(templates)
    try:
        dirty = git("status", "--porcelain", "--", ".", cwd=folder)
    except ScaffoldError as error:
        raise ScaffoldError(
            f"{folder} cannot be updated: git does not know it. The update changes files, and only git shows which. "
            f"Run `git init && git add --all && git commit -m 'First version'` there first. ({error})"
        ) from error
    if dirty:
        raise ScaffoldError(
            f"{folder} cannot be updated: it has changes that are not committed, so the update's own could not be told "
            f"from them. Commit or stash these first:\n{dirty}"
        )
    done = subprocess.run(
        # -P: a module in the current folder must not be taken for one of copier's.
        [sys.executable, "-P", "-m", "copier", "update", "--defaults", str(folder)],
        env=_without_hooks(),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        # What copier says is a line or two; where it did not expect a failure, they end a traceback.
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ScaffoldError(f"`copier update` failed in {folder}: {said}")
    return Update(
        before=before,
        after=_version_of(folder),
        changed=tuple(git("diff", "--name-only", "HEAD", "--", ".", cwd=folder).splitlines())
        + tuple(git("ls-files", "--others", "--exclude-standard", "--full-name", cwd=folder).splitlines()),
        conflicts=tuple(git("diff", "--name-only", "--diff-filter=U", "--", ".", cwd=folder).splitlines()),
    )


def default_distribution(name: str) -> str:
    """Return what the package of a loss is called where nobody says otherwise: ``detloss-power-iou``."""
    return f"detloss-{name.lower().replace('_', '-')}".rstrip("-")


def _copier() -> Any:
    try:
        import copier  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ScaffoldError(
            f"Writing a plugin package needs {error.name}, which is not installed. Run\n  pip install 'detloss[new]'"
        ) from error
    return copier


def _check_name(name: str, distribution: str) -> None:
    if not NAME_PATTERN.fullmatch(name):
        raise ScaffoldError(
            f"{name!a} cannot be the name of a loss: a name has letters, digits, _ and -, begins with a letter and is "
            "at most 64 long, as in power_iou."
        )
    if yaml.safe_load(name) != name:
        raise ScaffoldError(
            f"{name!r} cannot be the name of a loss: in YAML it is no text, so that a config would have to put it in "
            "quotes. Choose another name."
        )
    module = re.sub(r"[-_.]+", "_", distribution).lower()
    if module in sys.stdlib_module_names or keyword.iskeyword(module):
        raise ScaffoldError(
            f"{distribution!r} cannot be the name of the package: its module would be {module}, which is Python's own. "
            f"Write detloss-{distribution}, for instance."
        )
    for plugin in find_plugins():
        if plugin.name == name and normalized(plugin.package) != normalized(distribution):
            raise ScaffoldError(
                f"There is a loss {name!r} already, of the installed package {plugin.package} {plugin.version}. A "
                "config that says the name would be refused where both are installed: choose another name."
            )


def _check_empty(folder: Path) -> None:
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ScaffoldError(f"{nearest} is a file. Choose another folder (--output). Nothing was written.")
    # A repository that was just made or cloned is still empty.
    found = sorted(path.name for path in folder.iterdir() if path.name != ".git") if folder.exists() else []
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ScaffoldError(
            f"The folder {folder} is not empty: it holds {', '.join(found[:3])}{more}. Choose another one (--output), "
            f"or bring an older package up to date with `detloss new --update {shlex.quote(str(folder))}`. Nothing was "
            "written."
        )


def _version_of(folder: Path) -> str:
    try:
        answers = yaml.safe_load((folder / ANSWERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ScaffoldError(
            f"{folder} is no package that `detloss new` wrote: it has no {ANSWERS}. Name the folder that has it."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ScaffoldError(
            f"{folder} is no package that `detloss new` wrote: its {ANSWERS} cannot be read ({error})."
        ) from error
    if not isinstance(answers, dict) or answers.get("_src_path") != LOCATION or "_commit" not in answers:
        raise ScaffoldError(
            f"{folder / ANSWERS} is not of detloss's template: it should say `_src_path: {LOCATION}` and a `_commit`. "
            "Put back the file that `detloss new` wrote."
        )
    return str(answers["_commit"])


def _without_hooks() -> dict[str, str]:
    """Return the environment with what makes copier's scratch repositories run nothing of the user's."""
    own = outside_hooks()
    count = int(own.get("GIT_CONFIG_COUNT", "0"))
    for key, value in _QUIET_GIT.items():
        own |= {f"GIT_CONFIG_KEY_{count}": key, f"GIT_CONFIG_VALUE_{count}": value}
        count += 1
    return {**own, "GIT_CONFIG_COUNT": str(count), "PYTHONIOENCODING": "utf-8"}


_QUIET_GIT = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "commit.gpgSign": "false",
    "init.templateDir": "",
}
