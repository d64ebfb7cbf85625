"""The interface of a loss: all that a plugin author must read.

A loss is an ordinary ``nn.Module`` that maps two ``(N, 4)`` tensors to one value a pair, never reduced. The head
adapter decodes, turns autocast off, handles the empty batch, weighs, normalizes and sums. The base class upcasts half
precision to float32 and detaches the target. A complete loss::

    class AlphaIoULoss(BoxRegressionLoss):
        "Power IoU loss: ``1 - IoU**alpha`` (He et al., NeurIPS 2021, arXiv 2110.13675)."

        class Config(LossConfig):
            alpha: float = Field(3.0, ge=1, le=10)

        config: Config

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return 1 - iou(pred, target) ** self.config.alpha
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from detloss.errors import LossDefinitionError

__all__ = [
    "EXTRAS",
    "GIOU_SCALE",
    "SMOOTH_L1_SCALE",
    "BoxRegressionLoss",
    "Invariance",
    "LossConfig",
    "LossSpec",
    "NestedSpec",
    "Space",
]

Space = Literal["boxes", "deltas"]
Invariance = Literal["translation", "scale", "axis_scale", "symmetry"]
"""``scale``: both boxes times one factor; ``axis_scale``: x and y times separate factors (includes ``scale``);
``symmetry``: pred and target exchanged."""

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "image_size": "(N, 2) height and width in pixels of the network input that each box lies in",
        "anchors": "(N, 4) the proposal or anchor of each pair, as x1, y1, x2, y2 in network-input pixels",
    }
)
"""What a loss may ask for besides the two boxes, as a keyword-only parameter of its ``forward``."""

GIOU_SCALE = MappingProxyType({"roi_heads": 10.0, "rpn": 2.0, "retinanet": 2.0, "fcos": 2.0, "ssd": 2.0})
"""Recommended weights of a loss that is ``1 - IoU`` plus a penalty. 10 (mmdetection) and 2 in the RPN (detectron2) are
published for GIoU, whose gradient is a twelfth of smooth L1's. 2 in the dense heads is detloss's own choice."""
SMOOTH_L1_SCALE = MappingProxyType(dict.fromkeys(GIOU_SCALE, 1.0))
"""Recommended weights of a loss on deltas: torchvision weighs its own with 1 in every head."""


class LossConfig(BaseModel):
    """Parameters of a loss: frozen, strict, without extra keys, NaN or infinity.

    A subclass only adds fields with closed bounds, ``Field(3.0, ge=1, le=10)``. The conformance kit tests the loss at
    these bounds. A string under a field is its description, which ``detloss show`` prints.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse ambiguous fields and lax settings."""
        super().__pydantic_init_subclass__(**kwargs)
        if taken := sorted(ENVELOPE & cls.model_fields.keys()):
            raise LossDefinitionError(
                f"{cls.__qualname__} has a field {taken[0]!r}, but in a config {', '.join(sorted(ENVELOPE))} belong "
                "to the spec around the loss. Fix: rename the field."
            )
        for key, expected in LossConfig.model_config.items():
            if key in _STRICTNESS and cls.model_config.get(key) != expected:
                raise LossDefinitionError(
                    f"{cls.__qualname__} sets model_config[{key!r}], which would accept mistyped parameters (found "
                    f"{cls.model_config.get(key)!r}, expected {expected!r}). Fix: remove the setting."
                )


class NestedSpec(BaseModel):
    """The spec of a loss inside another loss: name and parameters.

    It is written flat (``{name: giou, eps: 1.0e-6}``) or, with all defaults, as the name only. If two packages claim
    the name, write ``package:name``.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", use_attribute_docstrings=True)

    name: str = Field(min_length=1)
    """Name of an installed loss; `detloss list` shows them."""

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the loss's own Config, not yet validated."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class LossSpec(NestedSpec):
    """What a config says about one loss: name, envelope and parameters."""

    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Factor on the loss; the default is its recommended weight for the head, else 1."""
    normalizer: Literal["stock", "positives"] = "stock"
    """`stock` divides the sum as torchvision does in this head, `positives` by the number of matched boxes."""
    compile: bool = False
    """Compile the loss with `torch.compile`."""


class BoxRegressionLoss(nn.Module, ABC):
    """A box-regression loss: two ``(N, 4)`` in, ``(N,)`` out.

    A subclass names its parameters in a nested ``Config`` and implements ``forward``. It must accept any N, including
    0; treat every pair separately, unless it sets ``batch_dependent``; give finite values and gradients for any finite
    boxes; and never differentiate the target. State (a running mean) is a registered buffer.

    Args:
        config: The parameters, as the nested ``Config``.
        **params: Or the fields of it.

    Raises:
        TypeError: ``config`` is not this class's ``Config``, or comes together with ``params``.
        pydantic.ValidationError: a parameter is unknown or out of bounds.
    """

    Config: ClassVar[type[LossConfig]] = LossConfig
    config: LossConfig

    space: ClassVar[Space] = "boxes"
    """``"boxes"``: x1, y1, x2, y2 in network-input pixels; ``"deltas"``: the head's own encoded regression."""
    recommended_weights: ClassVar[Mapping[str, float]] = MappingProxyType({})
    """Head name -> the default weight in a config; the class docstring gives its source."""
    value_range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    """Bounds of one value, over all parameters and pairs of valid boxes."""
    minimum: ClassVar[float | None] = 0.0
    """The value at ``pred == target``; None if it depends on parameters or boxes."""
    invariances: ClassVar[frozenset[Invariance]] = frozenset()
    """The changes of both boxes that change no value."""
    compile_pays: ClassVar[bool] = True
    """False for a loss of so few steps that `torch.compile` makes it slower: ``compile: true`` then changes nothing."""
    batch_dependent: bool = False
    """True if a pair's value depends on the other pairs of the batch; a wrapper may set it on the instance."""
    iou_term: bool = False
    """True if every value is ``1 - IoU`` plus a penalty, so that a wrapper can replace the IoU. If a parameter decides
    it, ``__init__`` sets it on the instance."""
    extras: frozenset[str] = frozenset()
    """The names in `EXTRAS` that ``forward`` takes, read from its signature. A loss around another loss sets those of
    its base on the instance, so that it fits the same heads."""

    def __init__(self, config: LossConfig | None = None, **params: Any) -> None:
        super().__init__()
        if config is None:
            config = self.Config(**params)
        elif params:
            raise TypeError(
                f"{type(self).__name__} takes a config or its fields, not both (found {sorted(params)}). Fix: pass one."
            )
        elif not isinstance(config, self.Config):
            raise TypeError(
                f"{type(self).__name__} takes a {self.Config.__qualname__}, not a {type(config).__qualname__}."
            )
        self.config = config

    if TYPE_CHECKING:
        # A subclass may add keyword-only extras: no single signature allows all of them.
        forward: Callable[..., Tensor]
    else:

        @abstractmethod
        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            """Return the loss of each pair.

            Args:
                pred: ``(N, 4)`` predictions in `space`, float32 or float64.
                target: ``(N, 4)`` targets in `space`, of the same dtype; no gradient flows into it.

            Returns:
                ``(N,)`` values, not reduced.
            """

    # Promises about inputs and state are kept here, so that no subclass can forget them. Hooks and torch.compile see an
    # ordinary module.

    def __call__(self, pred: Tensor, target: Tensor, **extras: Any) -> Tensor:
        """Compute the loss in at least float32, target and extras detached."""
        if extras:
            extras = {name: _constant(value) if isinstance(value, Tensor) else value for name, value in extras.items()}
        values: Tensor = nn.Module.__call__(self, at_least_float32(pred), _constant(target), **extras)
        return values

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the buffers, but keep their dtype."""
        # In half precision a running mean would never change.

        def keep_dtype(tensor: Tensor) -> Tensor:
            applied = fn(tensor)
            return applied if applied.dtype == tensor.dtype else tensor.to(applied.device)

        super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]  # torch's own method, untyped like its others
        return self

    @classmethod
    def plugin_flaw(cls, name: str) -> str:  # noqa: ARG003 - an adapter's depends on it
        """Say why the class cannot be this plugin; continues its name."""
        missing = sorted(cls.__abstractmethods__)
        return f"is abstract: it lacks {', '.join(missing)}." if missing else ""

    def extra_repr(self) -> str:
        """Show the parameters, as ``nn.Module`` does."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the interface where its author sees it."""
        super().__init_subclass__(**kwargs)
        if cls.space not in ("boxes", "deltas"):
            raise LossDefinitionError(f"{cls.__qualname__}.space is {cls.space!r}. Fix: write 'boxes' or 'deltas'.")
        if not (isinstance(cls.Config, type) and issubclass(cls.Config, LossConfig)):
            raise LossDefinitionError(
                f"{cls.__qualname__}.Config is {cls.Config!r}. Fix: write `class Config(LossConfig):` in the loss."
            )
        cls.extras = _extras_of(cls)


ENVELOPE = frozenset(LossSpec.model_fields)
"""Keys of a spec that belong to detloss; a loss's Config may not use them."""

_STRICTNESS = ("extra", "frozen", "strict", "allow_inf_nan")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half precision as float32, any other tensor as it is.

    Areas overflow float16 at 256 x 256 px, and bfloat16 keeps 8 bits of a coordinate.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _constant(tensor: Tensor) -> Tensor:
    return at_least_float32(tensor.detach() if tensor.requires_grad else tensor)


def _extras_of(cls: type[BoxRegressionLoss]) -> frozenset[str]:
    parameters = list(inspect.signature(cls.forward).parameters.values())[1:]
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    if len(positional) != 2 or len(positional) + len(keyword) != len(parameters):
        raise LossDefinitionError(
            f"{cls.__qualname__}.forward{inspect.signature(cls.forward)} must be forward(self, pred, target), "
            "followed by nothing but keyword-only parameters (after a bare *)."
        )
    for parameter in keyword:
        if parameter.name not in EXTRAS:
            known = "\n".join(f"  {name}: {meaning}" for name, meaning in EXTRAS.items())
            raise LossDefinitionError(
                f"{cls.__qualname__}.forward asks for {parameter.name!r}, which no head supplies. Known:\n{known}"
            )
    return frozenset(parameter.name for parameter in keyword)
