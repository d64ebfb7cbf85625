"""Write what the published comparisons found into docs/evidence/README.md; ``--check`` only compares.

A comparison is a folder of docs/evidence with a compare.json; its part of the page lies between ``<!-- NAME -->`` and
``<!-- end of NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pages import markdown_table, rewrite

from detloss.compare.result import Comparison, Difference
from detloss.compare.result_file import RESULT, read_comparison

EVIDENCE = Path(__file__).with_name("evidence")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or check the page."""
    rewrite(__file__, __doc__, EVIDENCE / "README.md", page, arguments)


def page(text: str) -> str:
    """Return the page with the parts of all comparisons as their files say."""
    for file in sorted(EVIDENCE.glob(f"*/{RESULT}")):
        name = file.parent.name
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        found = start + "\n".join(part(read_comparison(file), name)) + "\n" + end
        text, times = re.subn(f"{re.escape(start)}.*?{re.escape(end)}", lambda _, new=found: new, text, flags=re.DOTALL)
        if times != 1:
            raise SystemExit(f"README.md: {times} places for {name}, expected one between {start!r} and {end!r}.")
    return text


def part(found: Comparison, name: str) -> Iterator[str]:
    """Yield the lines on one comparison."""
    asked, runs = found.question, [run for arm in found.arms for run in arm.runs]
    hours = sum(run.seconds or 0 for run in found.measured.runs) / 3600
    trained = [run for run in runs if run.state != "missing"]
    yield f"{len(found.arms)} losses in `{asked.head}` of {asked.model}, {len(asked.seeds)} seeds: {len(trained)} runs,"
    yield f"{hours:.1f} hours of {', '.join(found.measured.devices)}, judged on {asked.images} images with"
    yield f"{asked.objects:,} objects. [Report]({name}/report.html), [all numbers]({name}/{RESULT})."
    yield ""
    yield from (f"> {sentence}" for sentence in found.verdict)
    yield ""
    differences = {one.arm: one for one in found.differences}
    rows = []
    for arm in sorted(found.arms, key=lambda arm: -(arm.mean or 0)):
        weight = "" if arm.weight is None else f"{arm.weight:.3g}"
        mean = "failed" if arm.mean is None else f"{arm.mean:.3f}"
        best = "yes" if arm.may_be_best else "no"
        rows.append([f"`{arm.label}`", weight, mean, *difference(differences.get(arm.label)), best])
    head = ("loss", "weight", "AP", "difference", "95 %, all together", "verdict", "may be the best")
    yield markdown_table(head, rows).rstrip()


def difference(one: Difference | None) -> list[str]:
    """Return three cells: the difference from the reference, its interval and the verdict."""
    if one is None:
        return ["", "", "reference"]
    estimate = "" if one.estimate is None else f"{one.estimate:+.3f}"
    between = "" if one.decides is None else f"{one.decides.low:+.3f} to {one.decides.high:+.3f}"
    return [estimate, between, one.verdict]


if __name__ == "__main__":
    main()
