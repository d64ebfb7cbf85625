from __future__ import annotations

import pytest

from detloss.text import counted


@pytest.mark.parametrize(
    ("number", "one", "words"),
    [
        (1, "loss", "1 loss"),
        (2, "loss", "2 losses"),
        (0, "box", "0 boxes"),
        (3, "batch", "3 batches"),
        (5000, "image", "5,000 images"),
        (2, "more head", "2 more heads"),
    ],
)
def test_counted(number: int, one: str, words: str) -> None:
    """A count has its plural, and thousands are set apart."""
    assert counted(number, one) == words
