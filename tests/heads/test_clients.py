"""Real programs that change a model before or after the injection; each runs in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import killed
import pytest

SUPPORT = Path(__file__).parents[1] / "support"


def run_client(name: str) -> dict[str, Any]:
    """Run a client of `clients.py` and return what it saw of each head."""
    done = killed.python("-W", "error", str(SUPPORT / "clients.py"), name, PYTHONPATH=str(SUPPORT))
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.slow
def test_accelerate_before_and_after_the_injection() -> None:
    """A model that accelerate gave a forward of its own takes losses and gives them back, in either order."""
    seen = run_client("accelerate")
    assert list(seen) == ["roi_heads", "rpn", "fcos"]
    for head, saw in seen.items():
        assert len(set(saw["expected"].values())) >= 3
        assert saw["left"] == []
        for order, (value, whose) in saw["found"].items():
            # Where a part alone runs in bfloat16, it rounds to 8 bits what is in float32 elsewhere.
            rel = 1e-2 if "part" in order else 1e-6
            assert value == pytest.approx(saw["expected"][whose], rel=rel), (head, order)
        # The loss of RoIHeads is replaced in its forward, which one of the instance hides.
        assert saw["refused"].startswith("roi_heads: ") == (head == "roi_heads")


@pytest.mark.slow
def test_fsdp2_before_and_after_the_injection() -> None:
    """On two gloo ranks a sharded model takes losses and gives them back, with losses and gradients of a whole one."""
    seen = run_client("fsdp")
    assert list(seen) == ["roi_heads", "fcos"]
    for head, found in seen.items():
        said, name = found.pop("names")
        assert said.startswith(f"{head}: ")
        assert name in ("FSDPRoIHeads", "FSDPFCOS")
        plain, with_losses = found.pop("copies")
        assert plain == with_losses, "torch refuses to pickle and copy, with the same words"
        assert len(plain) == 2
        assert found == dict.fromkeys(found, True), head
        assert len(found) == 8
