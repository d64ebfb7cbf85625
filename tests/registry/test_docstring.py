from __future__ import annotations

import pytest

from detloss.registry.docstring import sections, title

DOCSTRING = """Name of it: ``1 - x``.

What x is.

References:
    {}

Range:
    [0, 1],
    and more.
"""


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Rezatofighi et al., CVPR 2019, arXiv 1902.09630.", "Name of it (CVPR 2019)"),
        ("Wang et al., 2021, arXiv\n    2110.13389.", "Name of it (arXiv 2021)"),
        ('Huber, "Robust estimation" (Ann. Math. Stat. 1964).', "Name of it (Ann. Math. Stat. 1964)"),
        ("``a``: Ge et al., YOLOX, 2021; ``b``: Yu et al., UnitBox, ACM MM 2016.", "Name of it (ACM MM 2016)"),
        ("Boscovich, 1757.", "Name of it (1757)"),
        ("Unpublished, document 9429909, arXiv 2110.2021.", "Name of it"),
    ],
)
def test_title_of_a_section(reference: str, expected: str) -> None:
    """The title has venue and year of the earliest reference, and arXiv where that is all there is."""
    assert title(DOCSTRING.format(reference)) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Alpha: ``1 - x`` (He et al., NeurIPS 2021, arXiv 2110.13675).", "Alpha (NeurIPS 2021)"),
        ("It talks (Doe, 2024).", "It talks (2024)"),
        ("Power IoU (mine): ``x``.", "Power IoU (mine)"),
        ("``1 - x`` (unpublished)", "1 - x (unpublished)"),
        ("Red \x1b[31m (Doe, 2024)", "Red \\x1b[31m (2024)"),
        ("", ""),
    ],
)
def test_title_of_a_line(line: str, expected: str) -> None:
    """Without a section the parentheses at the end of the first line may hold the reference; else the title is all."""
    assert title(line) == expected


def test_sections() -> None:
    """A docstring is cut at its headings; what stands before the first one is prose."""
    found = sections(DOCSTRING.format("A, 2020."))
    assert found == {
        "": "Name of it: ``1 - x``.\n\nWhat x is.",
        "References": "A, 2020.",
        "Range": "[0, 1], and more.",
    }
