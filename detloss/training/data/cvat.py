"""Reads CVAT for images 1.1: one XML file for all images."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from detloss.errors import DataError
from detloss.text import clipped, printable
from detloss.training.data.labeled import (
    SPLITS,
    LabeledBox,
    LabeledData,
    LabeledImage,
    Track,
    Unused,
    numbers,
    read_xml,
    usable_size,
)

_NO_SHAPES = frozenset(("attribute", "tag"))
"""Other elements of an image; a tag is a class of the whole image."""


def read_cvat(source: Path, images: Path | None = None, track: Track = iter) -> LabeledData:
    """Read an export in the format "CVAT for images 1.1".

    Boxes are not changed. Polygons (their outline is kept), masks, ellipses and rotated shapes become the upright box
    around them. An image's `subset` is its split; without one it is in `train`.

    Args:
        source: The XML file, or a folder with it.
        images: Folder of the images, if they are not next to the file or in ``images``.
        track: Draws a progress bar.

    Raises:
        DataError: the file is not such an export.
    """
    file = _file(source)
    root = read_xml(file)
    if root.tag != "annotations" or root.find("track") is not None:
        what = (
            "a CVAT export of a video"
            if root.tag == "annotations"
            else f"not CVAT's: its root is <{clipped(root.tag)}>"
        )
        raise DataError(f'{printable(str(file))} is {what}. Fix: export the task as "CVAT for images 1.1".')
    folders = [images] if images else [file.parent / "images", file.parent]
    skipped: list[Unused] = []
    kinds: Counter[str] = Counter()
    splits: dict[str, list[LabeledImage]] = {}
    for element in track(root.findall("image")):
        name, subset = element.get("name", ""), element.get("subset", "").strip()
        places = [folder / part / name for folder in folders for part in (".", subset)]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            skipped.append(Unused(f"{file}: {name}", "the image is missing"))
            continue
        size = usable_size(found, skipped, numbers(element.get(side) for side in ("width", "height")))
        if size is not None:
            boxes = tuple(_boxes(f"{file}: {name}", element, kinds, skipped))
            splits.setdefault(_split(subset), []).append(LabeledImage(found, size, boxes))
    # A label within a skeleton has a parent.
    labels = [label for label in root.iter("label") if label.find("parent") is None]
    names = [name for label in labels if (name := label.findtext("name", "").strip())]
    used = sorted({box.name for listed in splits.values() for image in listed for box in image.boxes})
    counts = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    notes = [f"Shapes that are not upright boxes become the box around them: {counts}."] if kinds else []
    return LabeledData(splits, tuple(dict.fromkeys([*names, *used])), tuple(skipped), tuple(notes))


def _file(source: Path) -> Path:
    files = sorted(source.glob("*.xml")) if source.is_dir() else [source]
    usual = source / "annotations.xml"
    if usual not in files and len(files) != 1:
        raise DataError(
            f"{printable(str(source))} has {len(files)} XML files. Fix: give CVAT's annotations.xml itself."
        )
    return usual if usual in files else files[0]


def _split(subset: str) -> str:
    """The split of an image; it becomes part of a file name."""
    if subset.lower() in ("", "default"):
        return "train"
    return SPLITS.get(subset.lower()) or re.sub(r"[^\w-]+", "_", subset)


def _boxes(place: str, image: Element, kinds: Counter[str], skipped: list[Unused]) -> Iterator[LabeledBox]:
    shapes = [shape for shape in image if shape.tag not in _NO_SHAPES]
    for number, shape in enumerate(shapes, start=1):
        name = shape.get("label", "").strip()
        where = f"{place}: shape {number} ({name})"
        polygon: tuple[float, ...] | None = None
        if shape.tag == "polygon":
            polygon = numbers(shape.get("points", "").replace(";", ",").split(","))
            corners = None if polygon is None or len(polygon) < 6 or len(polygon) % 2 else _around(polygon)
        elif shape.tag in _CORNERS:
            corners = _CORNERS[shape.tag](shape)
        else:
            skipped.append(Unused(where, f"CVAT's {shape.tag} has no box"))
            continue
        if not name:
            skipped.append(Unused(where, "it has no label"))
        elif corners is None:
            skipped.append(Unused(where, f"its {shape.tag} is not as CVAT writes it"))
        else:
            turned = shape.get("rotation", "0") not in ("0", "0.0", "0.00")
            if shape.tag != "box" or turned:
                kinds[f"{'rotated ' * turned}{shape.tag}"] += 1
            x1, y1, x2, y2 = corners
            yield LabeledBox(where, name, (x1, y1, x2 - x1, y2 - y1), polygon=polygon)


def _around(points: tuple[float, ...]) -> tuple[float, ...]:
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _box(shape: Element) -> tuple[float, ...] | None:
    found = numbers([*(shape.get(key) for key in ("xtl", "ytl", "xbr", "ybr")), shape.get("rotation", "0")])
    if found is None:
        return None
    x1, y1, x2, y2, degrees = found
    if not degrees:
        return x1, y1, x2, y2
    sin, cos = _turn(degrees)
    # CVAT turns a box about its center.
    half = (x2 - x1) / 2, (y2 - y1) / 2
    reach = half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos
    return _spread((x1 + x2) / 2, (y1 + y2) / 2, reach)


def _ellipse(shape: Element) -> tuple[float, ...] | None:
    found = numbers([*(shape.get(key) for key in ("cx", "cy", "rx", "ry")), shape.get("rotation", "0")])
    if found is None:
        return None
    cx, cy, rx, ry, degrees = found
    sin, cos = _turn(degrees)
    return _spread(cx, cy, (math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)))


def _mask(shape: Element) -> tuple[float, ...] | None:
    found = numbers(shape.get(key) for key in ("left", "top", "width", "height"))
    return found and (found[0], found[1], found[0] + found[2], found[1] + found[3])


def _turn(degrees: float) -> tuple[float, float]:
    """|sin| and |cos| of an angle."""
    return abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))


def _spread(x: float, y: float, reach: tuple[float, float]) -> tuple[float, ...]:
    return x - reach[0], y - reach[1], x + reach[0], y + reach[1]


_CORNERS = {"box": _box, "ellipse": _ellipse, "mask": _mask}
"""x1, y1, x2, y2 of CVAT's shapes, by the element's name; None if malformed."""
