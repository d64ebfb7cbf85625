from __future__ import annotations

import math

import pytest
import torch
from mpmath import det, diag, exp, inverse, log, log1p, matrix, mpf, sqrt
from pydantic import ValidationError
from torch import Tensor

from detloss.loss import BoxRegressionLoss
from detloss_gaussian.gwd import GWDLoss
from detloss_gaussian.kld import KLDLoss
from detloss_gaussian.nwd import NWDLoss
from detloss_gaussian.probiou import ProbIoULoss

ALL = [
    NWDLoss(),
    GWDLoss(),
    GWDLoss(fun="log1p"),
    GWDLoss(fun="none", tau=1.0),
    GWDLoss(normalize=True),
    KLDLoss(),
    KLDLoss(direction="pred_target", fun="sqrt", sqrt=False),
    KLDLoss(fun="none", sqrt=False, tau=2.0),
    ProbIoULoss(),
    ProbIoULoss(mode="l2"),
]
IDS = [repr(loss) for loss in ALL]


def one(loss: BoxRegressionLoss, pred: list[float], target: list[float], dtype: torch.dtype = torch.float64) -> float:
    return float(loss(torch.tensor([pred], dtype=dtype), torch.tensor([target], dtype=dtype)))


def slope(loss: BoxRegressionLoss, pred: list[float], target: list[float], dtype: torch.dtype) -> Tensor:
    boxes = torch.tensor([pred], dtype=dtype, requires_grad=True)
    return torch.autograd.grad(loss(boxes, torch.tensor([target], dtype=dtype)).sum(), boxes)[0]


def random_boxes(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(2, 2, n, 2, generator=generator, dtype=torch.float64)
    pred, target = torch.cat([100 * corner, 100 * corner + 80 * size + 4], dim=-1)
    return pred, target


def gaussian(box: list[float], variance_of_unit_side: mpf) -> tuple[matrix, matrix]:
    """Mean and covariance of the Gaussian of a box."""
    x1, y1, x2, y2 = map(mpf, box)
    mean = matrix([(x1 + x2) / 2, (y1 + y2) / 2])
    return mean, variance_of_unit_side * diag([(x2 - x1) ** 2, (y2 - y1) ** 2])


def wasserstein_squared(pred: list[float], target: list[float]) -> mpf:
    """Squared 2-Wasserstein distance, with tr (S1 + S2 - 2 (S1^½ S2 S1^½)^½) of diagonal covariances."""
    (mean_p, cov_p), (mean_t, cov_t) = gaussian(pred, mpf(1) / 4), gaussian(target, mpf(1) / 4)
    offset = mean_p - mean_t
    return (offset.T * offset)[0] + sum(cov_p[i, i] + cov_t[i, i] - 2 * sqrt(cov_p[i, i] * cov_t[i, i]) for i in (0, 1))


def kl_divergence(first: list[float], second: list[float]) -> mpf:
    """KL(first‖second) = ½ (tr(S2⁻¹ S1) + d' S2⁻¹ d - 2 + ln |S2| / |S1|)."""
    (mean_1, cov_1), (mean_2, cov_2) = gaussian(first, mpf(1) / 4), gaussian(second, mpf(1) / 4)
    offset, product = mean_1 - mean_2, inverse(cov_2) * cov_1
    trace = product[0, 0] + product[1, 1]
    return (trace + (offset.T * inverse(cov_2) * offset)[0] - 2 + log(det(cov_2) / det(cov_1))) / 2


def bhattacharyya(pred: list[float], target: list[float]) -> mpf:
    """B = 1/8 d' S⁻¹ d + ½ ln(|S| / sqrt(|S1| |S2|)) with S = (S1 + S2) / 2."""
    (mean_p, cov_p), (mean_t, cov_t) = gaussian(pred, mpf(1) / 12), gaussian(target, mpf(1) / 12)
    offset, middle = mean_p - mean_t, (cov_p + cov_t) / 2
    return (offset.T * inverse(middle) * offset)[0] / 8 + log(det(middle) / sqrt(det(cov_p) * det(cov_t))) / 2


FUNCTIONS = {"sqrt": sqrt, "log1p": log1p, "none": lambda x: x}


def test_nwd_by_hand():
    """NWD is the paper's exponential of the Wasserstein distance."""
    # Centres (5, 5) and (8, 9): 3² + 4² = 25; sides 10, 10 and 10, 10. W = 5, C = 10: 1 - exp(-0.5).
    assert one(NWDLoss(constant=10.0), [0, 0, 10, 10], [3, 4, 13, 14]) == pytest.approx(1 - math.exp(-0.5), rel=1e-12)
    # One centre, sides 16, 12 and 10, 4: (6² + 8²) / 4 = 25, W = 5 again.
    assert one(NWDLoss(constant=10.0), [0, 0, 16, 12], [3, 4, 13, 8]) == pytest.approx(1 - math.exp(-0.5), rel=1e-12)


def test_gwd_by_hand():
    """GWD is the paper's quotient, with each of its functions and with the normalised distance."""
    # W² = 25 as above.  sqrt: 1 - 1/(2 + 5) = 6/7;  log1p: 1 - 1/(2 + ln 26);  none: 1 - 1/27 = 26/27
    pred, target = [0, 0, 10, 10], [3, 4, 13, 14]
    assert one(GWDLoss(), pred, target) == pytest.approx(6 / 7, rel=1e-12)
    assert one(GWDLoss(fun="log1p"), pred, target) == pytest.approx(1 - 1 / (2 + math.log(26)), rel=1e-12)
    assert one(GWDLoss(fun="none"), pred, target) == pytest.approx(26 / 27, rel=1e-12)
    # Normalised: four sides of 10, so W = 5 / 10: 1 - 1/2.5 = 0.6
    assert one(GWDLoss(normalize=True), pred, target) == pytest.approx(0.6, rel=1e-7)


def test_kld_by_hand():
    """KLD is the paper's quotient; the two directions differ."""
    # pred 2 x 2, target 4 x 2, one centre. KL(target‖pred) = (16/4 + 1)/2 + ln(2/4) + 0 - 1 = 1.5 - ln 2
    # KL(pred‖target) = (4/16 + 1)/2 + ln(4/2) - 1 = ln 2 - 0.375
    pred, target = [1, 0, 3, 2], [0, 0, 4, 2]
    plain = {"fun": "none", "sqrt": False}
    assert one(KLDLoss(**plain), pred, target) == pytest.approx(1 - 1 / (2.5 - math.log(2)), rel=1e-6)
    reverse = KLDLoss(direction="pred_target", **plain)
    assert one(reverse, pred, target) == pytest.approx(1 - 1 / (0.625 + math.log(2)), rel=1e-6)


def test_probiou_by_hand():
    """ProbIoU is the Hellinger distance (l1) or the Bhattacharyya distance (l2)."""
    # Two 6 x 6 boxes 2 px apart in x: a = 36/12 = 3. B = 1/4 (2² / 6) + 1/2 ln(36 / (4 * 9)) = 1/6.
    pred, target = [0, 0, 6, 6], [2, 0, 8, 6]
    assert one(ProbIoULoss(mode="l2"), pred, target) == pytest.approx(1 / 6, rel=1e-6)
    assert one(ProbIoULoss(), pred, target) == pytest.approx(math.sqrt(1 - math.exp(-1 / 6)), rel=1e-6)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("fun", ["sqrt", "log1p", "none"])
def test_gwd_against_matrices(fun: str, normalize: bool):
    """GWD agrees with the Wasserstein distance of the Gaussians' matrices; so does NWD."""
    loss = GWDLoss(fun=fun, normalize=normalize, tau=1.5)
    for pred, target in zip(*(boxes.tolist() for boxes in random_boxes(20)), strict=True):
        squared = wasserstein_squared(pred, target)
        assert one(NWDLoss(), pred, target) == pytest.approx(float(1 - exp(-sqrt(squared) / 12.8)), rel=1e-9)
        if normalize:  # mmrotate: the distance is divided by 2 (|S1| |S2|)^(1/8)
            determinants = det(gaussian(pred, mpf(1) / 4)[1]) * det(gaussian(target, mpf(1) / 4)[1])
            squared /= (2 * determinants ** (mpf(1) / 8)) ** 2
        assert one(loss, pred, target) == pytest.approx(float(1 - 1 / (1.5 + FUNCTIONS[fun](squared))), rel=1e-6)


@pytest.mark.parametrize("square_root", [True, False])
@pytest.mark.parametrize("direction", ["target_pred", "pred_target"])
@pytest.mark.parametrize("fun", ["sqrt", "log1p", "none"])
def test_kld_against_matrices(fun: str, direction: str, square_root: bool):
    """KLD agrees with the divergence of the Gaussians' matrices, in both directions."""
    loss = KLDLoss(fun=fun, direction=direction, sqrt=square_root, tau=1.5)
    for pred, target in zip(*(boxes.tolist() for boxes in random_boxes(20)), strict=True):
        kl = kl_divergence(target, pred) if direction == "target_pred" else kl_divergence(pred, target)
        distance = FUNCTIONS[fun](sqrt(kl) if square_root else kl)
        assert one(loss, pred, target) == pytest.approx(float(1 - 1 / (1.5 + distance)), rel=1e-6)


def test_probiou_against_matrices():
    """ProbIoU agrees with the Bhattacharyya distance of the Gaussians' matrices."""
    for pred, target in zip(*(boxes.tolist() for boxes in random_boxes(20)), strict=True):
        distance = bhattacharyya(pred, target)
        assert one(ProbIoULoss(mode="l2"), pred, target) == pytest.approx(float(distance), rel=1e-6)
        assert one(ProbIoULoss(), pred, target) == pytest.approx(float(sqrt(1 - exp(-distance))), rel=1e-6)


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_gradient_is_that_of_finite_differences(loss: BoxRegressionLoss):
    """The gradient agrees with central finite differences."""
    pred, target = random_boxes(20)
    assert torch.autograd.gradcheck(lambda p: loss(p, target), pred.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_identical_boxes(loss: BoxRegressionLoss, dtype: torch.dtype):
    """Identical boxes get exactly the least value, and gradient 0: no eps under a root lifts it."""
    box = [10.3, 20.7, 31.1, 47.9]
    assert one(loss, box, box, dtype) == 1 - 1 / getattr(loss.config, "tau", 1.0)
    assert slope(loss, box, box, dtype).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("loss", ALL, ids=IDS)
@pytest.mark.parametrize("coordinate", range(4))
def test_a_nan_coordinate_costs_nan(loss: BoxRegressionLoss, coordinate: int):
    """A NaN in any coordinate of either box gives NaN, not the value of a perfect match."""
    box = [10.0, 20, 30, 40]
    broken = [*box]
    broken[coordinate] = math.nan
    assert math.isnan(one(loss, broken, box))
    assert math.isnan(one(loss, box, broken))


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_nearly_identical_boxes(loss: BoxRegressionLoss):
    """One step of float32 away from identical, value and gradient are finite and the value is no less."""
    box = torch.tensor([[10.3, 20.7, 31.1, 47.9]])
    near = torch.nextafter(box, torch.tensor(math.inf)).requires_grad_()
    value = loss(near, box)
    (gradient,) = torch.autograd.grad(value.sum(), near)
    assert value.item() >= loss(box, box).item()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss", [KLDLoss(), KLDLoss(direction="pred_target"), ProbIoULoss(), GWDLoss(normalize=True)], ids=repr
)
def test_normalised_boxes_keep_value_and_gradient(loss: BoxRegressionLoss):
    """Boxes in units of the image get the value that they have in pixels, not one flattened by an eps in pixels."""
    pred, target = torch.tensor([[100.0, 200, 300, 260]]), torch.tensor([[110.0, 190, 320, 270]])
    in_pixels = loss(pred, target)
    torch.testing.assert_close(loss(pred / 1000, target / 1000), in_pixels, rtol=1e-4, atol=0)
    normalised = slope(loss, (pred / 1000).tolist()[0], (target / 1000).tolist()[0], torch.float64)
    torch.testing.assert_close(
        normalised, 1000 * slope(loss, pred.tolist()[0], target.tolist()[0], torch.float64), rtol=1e-3, atol=0
    )


def test_nwd_fades_with_distance():
    """NWD's gradient fades with the error in units of the constant: 1000 px off, 12.8 gives none and 300 does."""
    pred, target = [1000.0, 0, 1100, 100], [0.0, 0, 100, 100]
    assert slope(NWDLoss(), pred, target, torch.float32).abs().sum() < 1e-30
    assert slope(NWDLoss(constant=300.0), pred, target, torch.float32).abs().sum() > 1e-4


@pytest.mark.parametrize("loss", ALL, ids=IDS)
def test_inverted_box_is_worse_than_a_disjoint_one(loss: BoxRegressionLoss):
    """The target's own corners exchanged get no less than a box at the other end of the image."""
    target = [400.0, 400, 500, 500]
    assert one(loss, [500, 500, 400, 400], target) >= one(loss, [0, 0, 50, 50], target)


@pytest.mark.parametrize(
    ("loss", "params"),
    [
        (NWDLoss, {"constant": 0.0}),
        (GWDLoss, {"tau": 0.5}),
        (GWDLoss, {"fun": "log"}),
        (KLDLoss, {"direction": "both"}),
        (KLDLoss, {"tau": 0.0}),
        (KLDLoss, {"eps": 0.0}),
        (ProbIoULoss, {"mode": "l3"}),
        (ProbIoULoss, {"eps": -1e-7}),
    ],
)
def test_bounds(loss: type[BoxRegressionLoss], params: dict[str, object]):
    """A parameter out of bounds is refused by name."""
    with pytest.raises(ValidationError, match=next(iter(params))):
        loss(**params)
