from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from power_losses import YAML, findings

from detloss import LossSpec, load_config

pytestmark = pytest.mark.usefixtures("power_losses")


def test_overrides(write: Callable[..., Path]) -> None:
    """An override replaces or adds a value, makes the mappings on its way, and opens a loss given by name alone."""
    config = load_config(
        write(YAML),
        overrides=[
            "num_classes=7",
            "losses.roi_heads.0.power=1.5",
            "losses.roi_heads.1=power",
            "losses.rpn.name=power",
            "options={detections_per_img: 5}",
            "weights_backbone=null",
        ],
    )
    assert config.num_classes == 7
    assert config.losses["roi_heads"] == (LossSpec(name="power", power=1.5), LossSpec(name="power"))
    assert config.losses["rpn"] == (LossSpec(name="power"),)
    assert config.options == {"detections_per_img": 5}


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("num_classes", "", "an override is key.path=value"),
        ("a..b=1", "a..b", "an override is key.path=value"),
        ("num_clases=4", "num_clases", "did you mean 'num_classes'"),
        ("num_classes=four", "num_classes", "found 'four'"),
        ("losses.roi_heads.2.power=1", "losses.roi_heads.2.power", "has no item '2'"),
        ("losses.roi_heads.1.pwoer=1", "losses.roi_heads.1.pwoer", "did you mean 'power'"),
        ("losses.roi_heads.1.power=1_0", "losses.roi_heads.1.power", "write the number without underscores"),
        ("model.x=1", "model.x", "has no keys"),
        ("options={a: 1, a: 2}", "options.a", "already"),
        ("options={", "options", "flow node"),
        ("options=!!x 3", "options", "tag"),
        ("a.b.c=1", "a", "unknown key"),
        ("losses.roi_heads.0.name.x=3", "losses.roi_heads.0.name.x", "losses.roi_heads.0.name is 'power', which has"),
        ("losses.roi_heads.0.weight=.nan", "losses.roi_heads.0.weight", "should be a finite number"),
    ],
)
def test_wrong_override(write: Callable[..., Path], override: str, key: str, message: str) -> None:
    """An error in an override names its key and not a line of the file."""
    (finding,) = findings(write(YAML), overrides=[override])
    assert (finding.key, finding.line, finding.override) == (key, None, True)
    assert message in finding.message
    assert str(finding).startswith("override: ")
