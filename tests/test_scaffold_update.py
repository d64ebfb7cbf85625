from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import run

from detloss.errors import ScaffoldError
from detloss.scaffold import refresh_repository, update_plugin, write_plugin
from detloss.scaffold.repository import LOCATION, TEMPLATES, current_template

pytestmark = pytest.mark.usefixtures("home")


def commit(folder: Path, message: str = "Work") -> None:
    run("git", "add", "--all", cwd=folder)
    run("git", "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", message, cwd=folder)


def committed(folder: Path, name: str = "power_iou", **answers: Any) -> Path:
    write_plugin(name, folder, answers)
    run("git", "init", "--quiet", cwd=folder)
    commit(folder)
    return folder


def test_the_repository_is_the_same_everywhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version is a tag, the same commit in every home, and what another detloss added stays."""
    config = home / ".gitconfig"
    config.write_text("[core]\n\texcludesFile = ~/ignored\n\tautocrlf = true\n[commit]\n\tgpgSign = true\n")
    (home / "ignored").write_text("*.jinja\n")
    repository = refresh_repository()
    assert repository == home / ".local/share/detloss/template"
    tags = run("git", "show-ref", "--tags", cwd=repository)
    assert {line.partition("refs/tags/")[2] for line in tags.splitlines()} == {
        path.name for path in TEMPLATES.iterdir()
    }
    stored = run("git", "ls-tree", "-r", "--name-only", current_template().name, cwd=repository).splitlines()
    assert len(stored) == sum(path.is_file() for path in current_template().rglob("*"))
    newer = newer_template(tmp_path)
    refresh_repository(newer)
    refresh_repository()
    assert run("git", "tag", cwd=repository).split() == ["v1", "v2"]
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("HOME", str(other))
    assert run("git", "show-ref", "--tags", cwd=refresh_repository()) == tags


def newer_template(tmp_path: Path) -> Path:
    """Return a folder of versions with one more than there is, which improves four files."""
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES, templates)
    newest = current_template(templates)
    after = templates / f"v{int(newest.name[1:]) + 1}"
    shutil.copytree(newest, after)
    package = after / "package"
    for path, old, new in (
        (package / "pyproject.toml.jinja", "testpaths = ", 'addopts = ["--strict-markers"]\ntestpaths = '),
        (package / ".github/workflows/test.yml.jinja", 'python: ["3.11",', 'python: ["3.10", "3.11",'),
        (package / "README.md.jinja", "## Work on it", "## Work on the loss"),
        (package / "src/{{ module }}/__init__.py.jinja", "for detloss.", "a plugin of detloss."),
    ):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    (package / "CHANGELOG.md.jinja").write_text("# Changes of {{ title }}\n")
    (package / ".gitignore.jinja").unlink()
    return templates


def test_an_update_of_a_package_among_others(tmp_path: Path) -> None:
    """In a repository of several packages, what another one has changed is neither in the way nor reported."""
    repository = tmp_path / "all"
    write_plugin("power_iou", repository / "packages" / "power")
    (repository / "other.txt").write_text("1\n")
    run("git", "init", "--quiet", cwd=repository)
    commit(repository)
    (repository / "other.txt").write_text("2\n")
    assert update_plugin(repository / "packages" / "power").changed == ()
    done = update_plugin(repository / "packages" / "power", templates=newer_template(tmp_path))
    assert "packages/power/CHANGELOG.md" in done.changed
    assert all(path.startswith("packages/power/") for path in done.changed)


def test_an_update_keeps_the_authors_edits(tmp_path: Path) -> None:
    """A newer template changes, adds and removes files, while the author's formula, text and own files stay."""
    folder = committed(tmp_path / "package", title='A "quoted" title', parameters="alpha=3.0")
    module = folder / "src/detloss_power_iou/__init__.py"
    formula = "return 1 - iou(pred, target) ** self.config.alpha"
    module.write_text(module.read_text().replace("return loss * (1 + abs(self.config.alpha - 3.0))", formula))
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "\nMy own words.\n")
    (folder / "notes.md").write_text("mine\n")
    (folder / "LICENSE").unlink()
    commit(folder)

    done = update_plugin(folder, templates=newer_template(tmp_path))

    assert (done.before, done.after, done.conflicts) == ("v1", "v2", ())
    assert set(done.changed) == {
        ".copier-answers.yml",
        ".github/workflows/test.yml",
        ".gitignore",
        "CHANGELOG.md",
        "README.md",
        "pyproject.toml",
        "src/detloss_power_iou/__init__.py",
    }
    assert formula in module.read_text()
    assert "a plugin of detloss" in module.read_text()
    assert "My own words.\n" in readme.read_text()
    assert "## Work on the loss" in readme.read_text()
    assert "--strict-markers" in (folder / "pyproject.toml").read_text()
    assert '"3.10"' in (folder / ".github/workflows/test.yml").read_text()
    assert (folder / "CHANGELOG.md").read_text() == '# Changes of A "quoted" title\n'
    assert (folder / "notes.md").read_text() == "mine\n"
    assert not (folder / ".gitignore").exists()
    assert not (folder / "LICENSE").exists(), "what the author removed stays away"
    answers = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    assert (answers["_commit"], answers["_src_path"], answers["parameters"]) == ("v2", LOCATION, "alpha=3.0")
    commit(folder)
    assert update_plugin(folder, templates=tmp_path / "templates").changed == ()


def test_copiers_own_command_updates_too(tmp_path: Path) -> None:
    """After the repository was refreshed, a plain `copier update` does the same."""
    folder = committed(tmp_path / "package")
    refresh_repository(newer_template(tmp_path))
    run(sys.executable, "-m", "copier", "update", "--defaults", cwd=folder)
    assert "## Work on the loss" in (folder / "README.md").read_text()


def test_a_conflict_is_named(tmp_path: Path) -> None:
    """Where author and template changed the same line, the file is named and holds both."""
    folder = committed(tmp_path / "package")
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("## Work on it", "## How to work on it"))
    commit(folder)
    done = update_plugin(folder, templates=newer_template(tmp_path))
    assert done.conflicts == ("README.md",)
    assert "## How to work on it" in readme.read_text()
    assert "## Work on the loss" in readme.read_text()


def test_an_update_runs_no_hook_of_the_user(home: Path, tmp_path: Path) -> None:
    """Hooks that the user's git configuration adds everywhere do not run in copier's scratch repositories."""
    hooks = home / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-commit", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {home / 'ran'}\n")
        (hooks / name).chmod(0o755)
    folder = committed(tmp_path / "package")
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    update_plugin(folder, templates=newer_template(tmp_path))
    assert not (home / "ran").exists()
    commit(folder)
    assert (home / "ran").exists(), "the hooks do run where the user commits"


def test_what_cannot_be_updated_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is no package, not in git or not committed is refused with what to do; so is a missing git."""
    with pytest.raises(ScaffoldError, match=r"no package that `detloss new` wrote: it has no \.copier-answers\.yml"):
        update_plugin(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder, _ = write_plugin("own", tmp_path / "package")
    with pytest.raises(ScaffoldError, match="git init"):
        update_plugin(folder)
    run("git", "init", "--quiet", cwd=folder)
    with pytest.raises(ScaffoldError, match="not committed"):
        update_plugin(folder)
    commit(folder)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(ScaffoldError, match="git, which is not installed"):
        update_plugin(folder)
    (folder / ".copier-answers.yml").write_text(json.dumps({"_src_path": "gh:else/where", "_commit": "v1"}))
    with pytest.raises(ScaffoldError, match="is not of detloss's template"):
        update_plugin(folder)
