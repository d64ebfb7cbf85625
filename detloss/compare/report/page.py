"""The report: one HTML file without network or scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from detloss.compare.report import numbers, tables
from detloss.compare.report.drawn_pairs import draw_pairs
from detloss.compare.report.forest import forest
from detloss.compare.report.profiles import epochs, thresholds
from detloss.compare.report.svg import arm_styles
from detloss.compare.result import ArmResult, Comparison
from detloss.training.folder import write_errors, write_text
from detloss.training.predictions_image import legend

REPORT = "report.html"
_NARROW, _WIDE = 358, 580
"""Widths of the forest plot in pixels: on a phone, and next to the verdict."""


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write ``report.html`` into a comparison's folder.

    The same comparison gives the same bytes.

    Args:
        comparison: What was found.
        folder: Holds the runs too, from which images are shown where their data is there.

    Returns:
        The file.

    Raises:
        DetlossError: it cannot be written.
    """
    path = folder / REPORT
    with write_errors():
        write_text(path, _page(comparison, folder))
    return path


def _page(comparison: Comparison, folder: Path) -> str:
    styles = arm_styles([arm.label for arm in comparison.arms], comparison.question.reference)
    known = any(difference.estimate is not None for difference in comparison.differences)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            comparison=comparison,
            question=comparison.question,
            differences={difference.arm: difference for difference in comparison.differences},
            styles=styles,
            flags=list(_flags(comparison)),
            headline=_headline(comparison.verdict),
            minutes={arm.label: _minutes(comparison, arm) for arm in comparison.arms},
            forests=[forest(comparison, styles, width) for width in (_NARROW, _WIDE)] if known else [],
            thresholds=thresholds(comparison, styles),
            epochs=epochs(comparison, styles),
            overview=tables.overview(comparison),
            errors=tables.errors(comparison),
            classes=tables.classes(comparison),
            gallery=draw_pairs(comparison, folder),
            legend=legend(crowds=False),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (numbers.plain, numbers.signed, numbers.between, numbers.percent, numbers.short):
        environment.filters[filter_.__name__] = filter_
    return environment


def _flags(comparison: Comparison) -> Iterator[str]:
    """Short warnings that a reader must see first."""
    if comparison.selection:
        yield "selection, not confirmation"
    if len(comparison.question.seeds) == 1:
        yield "one run each"
    states = [run.state for arm in comparison.arms if arm.dropped_after is None for run in arm.runs]
    failed = sum(run.state == "failed" for arm in comparison.arms for run in arm.runs)
    if failed:
        yield f"{failed} {'run' if failed == 1 else 'runs'} failed"
    if "missing" in states:
        yield f"{states.count('missing')} of {len(states)} runs missing"
    dropped = [numbers.short(arm.label) for arm in comparison.arms if arm.dropped_after is not None]
    if dropped:
        yield f"dropped early: {', '.join(dropped)}"
    if comparison.noise.unequal:
        yield "unequal variances: an interval of its own for each arm"


def _headline(verdict: Sequence[str]) -> tuple[str, str]:
    """The first sentence, and the content next to it."""
    first, _, rest = verdict[0].partition(". ") if verdict else ("", "", "")
    return (f"{first}." if rest else first), rest


def _minutes(comparison: Comparison, arm: ArmResult) -> float | None:
    seconds = [run.seconds for run in comparison.measured.runs if run.arm == arm.label and run.seconds is not None]
    return sum(seconds) / len(seconds) / 60 if seconds else None
