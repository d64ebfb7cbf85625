"""Folders of `detloss train`, read as the `Records` of a comparison."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detloss.compare.analysis.run_records import (
    ArmRecord,
    Record,
    Records,
    Split,
    check_comparable,
    differing_heads,
    flat,
    read_outcome,
    short_labels,
)
from detloss.compare.driver.states import dropped_after
from detloss.compare.plan import Plan
from detloss.compare.plan.arms import hash_of
from detloss.config import check_spec
from detloss.config.files import expanded, read_document
from detloss.errors import ConfigError, DetlossError
from detloss.text import one_line
from detloss.training.data.dataset import DetectionDataset
from detloss.training.data.sources import open_split
from detloss.training.folder import PROVENANCE, config_of
from detloss.training.provenance import digest, read_provenance
from detloss.training.settings import TrainConfig, as_plain

_FREE = {"train.seed", "train.devices", "train.threads", "train.accelerator", "data.workers"} | {
    f"train.{key}" for key in ("pictures", "loggers", "log_every", "checkpoint_every")
}
"""Keys that may differ besides the losses: where a run is computed, what it shows, how often it can be resumed."""


@dataclass(frozen=True)
class _Run:
    """What a run's folder says before its outcome is read."""

    folder: Path
    config: TrainConfig
    provenance: Mapping[str, Any]

    @property
    def losses(self) -> dict[str, Any]:
        return dict(as_plain(self.config)["losses"])


def read_records(folders: Sequence[str | Path], split: Split | None = None) -> Records:
    """Read finished and failed runs from their folders.

    Each loss, with its parameters and weight, is an arm.

    Args:
        folders: Of `detloss train`; their checkpoints are not needed.
        split: What the runs are judged on; None is the test data where there are some.

    Raises:
        ConfigError: a folder is not a run's, a run is not finished, or they differ in more than losses and seed.
        DataError: the data of the runs cannot be read, or are not those that the predictions are of.
    """
    runs = [_run(Path(expanded(str(folder)))) for folder in folders]
    sections = [run.losses for run in runs]
    heads = differing_heads(sections)
    arms = [
        ArmRecord(label, losses, _weight(losses, heads), hash_of(run.config, run.folder.resolve()))
        for run, label, losses in zip(runs, short_labels(sections), sections, strict=True)
    ]
    hashed = all("data" in run.provenance for run in runs)
    records = [
        Record(run.folder, arm, run.config.train.seed, None, _keys(run, hashed=hashed), run.provenance)
        for run, arm in zip(runs, arms, strict=True)
    ]
    check_comparable(records)
    found = _with_outcomes(records, runs[0].config, ", ".join(heads), split)
    for each in found.runs:
        if each.outcome is None:
            raise ConfigError(
                f"{each.folder} is not finished: it has no metrics.json, or no predictions of the {found.split} data. "
                f"Fix: remove it, or finish it:\n  detloss train --resume {shlex.quote(str(each.folder))}"
            )
    return found


def read_planned(plan: Plan) -> Records:
    """Read all runs of a plan, unfinished ones too, with their labels.

    Raises:
        ConfigError: a file of a run is damaged, or the data were changed between runs or since.
        DataError: the data cannot be read, or are not those that the predictions are of.
    """
    arms = {
        arm.label: ArmRecord(
            arm.label,
            as_plain(arm.config)["losses"],
            arm.weight,
            arm.hash,
            arm.gradient_ratio,
            dropped_after(plan.place_of(arm)),
        )
        for arm in plan.arms
    }
    records = []
    for run in plan.runs:
        provenance = _provenance_of(run.folder)
        keys = flat(provenance.get("data", {}), "data.")
        records.append(Record(run.folder, arms[run.arm.label], run.seed, None, keys, provenance))
    check_comparable([one for one in records if one.keys])
    return _with_outcomes(records, plan.arms[0].config, str(plan.config.head), plan.split)


def _with_outcomes(records: Sequence[Record], config: TrainConfig, head: str, split: Split | None) -> Records:
    """Read the ground truth, and the outcome of each run."""
    has_test = config.data.has_test
    chosen: Split = split or ("test" if has_test else "val")
    if chosen == "test" and not has_test:
        raise ConfigError(f"{records[0].folder}: the run has no test data. Fix: compare on the split val.")
    data = open_split(config, chosen)
    known = data.annotations
    _check_unchanged(records, config, chosen, data)
    read = [
        replace(one, outcome=read_outcome(one.folder, chosen, known.image_ids, known.category_ids)) for one in records
    ]
    files = getattr(config.data, chosen)
    return Records(
        runs=tuple(read),
        truth=data.coco,
        split=chosen,
        selection=not has_test,
        data="synthetic images" if files is None else "/".join(Path(files.annotations).parts[-2:]),
        model=" ".join(filter(None, (config.model, config.backbone))),
        head=head,
    )


def _provenance_of(folder: Path) -> dict[str, Any]:
    """What a run was made with; empty if lost or not written."""
    found = read_provenance(folder / PROVENANCE)
    return {} if found is None else found.model_dump()


def _run(folder: Path) -> _Run:
    file = config_of(folder)
    document = read_document(file).as_plain()
    try:
        # A loss that is not installed here can be compared: nothing is built.
        config = TrainConfig.model_validate_json(json.dumps(document.data)).under(folder.resolve())
    except ValidationError as error:
        raise ConfigError(f"{file} is not the config of a run: {one_line(error, 300)}. Fix: restore it.") from None
    return _Run(folder, config, _provenance_of(folder))


def _keys(run: _Run, *, hashed: bool) -> dict[str, Any]:
    """Values that must agree with the other runs.

    If all runs have hashes of their data, these are compared.
    """
    plain = {key: value for key, value in as_plain(run.config).items() if key != "losses"}
    keys = {key: value for key, value in flat(plain).items() if key not in _FREE}
    if hashed:
        keys = {key: value for key, value in keys.items() if not key.startswith(_PATHS)}
        keys |= flat(run.provenance["data"], "data.")
    # Each process has batches of its own.
    number, several, _ = str(run.provenance.get("device", "")).partition(" x ")
    return keys | {"number of devices": number if several else "1"}


_PATHS = tuple(f"data.{split}." for split in ("train", "val", "test"))


def _weight(losses: Mapping[str, Any], heads: Sequence[str]) -> float | None:
    """Weight of the compared loss, by default its recommended one."""
    specs: Sequence[Any] = losses.get(heads[0], []) if len(heads) == 1 else []
    if len(specs) != 1:
        return None
    if specs[0]["weight"] is not None:
        return float(specs[0]["weight"])
    try:
        return float(check_spec(specs[0]).cls.recommended_weights.get(heads[0], 1.0))
    except DetlossError:
        return None  # it is not installed here


def _check_unchanged(records: Sequence[Record], config: TrainConfig, split: str, data: DetectionDataset) -> None:
    now = digest(config, split, data)
    for one in records:
        then = one.provenance.get("data", {}).get(split)
        if then is not None and then.get("annotations") != now.annotations:
            raise ConfigError(
                f"{one.folder}: the annotations of the {split} data are not those of the run: their SHA-256 was "
                f"{then.get('annotations')} and is {now.annotations}. Fix: restore the data."
            )
