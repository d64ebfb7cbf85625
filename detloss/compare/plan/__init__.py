"""The plan of a comparison: its runs, their order and folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from detloss.compare.plan.arms import Arm, arm_of, swept, weighed
from detloss.compare.plan.compare_config import CompareConfig, LocalEngine, RayEngine, SlurmEngine
from detloss.config.document import Document, Notes
from detloss.config.files import expanded, read_document
from detloss.config.read_yaml import read_yaml
from detloss.config.specs import validated
from detloss.errors import ConfigError
from detloss.training.data.sources import read_config
from detloss.training.folder import relative, write_text
from detloss.training.settings import TrainConfig, absolute

CONFIG = "compare.yaml"
"""The comparison's config in its folder."""
RUNS = "runs"
"""The folder of its runs in it."""
Source = str | Path | Mapping[str, Any] | CompareConfig


@dataclass(frozen=True)
class Run:
    """One training of one arm."""

    arm: Arm
    seed: int
    folder: Path

    @property
    def config(self) -> TrainConfig:
        """What is trained."""
        fit = self.arm.config.train.model_copy(update={"seed": self.seed})
        return self.arm.config.model_copy(update={"train": fit})


@dataclass(frozen=True)
class Plan:
    """All that a comparison is going to do."""

    config: CompareConfig
    """With nothing left open: it repeats the comparison."""
    folder: Path
    arms: tuple[Arm, ...]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """All arms of the first seed, then of the second: complete blocks."""
        return tuple(
            Run(arm, seed, self.place_of(arm) / f"seed-{seed}") for seed in self.config.all_seeds for arm in self.arms
        )

    def place_of(self, arm: Arm) -> Path:
        """The folder of an arm's runs."""
        return self.folder / RUNS / arm.folder

    @property
    def reference(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.label == self.config.reference)

    @property
    def split(self) -> Literal["val", "test"]:
        """What the runs are judged on."""
        return self.config.split or "val"

    @property
    def jobs(self) -> int | None:
        """Most runs at once; None means no limit."""
        if self.config.jobs is not None or not isinstance(self.config.engine, LocalEngine):
            return self.config.jobs
        config = self.arms[0].config
        if gpus(config) and config.train.devices not in ("auto", 1):
            return 1
        return gpus(config) or min(cores(), len(self.arms))


def default_comparison() -> str:
    """The embedded comparison, as YAML: three losses on synthetic images."""
    return files("detloss.compare.plan").joinpath("default.yaml").read_text(encoding="utf-8")


def load_compare(source: Source | None = None, *, overrides: Sequence[str] = (), **changes: Any) -> CompareConfig:
    """Read and validate a comparison.

    Args:
        source: A compare.yaml, a train config (which becomes `base`), a mapping of either, or a config; None is the
            embedded comparison. Relative paths in a file are relative to it, elsewhere to the current folder.
        overrides: ``key.path=value`` settings on top of the train config.
        **changes: Fields of a `CompareConfig` that replace what `source` says; None changes nothing.

    Raises:
        ConfigError: anything is wrong; its ``findings`` list all of it.
    """
    if isinstance(source, str | Path):
        source = Path(expanded(str(source)))
    folder = source.resolve().parent if isinstance(source, Path) else Path.cwd()
    document = _read(source)
    notes = Notes(document)
    changes = {key: value for key, value in changes.items() if value is not None}
    data = dict(document.data)
    if "model" in data:
        data = {"base": document.data}
    data |= Notes(Document(changes).as_plain()).document.data
    inner = [*data.pop("overrides", []), *overrides]
    base = absolute(data["base"], folder) if isinstance(data.get("base"), str) else data.get("base")
    try:
        # The comparison keeps it, even if its file changes.
        data["base"] = read_config(base, inner, folder).model_dump(mode="json", exclude_unset=True)
    except ConfigError as error:
        if not isinstance(base, dict):
            raise
        for finding in error.findings:
            below = () if "model" in document.data else ("base",)
            notes.note((*below, *filter(None, finding.key.split("."))), finding.message, finding.near)
    config = validated(CompareConfig, notes, data, (), "a comparison")
    if notes.findings or config is None:
        raise ConfigError(notes.findings)
    return config


def with_more(
    config: CompareConfig, *, seeds: int | Sequence[int] | None = None, losses: str | Sequence[str] = ()
) -> CompareConfig:
    """The same comparison with more seeds or losses.

    Args:
        config: As `Plan.config` has it.
        seeds: How many there are to be, or which are added.
        losses: Arms that are added, each with or without a plus before it.

    Raises:
        ConfigError: there are more seeds already, or an arm is wrong.
    """
    before = config.all_seeds
    if isinstance(seeds, int):
        if seeds < len(before):
            raise ConfigError(f"seeds: the comparison has {len(before)} already, found {seeds}. Fix: give more.")
        free = (seed for seed in range(seeds + len(before)) if seed not in before)
        more: Sequence[int] = [next(free) for _ in range(seeds - len(before))]
    else:
        more = [seed for seed in seeds or () if seed not in before]
    texts = losses.split(",") if isinstance(losses, str) else losses
    added = [text.strip().removeprefix("+") for text in texts if text.strip()]
    data = config.model_dump(mode="json")
    return load_compare({**data, "seeds": [*before, *more], "losses": [*data["losses"], *added]})


def make_plan(config: CompareConfig, folder: str | Path) -> Plan:
    """Decide what a config does not set, and plan its runs.

    This is quick if the config sets everything.

    Weights that follow from gradients are measured: the model is built once and a few batches run through it.

    Raises:
        ConfigError: a loss, a label or the base is wrong.
        DataError: the data cannot be read.
    """
    base = read_config(config.base, config.overrides)
    head = config.head or _head(base)
    losses = swept(config.losses) if config.sweep else config.losses
    threads = config.threads or _threads(config, base, len(losses))
    fit = base.train.model_copy(update={"select": "last", "pictures": 0, "threads": threads})
    base = base.model_copy(update={"train": fit})
    losses = weighed(losses, base, head)
    labels = [arm.title for arm in losses]
    reference = config.reference or labels[1 if config.sweep else 0]
    if reference not in labels:
        raise ConfigError(f"reference: no arm is called {reference!r}. Fix: name one of {', '.join(labels)}.")
    split = config.split or ("test" if base.data.has_test else "val")
    if split == "test" and not base.data.has_test:
        raise ConfigError("split: the data have no test split. Fix: give one in `data.test`, or choose val.")
    resolved = config.model_copy(
        update={
            "base": base.model_dump(mode="json"),
            "overrides": (),
            "losses": losses,
            "head": head,
            "seeds": config.all_seeds,
            "reference": reference,
            "split": split,
            "sweep": False,
            "threads": threads,
        }
    )
    place = Path(absolute(str(folder)))
    return Plan(resolved, place, tuple(arm_of(arm, base, head, place) for arm in losses))


def read_plan(folder: str | Path) -> Plan:
    """The plan of a comparison that was begun.

    Raises:
        ConfigError: the folder is not a comparison's, or its config is wrong.
    """
    return make_plan(read_compare(folder), folder)


def read_compare(folder: str | Path) -> CompareConfig:
    """The config of a comparison that was begun, with nothing left open.

    Raises:
        ConfigError: the folder is not a comparison's, or its config is wrong.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise ConfigError(f"{folder} is not the folder of a comparison: it holds no {CONFIG}.")
    return load_compare(file)


def write_plan(plan: Plan) -> None:
    """Write the plan's config into its folder; paths within that are relative."""
    plain = plan.config.model_dump(mode="json", exclude_none=True)
    plain["base"] = relative(plain["base"], plan.folder)
    write_text(plan.folder / CONFIG, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus(config: TrainConfig) -> int:
    """GPUs of this machine that a config trains on."""
    if config.train.accelerator == "cpu":
        return 0
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def _read(source: Path | Mapping[str, Any] | CompareConfig | None) -> Document:
    if isinstance(source, Path):
        document = read_document(source)
    elif source is None:
        document = read_yaml(default_comparison(), "the embedded comparison")
    else:
        document = Document(source)
    document = document.as_plain()
    if not isinstance(document.data, dict):
        raise ConfigError([*document.findings, *_no_mapping(document)])
    return replace(document, data={key: value for key, value in document.data.items() if key != "$schema"})


def _no_mapping(document: Document) -> list[Any]:
    notes = Notes(document)
    notes.note((), "a comparison is a mapping of keys to values")
    return notes.findings


def _head(base: TrainConfig) -> str:
    if len(base.losses) > 1 and "roi_heads" not in base.losses:
        raise ConfigError(f"head: the base has losses in {', '.join(base.losses)}. Fix: name the head to compare in.")
    return next(iter(base.losses)) if len(base.losses) == 1 else "roi_heads"


def _threads(config: CompareConfig, base: TrainConfig, arms: int) -> int | None:
    """Threads of a run: none are counted on a GPU."""
    match config.engine:
        case SlurmEngine() | RayEngine() as engine:
            return None if engine.gpus else max(1, int(engine.cpus))
        case LocalEngine():
            return None if gpus(base) else max(1, cores() // (config.jobs or min(cores(), arms)))
    return 1
