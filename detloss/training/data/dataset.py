"""Data sets of images and boxes for torchvision's detectors.

An item is ``(image, target)``: a float32 ``(3, H, W)`` image in [0, 1] and a dictionary of ``boxes`` ``(N, 4)``
float32 (x1, y1, x2, y2 in pixels), ``labels`` ``(N,)`` int64 from 1, and ``image_id``, the image's number in `coco`.
An image without boxes has boxes of shape ``(0, 4)``.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from detloss.config.files import expanded
from detloss.training.data.coco import Annotations, Skipped, is_tiny, read_annotations
from detloss.training.data.decoded import DecodedImages, decoded_images
from detloss.training.data.images import read_image
from detloss.training.data.segmentations import mask_of

Target = dict[str, Tensor]
Item = tuple[Tensor, Target]


class DetectionDataset(Dataset[Item]):
    """Images with boxes; the ground truth also as a COCO dictionary.

    Args:
        annotations: The content of the images, with clean ids.
        masks: Give a target's ``masks`` too, ``(N, H, W)`` uint8, from the annotations' segmentations.
    """

    def __init__(self, annotations: Annotations, *, masks: bool = False) -> None:
        self.annotations = annotations
        self.masks = masks
        by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in annotations.coco["annotations"]:
            # A crowd box surrounds a group: evaluation ignores detections in it, training would learn one object.
            target = not entry["iscrowd"] and not is_tiny(entry["bbox"], self.coco["images"][entry["image_id"] - 1])
            if target and (not masks or "segmentation" in entry):
                by_image[entry["image_id"]].append(entry)
        self._objects = dict(by_image)

    @property
    def coco(self) -> dict[str, Any]:
        """The ground truth as a COCO dictionary.

        Image ids are a target's ``image_id``, category ids its labels.
        """
        return self.annotations.coco

    @property
    def categories(self) -> tuple[str, ...]:
        """Name of label 1, 2, ..."""
        return self.annotations.categories

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Annotations that are not trained on."""
        return self.annotations.skipped

    @property
    def has_targets(self) -> bool:
        """Whether any image has a box to train on."""
        return bool(self._objects)

    def objects(self, index: int) -> Sequence[dict[str, Any]]:
        """The annotations of image number `index`, from 0, that are targets."""
        return self._objects.get(index + 1, [])

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """The RGB image `index`, from 0: uint8, or float32 in [0, 1]."""

    def __len__(self) -> int:
        return len(self.coco["images"])

    def __getitem__(self, index: int) -> Item:
        image, target = self.stored(index)
        return scaled(image), target

    def stored(self, index: int) -> Item:
        """Item `index` with its image as `image` gives it: mostly uint8."""
        image = tv_tensors.Image(self.image(index))
        height, width = image.shape[-2:]
        objects = self.objects(index)
        # In float64 until clipping: float32 has no 1e39, and -1e39 + 2e39 would be NaN.
        boxes = torch.tensor([entry["bbox"] for entry in objects], dtype=torch.float64).reshape(-1, 4)
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        limits = torch.tensor([width, height, width, height])
        boxes = boxes.clamp(min=torch.zeros(4), max=limits).float()
        target: Target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
            "labels": torch.tensor([entry["category_id"] for entry in objects], dtype=torch.int64),
            "image_id": torch.tensor(index + 1),
        }
        if self.masks:
            masks = [mask_of(entry["segmentation"], height, width) for entry in objects]
            target["masks"] = tv_tensors.Mask(
                torch.stack(masks) if masks else torch.zeros((0, height, width), dtype=torch.uint8)
            )
        return image, target


class CocoDataset(DetectionDataset):
    """Images and boxes of a COCO instances file.

    Args:
        images: Folder of the images.
        annotations: The JSON file.
        masks: Give masks too.
        bbox_check: Refuse a file whose boxes look normalized, or like corners.
        pixel_range: Values that become 0 and 1; None is for 8 and 16 bits, and float in [0, 1].

    Raises:
        DataError: the file or an image is missing or cannot be used.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        masks: bool = False,
        bbox_check: bool = True,
        pixel_range: Sequence[float] | None = None,
    ) -> None:
        self.folder, file = (Path(expanded(str(path))) for path in (images, annotations))
        self.pixel_range = None if pixel_range is None else (pixel_range[0], pixel_range[1])
        super().__init__(read_annotations(file, self.folder, masks=masks, bbox_check=bbox_check), masks=masks)
        records = self.coco["images"]
        self._files = [self.folder / record["file_name"] for record in records]
        self._sizes = [(record["width"], record["height"]) for record in records]

    def image(self, index: int) -> Tensor:
        """The RGB image `index`, turned as its annotations expect."""
        decoded = None if self._decoded is None else self._decoded.image(index)
        return read_image(self._files[index], self._sizes[index], self.pixel_range) if decoded is None else decoded

    @cached_property
    def _decoded(self) -> DecodedImages | None:
        return None if self.pixel_range else decoded_images(self._files, self._sizes)


def scaled(image: Tensor) -> Tensor:
    """An image as float32 in [0, 1], on its device."""
    result: Tensor = functional.to_dtype(image, torch.float32, scale=True)
    return result


def collate(items: Sequence[Item]) -> tuple[list[Tensor], list[Target]]:
    """Make a batch of lists, as the images differ in size."""
    images = [image.as_subclass(Tensor) for image, _ in items]
    targets = [{key: value.as_subclass(Tensor) for key, value in target.items()} for _, target in items]
    return images, targets
