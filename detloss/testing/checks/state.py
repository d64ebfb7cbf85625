"""Checks of the state of a loss and its copies."""

import copy
import pickle
from collections.abc import Iterator

import torch
from torch import nn

from detloss.loss import BoxRegressionLoss
from detloss.testing.check import Check
from detloss.testing.trial import Trial

STEPS = 3
"""Training steps of a loss before it is copied."""


@Check
def state_in_buffers(trial: Trial) -> None:
    """What a loss remembers is in buffers, which change in training only."""
    loss = trial.fresh()
    trial.expect(
        not list(loss.parameters()),
        "no parameters",
        ", ".join(name for name, _ in loss.named_parameters()),
        "No optimizer trains a loss's parameters. Fix: use `register_buffer`, or a field of Config.",
    )
    for path, value in _attributes(loss):
        trial.expect(
            not isinstance(value, torch.Tensor),
            "tensors in buffers",
            f"the attribute {path}",
            "It would not be saved, moved or resumed. Fix: use `self.register_buffer(...)`.",
        )
    other = trial.fresh().eval()
    boxes = trial.pairs(8)
    untouched = trial.values(other, *boxes)
    before = {path: repr(value) for path, value in _attributes(loss)}
    _train(trial, loss)
    after = {path: repr(value) for path, value in _attributes(loss)}
    for path in before | after:
        trial.expect(
            before.get(path) == after.get(path),
            "a call to change only buffers",
            f"{path} changed from {before.get(path, 'nothing'):.80} to {after.get(path, 'nothing'):.80}",
            "It would not be saved, resumed or synchronized. Fix: keep it in `self.register_buffer(...)`.",
        )
    trial.expect_close(
        trial.values(other, *boxes),
        untouched,
        0.0,
        "another instance to have the same values after a call of this one",
        "They share state in a class or a module. Fix: keep it in `self.register_buffer(...)`.",
    )
    evaluated = loss.eval()
    held = {name: buffer.clone() for name, buffer in evaluated.named_buffers()}
    trial.values(evaluated, *boxes)
    for name, buffer in evaluated.named_buffers():
        trial.expect(
            torch.equal(buffer, held[name]),
            f"the buffer {name} to stay {held[name].tolist()!s:.80} in evaluation mode",
            f"{buffer.tolist()!s:.80}",
            "Validation would change the training. Fix: update it only under `if self.training`.",
        )


@Check
def buffer_dtype(trial: Trial) -> None:
    """Buffers keep dtype and numbers, whatever the model is cast to."""
    wanted = trial.fresh()
    _train(trial, wanted)
    before = dict(trial.fresh().named_buffers())
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        loss = trial.fresh()
        nn.ModuleList([loss]).to(dtype)
        _train(trial, loss)
        found = dict(loss.named_buffers())
        trial.expect(
            found.keys() == before.keys(), f"the buffers {sorted(before)}", sorted(found), "Fix: register all."
        )
        for name, buffer in wanted.named_buffers():
            advice = (
                "In half precision a running mean stops. Fix: do not override `_apply`, and update buffers in place."
            )
            kept = before[name].dtype if before[name].dtype not in (torch.float16, torch.bfloat16) else torch.float32
            trial.expect(found[name].dtype == kept, f"the buffer {name} in {kept}", found[name].dtype, advice)
            trial.expect_close(
                found[name].reshape(-1),
                buffer.reshape(-1),
                0.0,
                f"the buffer {name} as without a cast to {dtype}",
                advice,
            )


@Check
def state_dict(trial: Trial) -> None:
    """A loss that loads a state_dict has the same buffers and values."""
    loss, loaded = trial.fresh(), trial.fresh()
    _train(trial, loss)
    loaded.load_state_dict(loss.state_dict())
    advice = "Training would resume without this buffer. Fix: register it without `persistent=False`."
    _expect_buffers(trial, loss, loaded, "a loaded loss", advice)
    advice = "The loss has state outside of its buffers. Fix: keep all of it in `self.register_buffer(...)`."
    _expect_values(trial, loss.eval(), loaded.eval(), "a loaded loss to give the same values when evaluated", advice)
    _expect_values(trial, loss.train(), loaded.train(), "a loaded loss to give the same values in training", advice)


@Check
def deep_copy(trial: Trial) -> None:
    """A deep copy has the same parameters, state and values, unshared."""
    loss = trial.fresh()
    _train(trial, loss)
    _expect_twin(trial, loss, copy.deepcopy(loss), "a deep copy")


@Check
def pickling(trial: Trial) -> None:
    """An unpickled loss has the same parameters, state and values."""
    loss = trial.fresh()
    _train(trial, loss)
    try:
        data = pickle.dumps(loss)
    except Exception as error:  # noqa: BLE001 - the loss may define __getstate__ and __reduce__
        trial.expect(
            False,
            "a loss that can be pickled, as jobs and `torch.save(model)` need",
            f"{type(error).__name__}: {error}",
            "Fix: store no lambda, open file, lock or local class; choose functions in forward, by name.",
        )
    _expect_twin(trial, loss, pickle.loads(data), "an unpickled loss")


def _expect_twin(trial: Trial, loss: BoxRegressionLoss, twin: BoxRegressionLoss, what: str) -> None:
    advice = "Fix: let `nn.Module` copy, or pass everything on in `__deepcopy__` and `__getstate__`."
    trial.expect(
        type(twin) is type(loss) and twin is not loss, f"{what} that is another object", f"{twin!r:.80}", advice
    )
    trial.expect(twin.config == loss.config, f"the parameters {loss.config!r}", repr(twin.config), advice)
    _expect_buffers(trial, loss, twin, what, advice)
    _expect_values(trial, loss.eval(), twin.eval(), f"{what} to give the same values", advice)


def _expect_buffers(trial: Trial, loss: BoxRegressionLoss, twin: BoxRegressionLoss, what: str, advice: str) -> None:
    found, wanted = dict(twin.named_buffers()), dict(loss.named_buffers())
    trial.expect(found.keys() == wanted.keys(), f"{what} with buffers {sorted(wanted)}", sorted(found), advice)
    for name, buffer in wanted.items():
        shared = bool(buffer.numel()) and found[name].data_ptr() == buffer.data_ptr()
        trial.expect(
            torch.equal(found[name], buffer) and not shared,
            f"{what} with its own buffer {name} of {buffer.tolist()!s:.80}",
            f"{found[name].tolist()!s:.80}{' in shared memory' * shared}",
            advice,
        )


def _expect_values(trial: Trial, loss: BoxRegressionLoss, twin: BoxRegressionLoss, expected: str, advice: str) -> None:
    pred, target = trial.pairs(8)
    trial.expect_close(trial.values(twin, pred, target), trial.values(loss, pred, target), 0.0, expected, advice)


def _train(trial: Trial, loss: BoxRegressionLoss) -> None:
    for seed in range(STEPS):
        trial.values_and_gradient(loss, *trial.pairs(8, seed=seed))


def _attributes(loss: BoxRegressionLoss) -> Iterator[tuple[str, object]]:
    """Yield path and value of every attribute except buffers, of classes too."""
    for name, module in loss.named_modules():
        path = f"self.{name}" if name else "self"
        for key, value in vars(module).items():
            if key not in _MODULE_OWN and not isinstance(value, nn.Module):
                yield f"{path}.{key}", value
        if isinstance(module, BoxRegressionLoss):
            for cls in type(module).__mro__[: type(module).__mro__.index(BoxRegressionLoss)]:
                for key, value in vars(cls).items():
                    if not key.startswith("__") and not key.startswith("_abc"):
                        yield f"{cls.__name__}.{key}", value


_MODULE_OWN = frozenset(vars(nn.Module()))
"""Attributes of every module: buffers, modules and hooks."""
