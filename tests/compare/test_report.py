"""The report of a comparison, as text; `test_report_page` looks at it in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparisons import CASES, many, with_dropped
from made_comparison import EFFECTS, example

from detloss.compare.report import write_report
from detloss.compare.report.numbers import DASH
from detloss.compare.report.svg import arm_styles
from detloss.compare.result import Comparison
from detloss.errors import DetlossError

PageOf = Callable[[str], str]
MOST_BYTES = 3_000_000


class Elements(HTMLParser):
    """The elements of a page, its text, and what it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "action")]
        self.ids += [value or "" for key, value in attrs if key == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> PageOf:
    """Return a function that gives the report of a case, which is written once."""
    return cache(lambda case: written(CASES[case](), tmp_path_factory.mktemp("report")))


def written(comparison: Comparison, folder: Path) -> str:
    return write_report(comparison, folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_every_report_is_one_small_page(case: str, page_of: PageOf) -> None:
    """Whatever was found, the report has less than 3 MB, refers to nothing outside of itself and runs no script."""
    text = page_of(case)
    page = Elements(text)
    assert len(text.encode()) < MOST_BYTES
    assert not {address for address in page.addresses if not address.startswith(("#", "data:"))}
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.names


def test_one_file_is_written(tmp_path: Path) -> None:
    """The report is the file ``report.html`` in a folder, which is made where there is none, and nothing else."""
    folder = tmp_path / "new"
    assert write_report(CASES["nothing finished"](), folder) == folder / "report.html"
    assert [file.name for file in folder.iterdir()] == ["report.html"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where the report cannot be written, an error names it and says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DetlossError, match=r"file cannot be written: .*Fix: choose another output"):
        write_report(CASES["nothing finished"](), tmp_path / "file")


def test_the_same_comparison_gives_the_same_bytes(page_of: PageOf, tmp_path: Path) -> None:
    """Two reports of one comparison are equal, byte for byte."""
    assert written(example(), tmp_path) == page_of("example")


def test_own_settings_of_matplotlib_change_nothing(page_of: PageOf, tmp_path: Path) -> None:
    """A user's own style of charts does not reach the report, nor the report's style the user's charts."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path", "svg.hashsalt": "own"}):
        assert written(example(), tmp_path) == page_of("example")
        assert mpl.rcParams["font.size"] == 30


def test_it_says_what_was_found(page_of: PageOf) -> None:
    """The verdict's sentences, each arm's numbers, the data, the command and the versions are in the text."""
    comparison = example()
    page = Elements(page_of("example"))
    first, _, rest = comparison.verdict[0].partition(". ")
    for sentence in (first, rest, *comparison.verdict[1:]):
        assert sentence in page.text
    for arm in comparison.arms:
        assert f"{arm.mean:.3f}" in page.text
    for difference in comparison.differences:
        assert difference.full
        assert f"{difference.full.low:+.3f} to {difference.full.high:+.3f}" in page.text
    assert comparison.command in page.text
    for word in ("72 test images", "967 objects", "torchvision", "roi_heads", "white blood cell", "819"):
        assert word in page.text


def test_only_ap_is_not_descriptive(page_of: PageOf) -> None:
    """Every section with numbers beyond AP is marked as descriptive, and those about AP are not."""
    titles = re.findall(r"<h2>(.*?)</h2>", page_of("example"))
    marked = {title.partition("<")[0].strip() for title in titles if "descriptive" in title}
    assert marked == {
        "Where boxes must fit better", "AP over the epochs", "Sizes, thresholds, scores", "What goes wrong", "Classes"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("failures", ["6 runs failed", "4 of 5, 1 failed", "giou, seed 3: The loss roi_heads/giou became NaN"]),
        ("failures", ["No run finished: siou.", "0 of 5, 5 failed"]),
        ("no reference", ["no run of the reference smooth_l1 finished"]),
        ("nothing finished", ["20 runs failed", "No run finished: smooth_l1, giou, ciou, siou."]),
        ("alike", ["Any of these losses may be the best", "and 4 more"]),
        ("dropped", ["dropped early: l1", "2 of 5, dropped"]),
        ("one run each", ["one run each", "these same models on new images"]),
        ("unequal", ["unequal variances", "cost as much as 1.2 runs"]),
        ("identical", ["identical at every seed", "Any of these losses may be the best"]),
        ("selection", ["selection, not confirmation", "72 validation images", "97.2 %", "number 2"]),
        ("interrupted", ["4 of 15 runs missing", "3 of 5"]),
    ],
)
def test_what_a_reader_must_know_is_said(case: str, said: list[str], page_of: PageOf) -> None:
    """Failed runs and why, dropped arms, single runs, unequal noise, sameness and selection are stated."""
    text = Elements(page_of(case)).text
    assert [words for words in said if words not in text] == []


def test_nothing_is_said_without_need(page_of: PageOf) -> None:
    """Where all went well, no warning stands in the report."""
    assert 'class="flags"' not in page_of("example")


def test_one_run_each_has_no_training_interval(page_of: PageOf) -> None:
    """With one run each, no interval claims to hold for another training."""
    text = Elements(page_of("one run each")).text
    assert "trained again, same images" not in text
    assert "this one decides" not in text


def test_an_arm_without_runs_has_no_numbers(page_of: PageOf) -> None:
    """An arm of which no run finished has dashes in the place of numbers."""
    row = re.search(r"<tr>\s*<th[^>]*><span[^>]*>siou</span></th>(.*?)</tr>", page_of("failures"), re.DOTALL)
    assert row
    assert re.findall(r"<td>(.*?)</td>", row[1])[2:7] == [DASH] * 5


def test_what_strangers_wrote_is_text(page_of: PageOf) -> None:
    """Labels, classes, reasons, commands and provenance that are markup become text, in charts too."""
    page = page_of("hostile")
    elements = Elements(page)
    assert not elements.names & {"script", "img"}
    assert "<script>alert('x')</script> won." in elements.text
    assert page.count("</h1>") == page.count("<h1>") == 1
    assert "$\\frac{1}{0}$ &amp;amp; long" in page
    assert "\u202e" not in page


def test_many_arms_look_different() -> None:
    """Ten arms differ in color, marker or dashes; the reference is gray."""
    labels = [arm.label for arm in many().arms]
    styles = arm_styles(labels, "smooth_l1")
    assert len(set(styles.values())) == len(labels)
    assert styles["smooth_l1"].variable == "--reference"


def test_adding_an_arm_keeps_colors() -> None:
    """An arm that is added at the end changes no other arm's color."""
    before, after = (arm_styles(labels, "smooth_l1") for labels in (list(EFFECTS), [*EFFECTS, "siou"]))
    assert {label: after[label] for label in before} == before


def test_a_dropped_arm_has_its_differences(page_of: PageOf) -> None:
    """The difference of a dropped arm is that over the seeds it finished."""
    comparison = with_dropped()
    (difference,) = (each for each in comparison.differences if each.arm == "l1")
    assert list(difference.by_seed) == [0, 1]
    assert f"\N{MINUS SIGN}{-difference.estimate:.3f}" in Elements(page_of("dropped")).text
