"""Order and resources of the whole test suite: quick tests first, one thread a process."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# pytest-xdist runs a process a core: more threads than that would only take turns.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more about the machine than about the code. CI repeats the same examples, so that what
# fails there is the change; at home each run looks at new ones.
settings.register_profile("detloss", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("detloss")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests marked `slow` last, so that a plain mistake shows within a minute."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
