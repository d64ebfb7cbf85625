"""The optimizer and learning rate of a config, also after resuming."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detloss.training.settings import FitConfig

_NO_DECAY = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
_START = 1 / 25
"""Learning rate at the first step as a fraction of the peak, as in torch's one-cycle schedule."""
_END = 1e-4
"""Learning rate at the last step as a fraction of the first, as in torch's one-cycle schedule."""


def build_optimizer(model: nn.Module, config: FitConfig, *, fused: bool) -> Optimizer:
    """Make the optimizer of a config.

    A checkpoint restores the state of the parameters, not the settings.
    """
    groups = parameter_groups(model, config.weight_decay)
    optimizer: Optimizer
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
        _start_momentum(optimizer)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=fused)
    optimizer.register_load_state_dict_pre_hook(_with_own_settings)
    return optimizer


class Schedule(LambdaLR):
    """A learning rate that depends only on config and step.

    A checkpoint restores only the step.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the checkpoint's step."""
        super().load_state_dict({**state_dict, "base_lrs": self.base_lrs})
        for group, rate, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = rate * factor(self.last_epoch)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights, and biases and norms, which do not decay."""
    decay: list[nn.Parameter] = []
    no_decay: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                (no_decay if name == "bias" or isinstance(module, _NO_DECAY) else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def learning_rate_factor(config: FitConfig, done: float) -> float:
    """Factor on `FitConfig.lr` after the fraction `done` of all steps."""
    if config.schedule == "onecycle":
        # Smith & Topin 2019 (arXiv 1708.07120), with cosines as in torch's OneCycleLR; momentum is constant.
        if done < config.warmup:
            return _cosine(_START, 1.0, done / config.warmup)
        return _cosine(1.0, _START * _END, (done - config.warmup) / (1 - config.warmup))
    rise = min(1.0, _START + (1 - _START) * done / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        return rise * _cosine(1.0, 0.0, max(0.0, done - config.warmup) / (1 - config.warmup))
    if config.schedule == "step":
        return float(rise * 0.1 ** sum(done >= milestone for milestone in config.milestones))
    return rise


def _with_own_settings(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    # A saved setting such as `fused` would change the kernel of the loading optimizer.
    groups = [
        {**own, "params": group["params"]}
        for own, group in zip(optimizer.param_groups, saved["param_groups"], strict=True)
    ]
    return {**saved, "param_groups": groups}


def _start_momentum(optimizer: torch.optim.SGD) -> None:
    """Give every parameter zero momentum: the first step stays torch's.

    It is 0 * momentum + gradient. Without this, fused SGD allocates the momentum in its first step, does not fill it if
    it skips that step, and refuses a parameter whose first gradient comes later than that of others.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
