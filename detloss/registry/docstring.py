"""The docstring of a loss: its sections and a short title."""

from __future__ import annotations

import re

from detloss.text import printable

_YEAR = r"(?:1[5-9]|20)\d\d"
"""Of any publication since books are printed."""


def sections(docstring: str) -> dict[str, str]:
    """Return heading -> text of a docstring.

    What comes before the first heading is under the empty one.
    """
    prose, *found = re.split(r"\n\n(?=[A-Z][\w ]*:\n {4})", docstring)
    parts = (section.partition(":\n") for section in found)
    return {"": prose, **{heading: " ".join(text.split()) for heading, _, text in parts}}


def title(docstring: str) -> str:
    """Return the title with venue and year: ``Generalized IoU (CVPR 2019)``.

    The title is what comes before the formula: up to the colon of the first line. The publication is the first one, by
    its year, of the section References, or of the parentheses that end the first line.
    """
    found = sections(docstring.strip())
    line = found[""].partition("\n")[0].removesuffix(".")
    name = line.partition(": ")[0]
    cited = re.search(r"\s*\(([^()]*)\)$", line)
    where = _published(found.get("References") or (cited[1] if cited else ""))
    if where and cited:
        name = name.removesuffix(cited[0])
    return printable(name.replace("`", "")) + (f" ({printable(where)})" if where else "")


def _published(references: str) -> str:
    """Return venue and year of the earliest publication.

    If no venue is named, arXiv is one.
    """
    ends = [part.strip(" .") for part in re.split(r"[,;()]", references)]
    dated = [part for part in ends if re.fullmatch(rf"(?:.*\s)?{_YEAR}", part)]
    if not dated:
        return ""
    first = min(dated, key=lambda part: part[-4:])
    return f"arXiv {first}" if len(first) == 4 and "arxiv" in references.lower() else first
