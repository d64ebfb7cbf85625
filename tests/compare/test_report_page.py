"""The report of a comparison in a real browser: Chromium without a window."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from comparisons import CASES

from detloss.compare.report import write_report

Report = Callable[[str], Path]
DESKTOP, PHONE = (1280, 800), (390, 844)
WITHOUT_INTERVALS = ("no reference", "nothing finished")
LEAST_CONTRAST = 4.5
"""Of text, by WCAG 2.2 (1.4.3)."""
CONTRASTS = """() => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)$/.test(color)) return light(color);
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || parent.closest("style") || !parent.getClientRects().length) continue;
    const style = getComputedStyle(parent);
    const [low, high] = [light(parent.closest("svg") ? style.fill : style.color), ground(parent)].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), text]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Return a function that writes the report of a case, once."""
    return cache(lambda case: write_report(CASES[case](), tmp_path_factory.mktemp("report")))


class Shown:
    """A report in a window, and all that it asked for or complained about."""

    def __init__(self, browser: Any, file: Path, size: tuple[int, int], scheme: str) -> None:
        self.size = size
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def resize(self, size: tuple[int, int]) -> None:
        """Make the window as large as that of another device."""
        self.size = size
        self.page.set_viewport_size({"width": size[0], "height": size[1]})

    def above_the_fold(self, place: str) -> bool:
        """Whether a whole element is seen without scrolling."""
        box = self.page.locator(place).bounding_box()
        return bool(box and box["x"] >= 0 and box["y"] + box["height"] <= self.size[1])


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_on_the_first_screen(chromium: Any, report: Report, case: str) -> None:
    """Without scrolling a reader sees the verdict, the set that may be best and every interval; nothing is wider."""
    shown = Shown(chromium, report(case), DESKTOP, "light")
    for size in (DESKTOP, PHONE):
        shown.resize(size)
        for place in ("h1", "#best", *["#intervals svg.chart:visible"] * (case not in WITHOUT_INTERVALS)):
            assert shown.above_the_fold(place), (place, size)
        assert shown.page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert shown.complaints == []
    assert [url for url in shown.requests if not url.startswith("data:")] == [report(case).as_uri()]
    shown.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(chromium: Any, report: Report, scheme: str) -> None:
    """In light and in dark all text, that in charts too, has the contrast that WCAG asks for."""
    shown = Shown(chromium, report("many"), DESKTOP, scheme)
    contrasts = shown.page.evaluate(CONTRASTS)
    assert len(contrasts) > 200
    assert [text for contrast, text in contrasts if contrast < LEAST_CONTRAST] == []
    ground = shown.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    shown.page.close()


def test_charts_are_described(chromium: Any, report: Report) -> None:
    """Who cannot see a chart hears what it shows: that of the intervals tells each arm, its interval and verdict."""
    shown = Shown(chromium, report("example"), DESKTOP, "light")
    charts = shown.page.get_by_role("img").all()
    names = [chart.get_attribute("aria-label") for chart in charts]
    assert len(names) == 1 + 3 + 2
    for difference in CASES["example"]().differences:
        assert difference.full
        assert f"{difference.arm}: {difference.estimate:+.3f} ({difference.full.low:+.3f} to" in names[0]
    shown.page.close()


def test_print(chromium: Any, report: Report) -> None:
    """Printed from a dark screen it is black on white, and closed parts are open."""
    shown = Shown(chromium, report("example"), DESKTOP, "dark")
    shown.page.emulate_media(media="print")
    assert shown.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.page.get_by_text("Provenance").bounding_box()["height"] > 0
    shown.page.close()
