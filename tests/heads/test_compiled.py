"""A loss under ``compile: true``: the same numbers, faster, through all that happens to a model."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import killed
import pytest
import torch
from loss_cases import NAMES, extras, random_pairs
from tiny_detectors import BOX_LOSS, HEADS, batch, detector, faster_rcnn, gradients, step
from torch import Tensor, nn
from torch._dynamo.utils import counters

from detloss import BoxRegressionLoss, build_loss, eject, inject, injected
from detloss.heads.compiled import call_compiled, compiles

pytestmark = [
    pytest.mark.slow,  # each test compiles at least one loss
    pytest.mark.xdist_group("compiled"),  # a process takes ten seconds to load the compiler
    pytest.mark.filterwarnings("default"),  # the tracer of torch.compile trips over warnings of its own
]

GIOU = {"name": "giou", "compile": True}


def assert_like_eager(loss: BoxRegressionLoss, n: int = 9, dtype: torch.dtype = torch.float32) -> None:
    """Values, and the gradient of a sum with a weight of its own for each pair."""
    # Copies: torch makes one graph more for a tensor that begins inside another's memory.
    pred, target = (boxes.clone() for boxes in random_pairs(loss, n, seed=n, dtype=dtype))
    given = extras(loss, target)
    weights = torch.arange(1, n + 1, dtype=dtype) / max(n, 1)

    def value_and_gradient(*, compiled: bool) -> tuple[Tensor, Tensor]:
        leaf = pred.clone().requires_grad_()
        values = call_compiled(loss, leaf, target, **given) if compiled else loss(leaf, target, **given)
        return values.detach(), torch.autograd.grad((values * weights).sum(), leaf)[0]

    expected = value_and_gradient(compiled=False)
    torch.testing.assert_close(value_and_gradient(compiled=True), expected, rtol=1e-5, atol=1e-6)


def graphs_made(action: Callable[[], object]) -> int:
    before = counters["stats"]["unique_graphs"]
    action()
    return counters["stats"]["unique_graphs"] - before


def box_loss(model: nn.Module, seed: int = 0) -> float:
    return step(model, batch(seed, counts=(6, 5)))["loss_box_reg"].item()


@pytest.mark.parametrize("name", [name for name in NAMES if compiles(build_loss(name))])
def test_every_loss_gives_the_eager_value_and_gradient(name: str) -> None:
    """Compiled by inductor, each loss is one graph, whose values and slopes are those of the eager one."""
    loss = build_loss(name).eval()
    assert graphs_made(lambda: [assert_like_eager(loss, n) for n in (9, 40)]) == 1


@pytest.mark.parametrize("head", HEADS)
def test_every_head_runs_it(head: str) -> None:
    """In each head loss, gradients, state and its keys are the eager ones; also of a loss with state or an extra."""
    loss = {"roi_heads": "mpdiou", "rpn": "unified"}.get(head, "giou")
    models = [inject(detector(head), {head: {"name": loss, "compile": choice}}) for choice in (False, True)]
    losses = [step(model, batch(counts=(6, 5))) for model in models]
    torch.testing.assert_close(losses[1][BOX_LOSS[head]], losses[0][BOX_LOSS[head]], rtol=1e-6, atol=1e-6)
    expected, found = (gradients(model, loss) for model, loss in zip(models, losses, strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    of_loss = [{key: value for key, value in model.state_dict().items() if "detloss" in key} for model in models]
    torch.testing.assert_close(of_loss[1], of_loss[0], rtol=1e-6, atol=1e-6)
    assert any("progress" in key for key in of_loss[1]) == (loss == "unified")


@pytest.mark.parametrize(("name", "given"), [("giou", set()), ("mpdiou", {"image_size"})])
def test_one_graph_serves_every_number_of_pairs(name: str, given: set[str]) -> None:
    """From 0 pairs to 300, and in training and evaluation, one graph is made; other layouts use it too."""
    loss = build_loss(name)
    assert loss.extras == given

    def run() -> None:
        for n in (0, 1, 2, 3, 4, 5, 6, 17, 300):
            assert_like_eager(loss.train(n % 2 == 0), n)
        pred, target = (boxes.t().contiguous().t() for boxes in random_pairs(loss, 8, dtype=torch.float32))
        torch.testing.assert_close(
            call_compiled(loss, pred, target, **extras(loss, target)), loss(pred, target, **extras(loss, target))
        )

    assert graphs_made(run) == 1


def test_losses_do_not_use_up_each_others_graphs() -> None:
    """Losses of one kind with parameters of their own each get a graph, though torch keeps only so many a function."""

    def run() -> None:
        for k in range(3):
            assert_like_eager(build_loss({"name": "smooth_l1", "beta": 10.0**-k}))

    with torch._dynamo.config.patch(recompile_limit=2):
        assert graphs_made(run) == 3


def test_float64() -> None:
    """In float64 the values and gradients are the eager ones to 1e-12."""
    loss = build_loss("giou")
    pred, target = random_pairs(loss, 9)
    leaves = [pred.clone().requires_grad_() for _ in range(2)]
    values = [call_compiled(loss, leaves[0], target), loss(leaves[1], target)]
    for value in values:
        value.square().sum().backward()
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=1e-12, atol=1e-12)


def test_second_derivatives() -> None:
    """Gradients of gradients are those of the formula."""
    loss = build_loss("giou")
    pred, target = random_pairs(loss, 6)
    assert torch.autograd.gradgradcheck(lambda boxes: call_compiled(loss, boxes, target), (pred.requires_grad_(),))


def test_without_gradient() -> None:
    """Under no_grad, under inference_mode and for a prediction outside the graph, the values are the eager ones."""
    loss = build_loss("giou")
    pred, target = random_pairs(loss, 9)
    expected = loss(pred, target)
    with torch.no_grad():
        torch.testing.assert_close(call_compiled(loss, pred, target), expected)
    with torch.inference_mode():
        torch.testing.assert_close(call_compiled(loss, pred, target), expected)
    assert not call_compiled(loss, pred, target).requires_grad


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_compiled_too(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    """A copy and an unpickled model have the compiled loss, and the value of the first."""
    model = inject(faster_rcnn(), {"roi_heads": GIOU})
    expected = box_loss(model)
    twin = duplicate(model)

    def run() -> None:
        assert box_loss(twin) == pytest.approx(expected, rel=1e-6)

    assert graphs_made(run) == 1


def test_torch_save() -> None:
    """A saved whole model gives the same loss after loading."""
    model = inject(faster_rcnn(), {"roi_heads": GIOU})
    expected = box_loss(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert box_loss(torch.load(file, weights_only=False)) == pytest.approx(expected, rel=1e-6)


def test_eject_restores_the_head() -> None:
    """After eject the stock loss is back; after a new injection without compile nothing is compiled."""
    model = inject(faster_rcnn(), {"roi_heads": GIOU})
    box_loss(model)
    assert box_loss(eject(model)) == box_loss(faster_rcnn())
    inject(model, {"roi_heads": "ciou"})
    assert graphs_made(lambda: box_loss(model)) == 0


def test_a_buffer_is_read_as_it_is() -> None:
    """The progress of a training changes the values of the compiled loss."""
    unified = build_loss("unified")
    for progress in (0.0, 0.4, 1.0):
        unified.progress.fill_(progress)
        assert_like_eager(unified)


@pytest.mark.parametrize("loss", ["smooth_l1", "balanced_l1", "wiou"])
def test_what_does_not_get_faster_stays_eager(loss: str, caplog: pytest.LogCaptureFixture) -> None:
    """A loss of few steps or on the whole batch makes no graph, and the log says so."""
    with caplog.at_level("INFO", "detloss"):
        model = inject(faster_rcnn(), {"roi_heads": {"name": loss, "weight": 1, "compile": True}})
    assert caplog.messages == [
        f"roi_heads: {loss} runs without torch.compile, which would not make it faster (compile: true)"
    ]
    assert graphs_made(lambda: box_loss(model)) == 0


def test_a_loss_with_a_parameter_stays_eager() -> None:
    """Slopes of the boxes alone would leave the parameter without a gradient."""
    assert not compiles(Weighted())


def test_the_time_of_compilation_is_told_before_it_is_spent(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the loss when it is compiled, once."""
    loss = build_loss("giou")
    with caplog.at_level("INFO", "detloss"):
        for n in (9, 12):
            assert_like_eager(loss, n)
    assert caplog.messages == ["GIoULoss is compiled now (compile: true): the first time this takes 5 to 20 s"]


class Weighted(BoxRegressionLoss):
    """L1 with a trained factor for each coordinate."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return ((pred - target).abs() * self.scale).sum(-1)


class Branching(BoxRegressionLoss):
    """Looks at values, which no graph can hold."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        distance = (pred - target).abs().sum(-1)
        return distance if distance.max().item() > 1 else distance.square()


def test_a_loss_that_no_graph_can_hold_still_works() -> None:
    """A loss with control flow on values gives the eager values and gradients."""
    assert_like_eager(Branching())


def test_threads() -> None:
    """Two losses in eight threads at once, compiled there, each give their own values."""
    losses = [build_loss(name) for name in ("giou", "smooth_l1")]
    failures: list[BaseException] = []

    def work(loss: BoxRegressionLoss) -> None:
        try:
            for _ in range(3):
                assert_like_eager(loss)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test reports it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(loss,)) for loss in losses * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


DDP = """
import sys
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from tiny_detectors import batch, faster_rcnn, gradients, step
from detloss import inject

def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    losses = [{"name": name, "weight": 1.0, "compile": True} for name in ("giou", "wiou")]
    model = DistributedDataParallel(inject(faster_rcnn(), {"roi_heads": losses}))
    for counts in ((2, 1), (1, 2), (3, 1)):  # rank 1 has pairs, none, and pairs again
        found = gradients(model, step(model, batch(rank, counts if rank == 0 or counts != (1, 2) else (0, 0))))
    torch.save((found, model.module.roi_heads.detloss.losses[1].iou_mean), f"{folder}/{rank}.pt")
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.start_processes(work, args=(sys.argv[1],), nprocs=2, start_method="fork")
"""


def test_ddp(tmp_path: Path) -> None:
    """Two gloo processes, one without any pair in one step, end with equal gradients and an equal running mean."""
    done = killed.python("-c", DDP, str(tmp_path), PYTHONPATH=str(Path(__file__).parents[1] / "support"))
    assert done.returncode == 0, done.stderr
    (first, first_mean), (second, second_mean) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first_mean, second_mean)
    assert first.keys() == second.keys()
    assert all(torch.equal(gradient, second[key]) for key, gradient in first.items())


def test_without_a_compiler_the_message_says_what_to_do(tmp_path: Path) -> None:
    """Where no compiler is found, the error names the loss and the device, what to install, and the switch."""
    program = (
        "import torch\n"
        "from detloss import InjectionError, build_loss\n"
        "from detloss.heads.compiled import call_compiled\n"
        "try:\n"
        "    call_compiled(build_loss('giou'), torch.rand(9, 4), torch.rand(9, 4))\n"
        "except InjectionError as error:\n"
        "    print(error)\n"
    )
    done = killed.python("-c", program, TORCHINDUCTOR_CACHE_DIR=str(tmp_path), PATH="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("GIoULoss has compile: true, but torch.compile failed on cpu with")
    assert "No working C++ compiler found" in done.stdout
    assert "g++ or clang++" in done.stdout
    assert done.stdout.endswith("Fix: install what is missing, or set compile: false.\n")


def test_nothing_is_compiled_unless_asked_for() -> None:
    """By default no graph is made, and a compiled loss of one head leaves another head's loss eager."""
    model = inject(faster_rcnn(), {"roi_heads": "giou", "rpn": "giou"})
    assert graphs_made(lambda: box_loss(model)) == 0
    terms = injected(inject(model, {"rpn": GIOU}))
    assert [term.compile for head in ("roi_heads", "rpn") for term in terms[head].terms] == [False, True]
