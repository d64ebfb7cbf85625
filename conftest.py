"""Order and resources of the whole test suite: what is shared is made once, quick tests first, one thread a process."""

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


SHARED = {
    "browser": "browser",
    "detloss_wheels": "environment",
    "driven": "driven",
    "finished": "finished",
    "fresh_environment": "environment",
    "site": "site",
    "trained_run": "trained_run",
    "two_runs": "two_runs",
    "undisturbed": "undisturbed",
    "ward": "ward",
    "whole": "whole",
}
"""Fixture that takes seconds to make -> the group of tests that one process runs, so that it is made once."""


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests marked `slow` last, and in one process those that share what takes long to make.

    xdist begins with what is shared, the largest group first.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if groups := [group for fixture, group in SHARED.items() if fixture in fixtures]:
            item.add_marker(pytest.mark.xdist_group(groups[0]))
