"""The report of a comparison, as text; `test_report_page` looks at it in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparisons import CASES, EFFECTS, example, hostile, many, one_run_each, with_dropped, with_failures

from detloss.compare.report import write_report
from detloss.compare.report.numbers import DASH
from detloss.compare.result import Comparison

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


def written(comparison: Comparison, folder: Path) -> str:
    return write_report(comparison, folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_every_report_is_one_small_file(case: str, tmp_path: Path) -> None:
    """Whatever was found, the report is one file under 3 MB that refers to nothing outside of itself."""
    path = write_report(CASES[case](), tmp_path)
    assert path == tmp_path / "report.html"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.stat().st_size < MOST_BYTES
    page = Elements(path.read_text(encoding="utf-8"))
    assert not {address for address in page.addresses if not address.startswith(("#", "data:"))}
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.names


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two reports of one comparison are equal, byte for byte."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert write_report(example(), first).read_bytes() == write_report(example(), second).read_bytes()


def test_own_settings_of_matplotlib_change_nothing(tmp_path: Path) -> None:
    """A user's own style of charts does not reach the report, nor the report's style the user's charts."""
    import matplotlib as mpl

    usual = written(example(), tmp_path)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path", "svg.hashsalt": "own"}):
        assert written(example(), tmp_path) == usual
        assert mpl.rcParams["font.size"] == 30


def test_it_says_what_was_found(tmp_path: Path) -> None:
    """The verdict's sentences, each arm's numbers, the data, the command and the versions are in the text."""
    comparison = example()
    page = Elements(written(comparison, tmp_path))
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


def test_only_ap_is_not_descriptive(tmp_path: Path) -> None:
    """Every section with numbers beyond AP is marked as descriptive, and those about AP are not."""
    page = written(example(), tmp_path)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
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
        ("dropped", ["dropped early: l1", "2 of 5, dropped"]),
        ("one run each", ["one run each", "these same models on new images"]),
        ("unequal", ["unequal variances", "cost as much as 1.2 runs"]),
        ("identical", ["identical at every seed", "Any of these losses may be the best"]),
        ("selection", ["selection, not confirmation", "72 validation images", "97.2 %", "number 2"]),
        ("interrupted", ["4 of 15 runs missing", "3 of 5"]),
    ],
)
def test_what_a_reader_must_know_is_said(case: str, said: list[str], tmp_path: Path) -> None:
    """Failed runs and why, dropped arms, single runs, unequal noise, sameness and selection are stated."""
    text = Elements(written(CASES[case](), tmp_path)).text
    assert [words for words in said if words not in text] == []


def test_nothing_is_said_without_need(tmp_path: Path) -> None:
    """Where all went well, no warning stands in the report."""
    assert 'class="flags"' not in written(example(), tmp_path)


def test_one_run_each_has_no_training_interval(tmp_path: Path) -> None:
    """With one run each, no interval claims to hold for another training."""
    text = Elements(written(one_run_each(), tmp_path)).text
    assert "trained again, same images" not in text
    assert "this one decides" not in text


def test_an_arm_without_runs_has_no_numbers(tmp_path: Path) -> None:
    """An arm of which no run finished has dashes in the place of numbers."""
    page = written(with_failures(), tmp_path)
    row = re.search(r"<tr>\s*<th[^>]*><span[^>]*>siou</span></th>(.*?)</tr>", page, re.DOTALL)
    assert row
    assert re.findall(r"<td>(.*?)</td>", row[1])[2:7] == [DASH] * 5


def test_what_strangers_wrote_is_text(tmp_path: Path) -> None:
    """Labels, classes, reasons, commands and provenance that are markup become text, in charts too."""
    page = written(hostile(), tmp_path)
    elements = Elements(page)
    assert not elements.names & {"script", "img"}
    assert "<script>alert('x')</script> won." in elements.text
    assert page.count("</h1>") == page.count("<h1>") == 1
    assert "$\\frac{1}{0}$ &amp;amp; long" in page
    assert "\u202e" not in page


def test_many_arms_look_different(tmp_path: Path) -> None:
    """Ten arms differ in color, marker or dashes; the reference is gray."""
    from detloss.compare.report.svg import arm_styles

    labels = [arm.label for arm in many().arms]
    styles = arm_styles(labels, "smooth_l1")
    assert len(set(styles.values())) == len(labels)
    assert styles["smooth_l1"].variable == "--reference"


def test_adding_an_arm_keeps_colors(tmp_path: Path) -> None:
    """An arm that is added at the end changes no other arm's color."""
    from detloss.compare.report.svg import arm_styles

    before, after = (arm_styles(labels, "smooth_l1") for labels in (list(EFFECTS), [*EFFECTS, "siou"]))
    assert {label: after[label] for label in before} == before


def test_a_dropped_arm_has_its_differences(tmp_path: Path) -> None:
    """The difference of a dropped arm is that over the seeds it finished."""
    comparison = with_dropped()
    (difference,) = (each for each in comparison.differences if each.arm == "l1")
    assert list(difference.by_seed) == [0, 1]
    assert f"\N{MINUS SIGN}{-difference.estimate:.3f}" in Elements(written(comparison, tmp_path)).text
