"""Evaluation of other people's data: targets as torchvision's tutorial makes them, pycocotools, several loaders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from runs import bare_trainer
from tiny_detectors import faster_rcnn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from detloss import DataError
from detloss.training import DetectionModule
from detloss.training.collected import Collected

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Lightning uses what torch 2.15 deprecates.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


def tutorial_collate(batch: Any) -> Any:
    """That of torchvision's fine-tuning tutorial."""
    return tuple(zip(*batch, strict=True))


class Tutorial(Dataset[Any]):
    """Three images with a bright square each, and targets as in torchvision's fine-tuning tutorial."""

    def __init__(self, image_id: Callable[[int], Any] = int) -> None:
        self.image_id = image_id

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        image = torch.zeros(3, 64, 64)
        image[:, 10:40, 10 + index : 41 + index] = 1
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.tensor([[10.0 + index, 10, 41 + index, 40]]), format="XYXY", canvas_size=(64, 64)
            ),
            "masks": tv_tensors.Mask(image[:1].to(torch.uint8)),
            "labels": torch.ones((1,), dtype=torch.int64),
            "area": torch.tensor([930.0]),
            "iscrowd": torch.zeros((1,), dtype=torch.int64),
            "file_name": f"{index}.png",
        }
        if (identity := self.image_id(index)) is not None:
            target["image_id"] = identity
        return tv_tensors.Image(image), target


class Bright(nn.Module):
    """Finds the bright part of an image."""

    def __init__(self, label: int = 1) -> None:
        super().__init__()
        self.label = label

    def forward(self, images: Any, targets: Any = None) -> list[dict[str, Tensor]]:
        return [self.find(image) for image in images]

    def find(self, image: Tensor) -> dict[str, Tensor]:
        rows, columns = (image[0] > 0.5).nonzero().unbind(1)
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        return {"boxes": box[None], "scores": torch.ones(1), "labels": torch.tensor([self.label])}


def loader(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, batch_size=2, collate_fn=tutorial_collate, **options)


def validated(module: DetectionModule, loaders: Any, folder: Path) -> dict[str, float]:
    """What validation logs, of all loaders."""
    logged: dict[str, float] = {}
    for part in bare_trainer(folder).validate(module, loaders, verbose=False):
        logged |= part
    return logged


IMAGE_IDS = [
    pytest.param(int, {0, 1, 2}, id="a number"),
    pytest.param(lambda index: torch.tensor(7 + index), {7, 8, 9}, id="a tensor"),
    pytest.param(lambda index: torch.tensor([index]), {0, 1, 2}, id="a tensor of one number"),
    pytest.param(lambda _: None, {0, 1, 2}, id="missing"),
]


@pytest.mark.parametrize(("image_id", "numbers"), IMAGE_IDS)
def test_targets_of_the_tutorial(image_id: Callable[[int], Any], numbers: set[int], tmp_path: Path) -> None:
    """Whatever form the id of an image has, its target is its detection's truth."""
    module = DetectionModule(Bright())
    assert validated(module, loader(Tutorial(image_id)), tmp_path)["val/AP"] == pytest.approx(1)
    assert set(module.detections) == numbers


def test_the_tutorials_data_set_trains_a_detector(tmp_path: Path) -> None:
    """A torchvision detector trains on targets with numbers, text and masks in them, and is validated with losses."""
    module = DetectionModule(faster_rcnn())
    bare_trainer(tmp_path).fit(module, loader(Tutorial()), loader(Tutorial()))
    assert set(module.detections) == {0, 1, 2}
    assert {"AP", "loss", "loss_box_reg"} <= module.metrics.keys()


@pytest.fixture
def coco_files(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of two images, and a COCO file with ids of its own."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, left in ((7, 5), (12, 30)):
        image = torch.zeros(3, 64, 64, dtype=torch.uint8)
        image[:, 10:40, left : left + 20] = 255
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    box = {"category_id": 5, "area": 600, "iscrowd": 0, "segmentation": [[5, 10, 25, 10, 25, 40, 5, 40]]}
    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in (7, 12)
                ],
                "categories": [{"id": 5, "name": "bright"}],
                "annotations": [
                    {**box, "id": 1, "image_id": 7, "bbox": [5, 10, 20, 30]},
                    {**box, "id": 2, "image_id": 12, "bbox": [30, 10, 20, 30]},
                ],
            }
        )
    )
    return folder, tmp_path / "coco.json"


def own_transforms(image: Any, annotations: list[dict[str, Any]]) -> tuple[Tensor, dict[str, Any]]:
    boxes = torch.tensor([entry["bbox"] for entry in annotations]).float()
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([entry["category_id"] for entry in annotations])
    tensor = functional.to_dtype(functional.to_image(image), torch.float32, scale=True)
    return tensor, {"boxes": boxes, "labels": labels, "image_id": annotations[0]["image_id"]}


@pytest.mark.parametrize("wrapped", [True, False])
def test_pycocotools(coco_files: tuple[Path, Path], tmp_path: Path, wrapped: bool) -> None:
    """The ground truth of torchvision's CocoDetection is its pycocotools object, with its ids and names."""
    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    data: Any = CocoDetection(*map(str, coco_files), transforms=to_float if wrapped else own_transforms)
    data = wrap_dataset_for_transforms_v2(data, target_keys=["image_id", "boxes", "labels"]) if wrapped else data
    module = DetectionModule(Bright(label=5))
    logged = validated(module, loader(data), tmp_path)
    assert logged["val/AP"] == pytest.approx(1)
    assert logged["val/AP/bright"] == pytest.approx(1)
    assert set(module.detections) == {7, 12}


def test_a_dictionary_with_other_ids_is_not_the_truth(coco_files: tuple[Path, Path], tmp_path: Path) -> None:
    """Where the targets' ids are not those of the data set's dictionary, the targets are the truth."""
    data = Tutorial()
    data.coco = json.loads(coco_files[1].read_text())  # type: ignore[attr-defined]
    assert validated(DetectionModule(Bright()), loader(data), tmp_path)["val/AP"] == pytest.approx(1)


def test_the_evaluation_gets_only_what_it_needs(coco_files: tuple[Path, Path], tmp_path: Path) -> None:
    """Whatever else a dictionary of one's own holds, and whichever annotation ids repeat, the numbers are the same."""
    content = json.loads(coco_files[1].read_text())
    for image in content["images"]:
        image |= {"file_name": 3, "license": "mine", "width": 64.5, "date_captured": None}
    content["categories"][0] |= {"name": None, "supercategory": [1]}
    for entry in content["annotations"]:
        entry |= {"id": 1, "segmentation": "none", "keypoints": {}}
    data = CocoDetection(*map(str, coco_files), transforms=own_transforms)
    data.coco.dataset = content
    assert validated(DetectionModule(Bright(label=5)), loader(data), tmp_path)["val/AP"] == pytest.approx(1)


class Batches:
    """A loader that is no `DataLoader` and has no data set."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return iter(loader(Tutorial()))


def test_a_loader_without_a_data_set(tmp_path: Path) -> None:
    """The targets are the truth of a loader that has no attribute `dataset`."""
    assert validated(DetectionModule(Bright()), Batches(), tmp_path)["val/AP"] == pytest.approx(1)


@pytest.mark.parametrize("names", [("0", "1"), ("day", "night")])
def test_several_loaders(names: tuple[str, str], tmp_path: Path) -> None:
    """Each loader has numbers of its own, by its position or its key; the same ids in two of them are no mistake."""

    class Wrong(Tutorial):
        def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
            image, target = super().__getitem__(index)
            return image, {**target, "labels": torch.tensor([2])}

    loaders = [loader(Tutorial()), loader(Wrong())]
    given = loaders if names == ("0", "1") else dict(zip(names, loaders, strict=True))
    module = DetectionModule(Bright())
    logged = validated(module, given, tmp_path)
    assert logged[f"val/{names[0]}/AP"] == pytest.approx(1)
    assert logged[f"val/{names[1]}/AP"] == 0
    assert set(module.detections) == {0, 1, 2}
    detector = DetectionModule(faster_rcnn())
    assert f"val/{names[1]}/loss_box_reg" in validated(detector, given, tmp_path)


def test_two_images_with_one_id(tmp_path: Path) -> None:
    """Distinct images with one id are an error that names it; one image that comes twice, from a sampler, is not."""
    with pytest.raises(DataError, match="Two different images of the validation data have the image_id 4"):
        validated(DetectionModule(Bright()), loader(Tutorial(lambda _: 4)), tmp_path)
    repeats = loader(Tutorial(), sampler=[0, 1, 2, 0])
    module = DetectionModule(Bright())
    assert validated(module, repeats, tmp_path)["val/AP"] == pytest.approx(1)
    assert set(module.detections) == {0, 1, 2}


@pytest.mark.parametrize("identity", ["a.png", 1.5, torch.tensor([1, 2]), [1]])
def test_an_id_that_is_no_number(identity: Any) -> None:
    """An id that is no whole number is an error that shows it."""
    image, target = Tutorial(lambda _: identity)[0]
    with pytest.raises(DataError, match="of a target is not a whole number"):
        Collected().add([image], [target], [Bright().find(image)])
