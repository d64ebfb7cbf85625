"""The table of losses and the formulas of their pages, against the losses that are installed."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import generate_losses
import generate_performance
import loss_pages
import pytest
from latex2mathml.converter import convert

from detloss import find_plugins

DOCS = Path(__file__).parent.parent / "docs"
FORMULAS = [
    pytest.param(line, id=f"{name}-{number}")
    for losses in loss_pages.FORMULAS.values()
    for name, formula in losses.items()
    for number, line in enumerate(formula.strip().split("\n\n"))
]


def test_the_table_is_up_to_date() -> None:
    """docs/losses.md has the table that the classes give today; if not, the message names the command that fixes it."""
    generate_losses.main(["--check"])


def test_the_table_of_times_is_up_to_date() -> None:
    """docs/performance.md shows the numbers of docs/speed.json, one line for each loss of detloss."""
    generate_performance.main(["--check"])
    measured = json.loads((DOCS / "speed.json").read_text(encoding="utf-8"))["losses"]
    assert measured.keys() == {name for losses in loss_pages.FORMULAS.values() for name in losses}


def test_a_stale_table_is_found(tmp_path: Path) -> None:
    """A table that differs in one word fails the check, and writing fixes it."""
    page, text = tmp_path / "losses.md", (DOCS / "losses.md").read_text(encoding="utf-8")
    page.write_text(text.replace("near only |", "yes |", 1), encoding="utf-8")
    with pytest.raises(SystemExit, match="is out of date: run"):
        generate_losses.main(["--check", "--output", str(page)])
    generate_losses.main(["--output", str(page)])
    # A link leads from the page in docs/ to the file of the loss.
    assert page.read_text(encoding="utf-8") == text


def test_every_loss_of_ours_has_a_row_and_a_formula() -> None:
    """Each loss of detloss's own packages is in the table, with a link to its file, and has a formula."""
    page = (DOCS / "losses.md").read_text(encoding="utf-8")
    links = dict(re.findall(r"^\| \[`(\w+)`\]\((\S+)\)", page, re.MULTILINE))
    ours = {(plugin.package, plugin.name) for plugin in find_plugins() if plugin.package in loss_pages.FORMULAS}
    assert ours == {(package, name) for package, losses in loss_pages.FORMULAS.items() for name in losses}
    assert len(ours) == 28
    assert links.keys() == {name for _, name in ours}
    assert all((DOCS / link).is_file() for link in links.values())


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_is_rendered(formula: str) -> None:
    """Every formula becomes MathML, in which no command of LaTeX and no mark of an alignment is left."""
    rendered = "".join(ET.fromstring(convert(formula, display="block")).itertext())
    assert rendered.strip()
    assert not re.search(r"[\\&$]", rendered)


def test_symbols_are_explained_where_they_occur() -> None:
    """A formula brings the meaning of each shared symbol in it, and of no other."""
    assert loss_pages.symbols(r"\frac{\rho^2}{c^2} + e^{c_1}") == [
        one["meaning"] for one in loss_pages.SYMBOLS if one["tokens"] in (["c"], [r"\rho"])
    ]


def test_a_docstring_means_only_itself() -> None:
    """What Markdown would read in a docstring is text on the page, except for code and papers."""
    found = loss_pages.escaped("A *b* [c](d) <e> `f_g` ``h|i`` # j, arXiv 1902.09630 {k} $l$ m_n")
    paper = "[arXiv 1902.09630](https://arxiv.org/abs/1902.09630)"
    assert found == rf"A \*b\* \[c\](d) \<e\> `f_g` `h|i` \# j, {paper} \{{k\}} \$l\$ m\_n"


def test_a_name_of_two_packages_has_two_pages(packages: Any) -> None:
    """A name that two packages claim, in any case, has a page for each of them, whose name has the package in it."""
    for package in ("one", "two"):
        packages.add(package, losses={"twice" if package == "one" else "Twice": "module:Loss"})
    pages = [page for page in loss_pages.pages_of(find_plugins()) if "twice" in page.lower()]
    assert pages == ["two.Twice", "one.twice"]
