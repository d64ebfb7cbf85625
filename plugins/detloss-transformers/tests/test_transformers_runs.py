"""What a model of transformers finds, as runs for `detloss compare`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from detloss.compare import compare_runs, from_transformers, write_run
from detloss.training import ShapesDataset
from detloss.training.settings import ShapesConfig

transformers = pytest.importorskip("transformers")
small_models = pytest.importorskip("detloss_transformers.small_models")


def test_results_of_an_image_processor_are_compared(tmp_path: Path) -> None:
    """Boxes of `post_process_object_detection` become runs in pixels, with the ids of the ground truth."""
    data = ShapesDataset(ShapesConfig(val=6, size=64), "val")
    file = tmp_path / "val.json"
    file.write_text(json.dumps(data.coco))
    processor = transformers.RTDetrImageProcessor(size={"height": 64, "width": 64})
    names = dict(enumerate(data.categories))
    images = [(255 * data.image(index)).byte().numpy() for index in range(6)]
    records = data.coco["images"]
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = small_models.rt_detr().eval()
        model.config.id2label = names
        with torch.no_grad():
            outputs = model(**processor(images, return_tensors="pt"))
        sizes = [(record["height"], record["width"]) for record in records]
        results = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
        found = from_transformers(
            results, [record["file_name"] for record in records], file, names=model.config.id2label
        )
        assert {one["image_id"] for one in found} == {record["id"] for record in records}
        (left, top, width, height) = np.array([one["bbox"] for one in found]).T
        assert (width > 0).all()
        assert (height > 0).all()
        assert 1 < (left + width / 2).mean() < 63, "in pixels"
        assert 1 < (top + height / 2).mean() < 63
        folders.append(write_run(tmp_path / f"{seed}", name=f"{seed}", seed=0, predictions=found, ground_truth=file))
    comparison = compare_runs(folders, output=tmp_path / "compared").comparison
    assert [arm.label for arm in comparison.arms] == ["0", "1"]
    assert all(len(arm.finished) == 1 for arm in comparison.arms)
