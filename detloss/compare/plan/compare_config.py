"""`CompareConfig`: the file ``compare.yaml`` with losses, data, seeds and engine."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class LocalEngine(_Section):
    """Child processes on this machine, which end with their parent."""

    name: Literal["local"] = "local"
    """Which engine it is."""


class SlurmEngine(_Section):
    """Jobs of a Slurm cluster, by way of submitit (`pip install 'detloss[slurm]'`)."""

    name: Literal["slurm"] = "slurm"
    """Which engine it is."""
    cluster: Literal["slurm", "local"] = "slurm"
    """`local` runs the jobs on this machine, to try a setup without a cluster."""
    cpus: int = Field(1, ge=1)
    """Processor cores of a run."""
    gpus: int = Field(0, ge=0)
    """GPUs of a run."""
    minutes: int = Field(24 * 60, ge=1)
    """Most minutes of a job; a run that needs more continues in another job."""
    parameters: dict[str, Any] = {}
    """What else submitit's executor takes: `mem_gb`, `slurm_partition`, ..."""


class RayEngine(_Section):
    """Tasks of a Ray cluster (`pip install 'detloss[ray]'`); all machines see the same folders."""

    name: Literal["ray"] = "ray"
    """Which engine it is."""
    address: str | None = None
    """Address of the cluster's head, or `auto`; null starts Ray on this machine."""
    cpus: float = Field(1, gt=0)
    """Processor cores of a run."""
    gpus: float = Field(0, ge=0)
    """GPUs of a run; 0.25 lets four runs share one."""
    resources: dict[str, float] = {}
    """Resources of your own that a run takes."""


class PrintEngine(_Section):
    """Only prints the commands of the runs, one per line."""

    name: Literal["print"] = "print"
    """Which engine it is."""


Engine = Annotated[LocalEngine | SlurmEngine | RayEngine | PrintEngine, Field(discriminator="name")]


class ArmConfig(BaseModel):
    """One arm of a comparison: a loss, its parameters and its weight.

    Written ``[package:]name[:weight][@equal]``, or as a mapping of these keys and the loss's own parameters.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: str = Field(min_length=1)
    """Name of an installed loss; `detloss list` shows them."""
    weight: float | str | None = None
    """A number, `@equal` (the weight that gives it the gradient of torchvision's own loss), or `2@equal` (twice that);
    null is the loss's recommended weight."""
    normalizer: Literal["stock", "positives"] = "stock"
    """`stock` divides the sum as torchvision does in this head, `positives` by the number of matched boxes."""
    compile: bool = False
    """Compile the loss with `torch.compile`."""
    label: str | None = Field(None, min_length=1, max_length=60)
    """What the arm is called; by default as it is written."""
    gradient_ratio: float | None = None
    """Gradient at this weight over that of torchvision's own loss. It is measured when the comparison begins."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return arm_from_text(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _weight_rule(self) -> Self:
        if isinstance(self.weight, str) and not _EQUAL.fullmatch(self.weight):
            raise ValueError(f"weight must be a number, '@equal' or a number before '@equal' (found {self.weight!r})")
        if isinstance(self.weight, float) and self.weight < 0:
            raise ValueError(f"weight must be 0 or more (found {self.weight:g})")
        return self

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the loss's own Config, not yet validated."""
        return dict(self.model_extra or {})

    @property
    def equal_factor(self) -> float | None:
        """Factor on the equalizing weight; None if the weight is fixed."""
        return float(self.weight.partition("@")[0] or 1) if isinstance(self.weight, str) else None

    @property
    def title(self) -> str:
        """Its label, or what it is: ``ciou:2@equal``, ``smooth_l1(beta=0.1)``."""
        if self.label is not None:
            return self.label
        weight = f"{self.weight:g}" if isinstance(self.weight, float) else self.weight or ""
        named = f"{self.name}{':' * (weight[:1] not in ('', '@'))}{weight}"
        return named + (f"({', '.join(f'{key}={value}' for key, value in self.params.items())})" if self.params else "")


def arm_from_text(text: str) -> dict[str, Any]:
    """What ``[package:]name[:weight][@equal]`` says, as the keys of an `ArmConfig`.

    Raises:
        ValueError: it is not written so.
    """
    written, at, rule = text.strip().partition("@")
    if at and rule != "equal":
        raise ValueError(f"a loss must be [package:]name[:weight][@equal] (found {text!r})")
    name, _, last = written.rpartition(":")
    if not (name and _NUMBER.fullmatch(last)):
        name, last = written, ""
    if not all(name.split(":")) or name.count(":") > 1 or " " in name:
        raise ValueError(f"a loss must be [package:]name[:weight][@equal] (found {text!r})")
    weight = f"{last}@equal" if at else float(last) if last else None
    return {"name": name} if weight is None else {"name": name, "weight": weight}


def _split(value: Any) -> Any:
    # On the command line they are one text.
    if isinstance(value, str):
        return tuple(each for each in value.split(",") if each.strip())
    return tuple(value) if isinstance(value, list) else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class CompareConfig(_Section):
    """A comparison of losses: each arm is trained with each seed.

    Everything else is equal.
    """

    base: str | dict[str, Any] | None = None
    """What all arms share: a config as `detloss train` takes it, or its path; null is a small model that learns
    synthetic images."""
    overrides: tuple[str, ...] = ()
    """`key.path=value` settings on top of `base`."""
    losses: Annotated[tuple[ArmConfig, ...], BeforeValidator(_split), Field(min_length=1)]
    """The arms: `[package:]name[:weight][@equal]`, or mappings that may give a label."""
    head: str | None = None
    """The head that gets the loss; null is the one whose loss `base` names, else roi_heads."""
    seeds: int | tuple[int, ...] = 5
    """How many seeds, or which."""
    reference: str | None = None
    """Label of the arm that the others are compared with; null is the first."""
    metric: Literal["AP"] = "AP"
    """The number that decides."""
    margin: float = Field(0.005, ge=0, lt=1)
    """Differences up to this one make no difference in practice."""
    split: Literal["val", "test"] | None = None
    """What the runs are judged on; null is test data where there are some, else validation data."""
    race: bool = True
    """Whether an arm that is clearly behind after two seeds gets no more; the reference always does."""
    sweep: bool = False
    """Whether every loss gets half, one and two times its equalizing weight, the reference too."""
    budget: str | None = Field(None, pattern=r"^(\d+h)?(\d+m)?(\d+s)?$", min_length=2)
    """Time after which no further seed begins: `2h`, `1h30m`, `45m`."""
    engine: Annotated[Engine, BeforeValidator(_named)] = LocalEngine()
    """Where the runs run: `local`, `slurm`, `ray`, `print`, or a mapping of `name` and the engine's options."""
    jobs: int | None = Field(None, ge=1)
    """Most runs at once; null is one a GPU, else one a core and at most one an arm; without limit on a cluster."""
    threads: int | None = Field(None, ge=1)
    """Threads of a run on a CPU; null shares the cores out. The last bits of the results depend on it."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seeds = self.all_seeds
        if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError(
                f"seeds must be a number from 1, or a list of different numbers from 0 (found {self.seeds})"
            )
        if self.sweep and (weighted := [arm.title for arm in self.losses if arm.weight is not None]):
            raise ValueError(f"a sweep chooses the weights. Fix: give {weighted[0]} without one")
        return self

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Which seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds."""
        if self.budget is None:
            return None
        return float(sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)([hms])", self.budget)))


_NUMBER = re.compile(r"\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+")
_EQUAL = re.compile(rf"({_NUMBER.pattern})?@equal")
_SECONDS = {"h": 3600, "m": 60, "s": 1}
