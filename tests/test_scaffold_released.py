from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from commands import run

from detloss.scaffold import refresh_repository
from detloss.scaffold.repository import TEMPLATES

pytestmark = pytest.mark.usefixtures("home")

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"

RELEASED: dict[str, str] = {}
"""Version of the template -> its commit as it was released. A release adds the newest, and nothing takes one away."""

IN_DEVELOPMENT = "## Unreleased\n\n### Added\n\n- Much.\n"
FIRST_RELEASE = "## 0.1.0 (2027-01-01)\n\n### Added\n\n- Much.\n"


def commits(templates: Path) -> dict[str, str]:
    """Return the commit of each version, which is the same on every machine and changes with any of its files."""
    lines = run("git", "show-ref", "--tags", cwd=refresh_repository(templates)).splitlines()
    return {tag.removeprefix("refs/tags/"): commit for commit, tag in map(str.split, lines)}


def unlike_released(changelog: str, found: dict[str, str], released: dict[str, str]) -> list[str]:
    """Return the versions that are not as `released` has them; the newest may be missing there until its release."""
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    in_development = any(section.startswith("Unreleased") and "\n- " in section for section in sections)
    ever_released = any(re.match(r"\[?\d", section) for section in sections)
    newest = max(found, key=lambda version: int(version[1:]))
    wrong = {version for version in {*found, *released} if found.get(version) != released.get(version)}
    if in_development and newest not in released and bool(released) == ever_released:
        wrong.discard(newest)
    return sorted(wrong)


def test_a_released_version_stays_as_it_is() -> None:
    """Every released version of the template is as it was, as `copier update` takes what differs for an edit."""
    wrong = unlike_released(CHANGELOG.read_text(encoding="utf-8"), found := commits(TEMPLATES), RELEASED)
    assert not wrong, f"Put back what was released, or, when releasing, add to RELEASED: {found}"


@pytest.fixture
def templates(home: Path, tmp_path: Path) -> Path:
    """Return a copy of the first version, as it was released, and a second."""
    for version in ("v1", "v2"):
        shutil.copytree(TEMPLATES / "v1", tmp_path / "templates" / version)
    (tmp_path / "templates" / "v2" / "package" / "more.txt").write_text("more")
    return tmp_path / "templates"


@pytest.mark.parametrize(
    ("changelog", "released", "wrong"),
    [
        (FIRST_RELEASE, [], ["v1", "v2"]),
        (FIRST_RELEASE, ["v1"], ["v2"]),
        (FIRST_RELEASE, ["v1", "v2"], []),
        (IN_DEVELOPMENT + FIRST_RELEASE, [], ["v1", "v2"]),
        (IN_DEVELOPMENT + FIRST_RELEASE, ["v1"], []),
        ("## Unreleased\n\n" + FIRST_RELEASE, ["v1"], ["v2"]),
        (IN_DEVELOPMENT, [], ["v1"]),
    ],
)
def test_a_release_without_a_record_is_seen(
    templates: Path, changelog: str, released: list[str], wrong: list[str]
) -> None:
    """Only the newest version may be unrecorded, and only while the changelog says that a release is to come."""
    found = commits(templates)
    assert unlike_released(changelog, found, {version: found[version] for version in released}) == wrong


@pytest.mark.parametrize("change", ["edited", "added", "removed", "gone"])
def test_a_changed_release_is_seen(templates: Path, change: str) -> None:
    """A file of a released version that is edited, added or removed is seen, and so is a version that is gone."""
    released = {"v1": commits(templates)["v1"]}
    readme = templates / "v1" / "package" / "README.md.jinja"
    if change == "edited":
        readme.write_text(readme.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    elif change == "added":
        (readme.parent / "NEWS.md").write_text("")
    elif change == "removed":
        readme.unlink()
    else:
        released["v0"] = "0" * 40
    wrong = unlike_released(IN_DEVELOPMENT + FIRST_RELEASE, commits(templates), released)
    assert wrong == (["v0"] if change == "gone" else ["v1"])
