"""One table of values that are worked out by hand, and one of the parameters that each loss refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from detloss import build_loss, get_plugin

SQUARE = [0.0, 0, 10, 10]
MOVED = [5.0, 0, 15, 10]
"""Moved by 5 px in x: I = 50, U = C = 150, IoU 1/3, c² = 15² + 10² = 325."""
WIDE = [0.0, 0, 20, 10]
"""Twice as wide: I = 100, U = C = 200, IoU 1/2, dx = 5, c² = 20² + 10² = 500."""
ASPECT = 4 / math.pi**2 * (math.pi / 4 - math.atan(2)) ** 2
"""CIoU's v of a square and a box twice as wide as high."""
PIOU = 2 / 3 + 1 - math.exp(-(0.25**2))
"""Version 1: both x corners are off by 5 of W = 10, so that P = (0.5 + 0.5) / 4."""

VALUES: list[tuple[str, dict[str, Any], list[float], list[float], float, str]] = [
    ("iou", {}, MOVED, SQUARE, 2 / 3, "1 - 1/3"),
    ("iou", {"mode": "square"}, MOVED, SQUARE, 8 / 9, "1 - 1/9"),
    ("iou", {"mode": "log"}, MOVED, SQUARE, math.log(3), "-ln(1/3)"),
    ("giou", {}, MOVED, SQUARE, 2 / 3, "1 - 1/3 + (150 - 150)/150"),
    ("diou", {}, MOVED, SQUARE, 2 / 3 + 1 / 13, "1 - 1/3 + 25/325"),
    ("diou", {}, [20, 20, 30, 30], SQUARE, 1 + 4 / 9, "disjoint: 1 + (20² + 20²)/(30² + 30²)"),
    ("diou", {}, [2, 3, 8, 7], SQUARE, 0.76, "one center: 1 - 24/100"),
    ("ciou", {}, WIDE, SQUARE, 0.55 + ASPECT**2 / (0.5 + ASPECT), "1 - 1/2 + 25/500 + v/(1 - IoU + v) v"),
    ("eiou", {}, WIDE, SQUARE, 0.8, "1 - 1/2 + 25/500 + (20 - 10)²/20² + (10 - 10)²/10²"),
    ("eiou", {}, MOVED, SQUARE, 2 / 3 + 25 / 325, "equal sides cost nothing, whatever the offset"),
    ("focal_eiou", {}, WIDE, SQUARE, math.sqrt(0.5) * 0.8, "IoU^0.5 times EIoU"),
    ("focal_eiou", {"gamma": 2.0}, WIDE, SQUARE, 0.25 * 0.8, "IoU² times EIoU"),
    ("extended_eiou", {}, MOVED, SQUARE, 2 / 3 - 0.05, "u = 2/3, less 0.1/2"),
    (
        "extended_eiou",
        {},
        [20, 0, 30, 10],
        SQUARE,
        4 / 3 - 0.05,
        "(x1, x2) = (20, 10), (y1, y2) = (0, 10): I = 100 + 0 - 200 - 0 = -100, U = 300: u = 4/3, less 0.05",
    ),
    ("extended_eiou", {}, [0, 0, 10, 9.5], SQUARE, 0.0125, "I = 95, U = 100: u = 0.05 < 0.1, 0.05²/0.2"),
    ("siou", {}, MOVED, SQUARE, 2 / 3 + (1 - math.exp(-2 / 9)) / 2, "on an axis: angle 0, gamma 2; (5/15)² = 1/9"),
    ("siou", {}, [5, 5, 15, 15], SQUARE, 6 / 7 + 1 - math.exp(-1 / 9), "at 45 degrees: gamma 1; I = 25, U = 175"),
    ("alpha_iou", {"base": "iou"}, MOVED, SQUARE, 26 / 27, "1 - 1/3³"),
    ("alpha_iou", {"base": "giou"}, MOVED, SQUARE, 26 / 27, "1 - 1/3³ + ((150 - 150)/150)³"),
    ("alpha_iou", {"base": "diou"}, MOVED, SQUARE, 26 / 27 + (25 / 325) ** 3, "1 - 1/3³ + (rho²/c²)³"),
    (
        "bounded_iou",
        {},
        [3.5, 0, 8.5, 10],
        SQUARE,
        1 / 3 - 0.1 + 0.4,
        "dx = 1: 1 - (10 - 2)/(10 + 2) = 1/3, less 0.1; dy = 0; 1 - 5/10 = 0.5, less 0.1; equal heights",
    ),
    ("interpiou", {"alpha": 0.5}, SQUARE, MOVED, 2 / 3 + 0.4, "B = [2.5, 0, 12.5, 10]: 7.5 x 10 of 125, IoU 0.6"),
    ("interpiou", {"alpha": 0.2}, SQUARE, MOVED, 2 / 3 + 4 / 7, "B = [1, 0, 11, 10]: 6 x 10 of 140, IoU 3/7"),
    ("cdiou", {"lam": 3.0}, SQUARE, MOVED, 2 / 3 + 15 / math.sqrt(325), "every corner is off by 5"),
    (
        "cdiou",
        {},
        [0, 0, 13, 14],
        SQUARE,
        1 - 100 / 182 + 3 / math.sqrt(365),
        "corners off by 0, 3, 4 and 5, the mean is 3; diagonal sqrt(13² + 14²)",
    ),
    ("sca", {"alpha": 2.0}, SQUARE, MOVED, 2 / 3 + 20 / math.sqrt(325), "2 - (5/15 + 10/10) + 2 (5 + 5)/sqrt(325)"),
    ("sca", {}, SQUARE, [30, 0, 40, 10], 1.5 + 60 / math.sqrt(1700), "gap 20: 2 - (-20/40 + 1) + (30 + 30)/sqrt(1700)"),
    ("shape_iou", {}, SQUARE, MOVED, 2 / 3 + 25 / 325, "scale 0: both weights are 1"),
    (
        "shape_iou",
        {"scale": 1.0},
        SQUARE,
        WIDE,
        1 / 2 + 1 / 30 + (1 - math.exp(-1 / 3)) ** 4 / 2,
        "ww = 40/30, hh = 20/30: 2/3 * 25/500 = 1/30; omega_w = 2/3 * 10/20, omega_h = 0",
    ),
    ("piou", {"version": 1}, SQUARE, MOVED, PIOU, "1 - IoU + 1 - exp(-P²)"),
    (
        "piou",
        {},
        SQUARE,
        MOVED,
        3 * 1.3 * math.exp(-0.25) * math.exp(-((1.3 * math.exp(-0.25)) ** 2)) * PIOU,
        "3 x exp(-x²) times version 1, with x = 1.3 exp(-P)",
    ),
    ("mpdiou", {}, MOVED, SQUARE, 2 / 3 + 0.02, "d1² = d2² = 25, in an image of 30 x 40 px: 50/2500"),
]

REFUSED: dict[str, list[dict[str, Any]]] = {
    "alpha_iou": [{"alpha": 0.0}, {"base": "eiou"}, {"eps": 0.0}],
    "bounded_iou": [{"beta": 0.0}, {"eps": 0.0}],
    "cdiou": [{"lam": -1.0}, {"eps": 0.0}],
    "ciou": [{"eps": 0.0}, {"gated": 1}, {"gate": True}],
    "diou": [{"eps": 0.0}, {"eps": -1e-7}, {"eps": math.inf}],
    "eiou": [{"eps": 0.0}],
    "extended_eiou": [{"smooth_point": 0.0}, {"eps": -1.0}],
    "focal_eiou": [{"gamma": -0.1}, {"eps": 0.0}],
    "focaler": [{"d": 1.0}, {"u": 0.0}, {"u": 1.1}, {"d": 0.6, "u": 0.5}, {"eps": 0.0}],
    "giou": [{"eps": 0.0}, {"eps": -1e-7}, {"eps": math.nan}, {"eps": "1e-7"}],
    "inner": [{"ratio": 0.0}, {"eps": 0.0}, {"base": 3}],
    "interpiou": [
        {"alpha": 1.1},
        {"alpha": -0.1},
        {"dynamic": [0.6, 1.5]},
        {"dynamic": [0.9, 0.6]},
        {"dynamic": [0.5]},
    ],
    "iou": [{"mode": "cubic"}, {"eps": 0.0}],
    "mpdiou": [{"eps": 0.0}],
    "piou": [{"version": 3}, {"lam": 0.0}, {"eps": 0.0}, {"detach_q": 1}],
    "sca": [{"alpha": -1.0}, {"eps": 0.0}],
    "shape_iou": [{"scale": -1.0}, {"theta": 0.5}, {"eps": 0.0}],
    "siou": [{"theta": 0.5}, {"eps": 0.0}],
    "unified": [{"schedule": "step"}, {"focal": "yes"}, {"gamma": 0.0}, {"eps": 0.0}],
    "wiou": [
        {"version": 4},
        {"alpha": 1.0},
        {"delta": 200.0},
        {"gamma": -1.0},
        {"momentum": 0.0},
        {"eps": 0.0},
    ],
}


@pytest.mark.parametrize("case", VALUES, ids=lambda case: f"{case[0]} {case[1]}")
def test_value(case: tuple[str, dict[str, Any], list[float], list[float], float, str]) -> None:
    """A pair of boxes costs what the working says."""
    name, params, pred, target, value, working = case
    loss = build_loss({"name": name, **params})
    given = {"image_size": torch.tensor([[30.0, 40.0]])} if loss.extras else {}
    boxes = (torch.tensor([box], dtype=torch.float64) for box in (pred, target))
    assert loss(*boxes, **given).tolist() == pytest.approx([value], rel=1e-6), working


@pytest.mark.parametrize(
    ("name", "params"), [(name, params) for name, tries in REFUSED.items() for params in tries], ids=str
)
def test_a_parameter_out_of_bounds_is_refused(name: str, params: dict[str, Any]) -> None:
    """A parameter that is out of bounds, of another type or unknown is refused by its name."""
    with pytest.raises(ValidationError, match=next(iter(params))):
        get_plugin(name).cls(**params)
