"""What takes seconds to make is made once: see SHARED in conftest.py."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def whole():
    """A fixture with a name that is in SHARED."""


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is only one process")
def test_one_process_runs_what_shares_a_fixture(request: pytest.FixtureRequest, whole: None):
    """pytest-xdist knows which tests share a fixture: it adds the group to their ids."""
    assert request.node.nodeid.endswith("@whole")
