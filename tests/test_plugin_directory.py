"""docs/plugins.toml: the packages that the site lists."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from plugin_directory import card, read

ROOT = Path(__file__).resolve().parent.parent
ENTRY = """
[[plugin]]
name = "detloss-mine"
about = "A loss of mine."
losses = ["mine"]
license = "MIT"
link = "https://example.org/detloss-mine"
"""


def test_our_packages_are_listed_with_all_that_they_have() -> None:
    """The entries of this repository's packages have the losses, heads and licenses of their pyproject.toml."""
    listed = {entry.name: entry for entry in read()}
    for file in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        groups = project["entry-points"]
        entry = listed[project["name"]]
        assert entry.losses == sorted(groups.get("detloss.losses", {}))
        assert entry.heads == sorted(groups.get("detloss.heads", {}))
        assert entry.license == project["license"]
        assert (ROOT / "docs" / entry.link).is_file()


def test_each_package_is_listed_once() -> None:
    """No two entries have one name."""
    names = [entry.name for entry in read()]
    assert len(names) == len(set(names)) >= 6


def test_a_package_of_yours_is_one_entry(tmp_path: Path) -> None:
    """An entry with six keys is a card that leads to the package."""
    file = tmp_path / "plugins.toml"
    file.write_text(ENTRY, encoding="utf-8")
    (entry,) = read(file)
    shown = card(entry)
    assert ":link: https://example.org/detloss-mine\n:link-type: url\n" in shown
    assert "Losses: `mine`" in shown


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('license = "MIT"', "", "license: Field required"),
        ('losses = ["mine"]', "", "an entry has losses, or heads with the hosts"),
        ('losses = ["mine"]', 'heads = ["mine"]', "an entry has losses, or heads with the hosts"),
        ("https:", "http:", "link: String should match pattern"),
        ("license =", "licence =", "licence: Extra inputs are not permitted"),
    ],
    ids=["no license", "nothing in it", "no host", "not https", "unknown key"],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The error names the entry and what is wrong."""
    file = tmp_path / "plugins.toml"
    file.write_text(ENTRY.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"plugins\.toml: entry 1 \(detloss-mine\) is wrong: .*{said}"):
        read(file)
