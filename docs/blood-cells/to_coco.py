"""Write BCCD's annotations as COCO's: ``python to_coco.py BCCD_Dataset/BCCD bccd`` makes ``bccd/train.json`` and so on.

Upstream has Pascal VOC's XML, a file a photograph. Corners are taken as they are written; boxes without area, of which
there are two, are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

CLASSES = {"RBC": 1, "WBC": 2, "Platelets": 3}


def split_as_coco(source: Path, split: str) -> dict[str, Any]:
    """Return one split of a VOC data set as COCO's instances."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name in sorted((source / "ImageSets" / "Main" / f"{split}.txt").read_text(encoding="utf-8").split()):
        root = ElementTree.parse(source / "Annotations" / f"{name}.xml").getroot()
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        images.append({"id": len(images) + 1, "file_name": f"{name}.jpg", "width": width, "height": height})
        for cell in root.iter("object"):
            x1, y1, x2, y2 = (float(cell.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            if x2 > x1 and y2 > y1:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": len(images),
                        "category_id": CLASSES[cell.findtext("name", "")],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": number, "name": name} for name, number in CLASSES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = map(Path, sys.argv[1:])
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        coco = split_as_coco(source, split)
        file = target / f"{split}.json"
        file.write_text(json.dumps(coco), encoding="utf-8")
        print(f"{file}: {len(coco['images'])} photographs, {len(coco['annotations'])} boxes")
