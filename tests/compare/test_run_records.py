"""What is read of a run's files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run

from detloss import ConfigError
from detloss.compare.analysis.run_records import (
    ArmRecord,
    Failed,
    Finished,
    Record,
    check_comparable,
    read_outcome,
    short_labels,
)
from detloss.errors import DataError

IDS = (tuple(range(1, 31)), (1, 2, 3))
"""Of the images and the categories of made runs."""


NAN = '[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, NaN], "score": 0.5}]'


def spec(name, **values):
    return {"name": name, "weight": None, "normalizer": "stock", "compile": False, **values}


def heads(*specs, rpn=()):
    return {"roi_heads": list(specs), **({"rpn": list(rpn)} if rpn else {})}


@pytest.mark.parametrize(
    ("sections", "labels"),
    [
        ([heads(spec("giou")), heads(spec("giou", weight=10.0))], ["giou", "giou:10"]),
        ([heads(spec("ciou", eps=0.1)), heads(spec("ciou"))], ["ciou(eps=0.1)", "ciou"]),
        ([heads(spec("giou")), heads(spec("giou"))], ["giou", "giou"]),
        ([heads(spec("l1"), spec("giou", weight=0.5)), {}], ["l1+giou:0.5", "stock"]),
        ([heads(spec("giou", normalizer="positives")), heads(spec("giou"))], ["giou(normalizer=positives)", "giou"]),
        ([heads(spec("giou"), rpn=[spec("l1")]), heads(spec("diou"), rpn=[spec("l1")])], ["giou", "diou"]),
        (
            [heads(spec("giou"), rpn=[spec("l1")]), heads(spec("giou")), heads(spec("diou"))],
            ["roi_heads giou, rpn l1", "roi_heads giou, rpn stock", "roi_heads diou, rpn stock"],
        ),
    ],
)
def test_labels(sections, labels):
    """A label says what tells the losses apart, and nothing that all have."""
    assert short_labels(sections) == labels


def arm(label="giou"):
    return ArmRecord(label, {}, None, "0" * 8)


def record(folder, label="giou", seed=0, **keys):
    return Record(Path(folder), arm(label), seed, None, keys)


def test_different_keys_are_refused():
    """The error names both folders, each key and both values."""
    first = record("a", lr=0.1, epochs=2)
    check_comparable([first, record("b", seed=1, lr=0.1, epochs=2)])
    with pytest.raises(ConfigError) as caught:
        check_comparable([first, record("b", seed=1, lr=0.1, epochs=2), record("c", lr=0.2, momentum=0.9)])
    assert str(caught.value).splitlines() == [
        "a and c cannot be compared: they differ in more than losses and seed.",
        "  lr: 0.1 and 0.2",
        "  epochs: 2 and absent",
        "  momentum: absent and 0.9",
        "Fix: compare runs of one config.",
    ]


def test_the_same_run_twice_is_refused():
    """One arm with one seed is one run: which of two would count?"""
    with pytest.raises(ConfigError, match=r"a and c are the same: giou with seed 0\. Fix"):
        check_comparable([record("a"), record("b", "diou"), record("c")])


def test_a_finished_run(tmp_path):
    """Detections, AP over the epochs, skipped steps, time and memory come from its files."""
    folder = made_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "step": 12, "train/skipped": 3}\n')
    found = read_outcome(folder, "val", *IDS)
    assert isinstance(found, Finished)
    first = json.loads((folder / "predictions-val.json").read_text())[0]
    assert found.rows[0].tolist() == [first["image_id"], *first["bbox"], first["score"], first["category_id"]]
    assert found.curve == ((1, 0.25), (2, 0.5))
    assert found.skipped_steps == 3
    # Lines of steps 5, 6, 10 and 12 are as many seconds apart.
    assert (found.seconds, found.seconds_a_step, found.memory_mib) == (7, 1, 112)


def test_ids_of_the_annotation_file(tmp_path):
    """Predictions name images and categories by the file's ids; what is read has the numbers of the ground truth."""
    folder = made_run(tmp_path / "run")
    result = {"image_id": "b", "category_id": 30, "bbox": [1, 2, 3, 4], "score": 0.5}
    (folder / "predictions-val.json").write_text(json.dumps([result]))
    found = read_outcome(folder, "val", ("a", "b"), (10, 20, 30))
    assert isinstance(found, Finished)
    assert found.rows.tolist() == [[2, 1, 2, 3, 4, 0.5, 3]]
    with pytest.raises(
        DataError, match=r"its predictions name image_id 'b' and category_id 30, which the ground truth does not"
    ):
        read_outcome(folder, "val", ("a",), (30,))


def test_packed_predictions(tmp_path):
    """Predictions may be packed, as in a record that is kept without checkpoints."""
    folder = made_run(tmp_path / "run")
    plain = read_outcome(folder, "val", *IDS)
    file = folder / "predictions-val.json"
    (folder / "predictions-val.json.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    packed = read_outcome(folder, "val", *IDS)
    assert isinstance(plain, Finished)
    assert isinstance(packed, Finished)
    assert np.array_equal(plain.rows, packed.rows)
    whole = (folder / "predictions-val.json.gz").read_bytes()
    for damaged in (b"no gzip", whole[:50], whole[:50] + bytes(50) + whole[100:]):
        (folder / "predictions-val.json.gz").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"predictions-val\.json\.gz is damaged"):
            read_outcome(folder, "val", *IDS)


@pytest.mark.parametrize("lost", ["metrics.json", "predictions-val.json"])
def test_a_run_that_is_not_finished(tmp_path, lost):
    """Without its final numbers or its predictions, or with half of them, a run is not finished."""
    folder = made_run(tmp_path / "run")
    whole = (folder / lost).read_bytes()
    (folder / lost).write_bytes(whole[: len(whole) // 2])
    assert read_outcome(folder, "val", *IDS) is None
    (folder / lost).unlink()
    assert read_outcome(folder, "val", *IDS) is None


def test_a_failed_run(tmp_path):
    """A run that failed says why; one that was finished later is finished."""
    folder = made_run(tmp_path / "run")
    (folder / "failed.json").write_text(json.dumps({"reason": "NonFiniteError: the loss is NaN", "exit": 1}))
    assert isinstance(read_outcome(folder, "val", *IDS), Finished)
    (folder / "metrics.json").unlink()
    assert read_outcome(folder, "val", *IDS) == Failed("NonFiniteError: the loss is NaN")


@pytest.mark.parametrize(
    "line", ['{"epoch": 1, "step": 1, "time": "noon"}', '{"epoch": 1, "step": 1, "memory_mib": []}', "no JSON"]
)
def test_damaged_metrics_are_named(tmp_path, line):
    """A line of metrics that no run writes is an error that names the file."""
    folder = made_run(tmp_path / "run")
    (folder / "metrics.jsonl").write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=rf"{folder}/metrics\.jsonl"):
        read_outcome(folder, "val", *IDS)


@pytest.mark.parametrize(
    "text", ["[{]", '[{"image_id": 1}]', '[{"image_id": 1, "category_id": 1, "bbox": 3}]', "[1]", NAN]
)
def test_damaged_predictions_are_named(tmp_path, text):
    """Predictions that are no COCO results are an error that names the run."""
    folder = made_run(tmp_path / "run")
    (folder / "predictions-val.json").write_text(text)
    with pytest.raises(ConfigError, match=str(folder)):
        read_outcome(folder, "val", *IDS)
