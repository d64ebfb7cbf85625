"""Reads Pascal VOC: an XML file per image, and split lists."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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
    images_under,
    numbers,
    read_xml,
    usable_size,
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(source: Path, images: Path | None = None, track: Track = iter) -> LabeledData:
    """Read a folder of Pascal VOC.

    Its layout is ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``, or XML files next to their images, in the
    folder itself or in one folder a split.

    Pascal VOC counts pixels from 1, and the last one is inside the box: x is xmin - 1, the width xmax - xmin + 1. A
    coordinate below 1 shows that a data set does not: then corners are taken as written.

    Args:
        source: The folder.
        images: Folder of the images, if they are not in `source`.
        track: Draws a progress bar.

    Raises:
        DataError: there is no annotation file, or one cannot be read.
    """
    if not source.is_dir():
        raise DataError(f"{printable(str(source))} is not a folder. Fix: give the folder that holds `Annotations`.")
    skipped: list[Unused] = []
    notes: list[str] = []
    files = _files(source, skipped, notes)
    by_stem = {file.stem: file for file in images_under(images or source)}
    read = {split: [_read(file, by_stem, skipped) for file in track(listed)] for split, listed in files.items()}
    kept = [image for listed in read.values() for image in listed if image]
    objects = [each for image in kept for each in image.objects]
    counts_from_one = all(min(each.corners[:2]) >= 1 for each in objects)
    if objects and not counts_from_one:
        notes.append("A coordinate is below 1, so pixels are not counted from 1: corners are taken as written.")
    if hard := sum(each.difficult for each in objects):
        notes.append(
            "Objects marked `difficult` become crowds (iscrowd: 1), which are not targets and count neither for nor "
            f"against a detector: {hard}."
        )
    splits = {
        split: [
            LabeledImage(image.file, image.size, tuple(_boxes(image, counts_from_one=counts_from_one, skipped=skipped)))
            for image in listed
            if image
        ]
        for split, listed in read.items()
    }
    return LabeledData(splits, tuple(sorted({each.name for each in objects})), tuple(skipped), tuple(notes))


@dataclass(frozen=True)
class _Object:
    place: str
    name: str
    corners: tuple[float, ...]
    difficult: bool


@dataclass(frozen=True)
class _Image:
    file: Path
    size: tuple[int, int]
    objects: tuple[_Object, ...]


def _files(source: Path, skipped: list[Unused], notes: list[str]) -> dict[str, list[Path]]:
    """The annotation files of each split."""
    folder = source / "Annotations" if (source / "Annotations").is_dir() else source
    files = {file.stem: file for file in sorted(folder.glob("*.xml"))}
    lists = {path.stem: path for path in sorted((source / "ImageSets" / "Main").glob("*.txt"))}
    wanted: list[str] = [name for name in ("train", "val", "test") if name in lists]
    if not {"train", "val"} & {*wanted} and "trainval" in lists:
        wanted = ["trainval", *wanted]
    if not files:
        folders = {SPLITS[each.name.lower()]: each for each in _folders(source) if each.name.lower() in SPLITS}
        found = {split: sorted(each.glob("*.xml")) for split, each in sorted(folders.items(), key=_order)}
        if not any(found.values()):
            inner = next((each for each in _folders(source) if (each / "Annotations").is_dir()), None)
            fix = f"give {inner}" if inner else "give the folder that holds `Annotations`, or XML files"
            raise DataError(f"{printable(str(folder))} has no XML file of Pascal VOC. Fix: {printable(fix)}.")
        return {split: listed for split, listed in found.items() if listed}
    if not wanted:
        return {"train": list(files.values())}
    splits: dict[str, list[Path]] = {}
    for name in wanted:
        lines = lists[name].read_text(encoding="utf-8-sig").splitlines()
        stems = [line.split()[0] for line in lines if line.strip()]
        skipped += [Unused(f"{lists[name]}: {stem}", "no annotation file") for stem in stems if stem not in files]
        splits["train" if name == "trainval" else name] = [files[stem] for stem in stems if stem in files]
    listed = {file for each in splits.values() for file in each}
    if unlisted := len(files) - len(listed):
        notes.append(f"XML files in none of the lists {', '.join(wanted)} are not converted: {unlisted}.")
    return splits


def _folders(source: Path) -> list[Path]:
    return sorted(each for each in source.iterdir() if each.is_dir())


def _order(split: tuple[str, Path]) -> int:
    return ("train", "val", "test").index(split[0])


def _read(file: Path, by_stem: Mapping[str, Path], skipped: list[Unused]) -> _Image | None:
    root = read_xml(file)
    if root.tag != "annotation":
        raise DataError(
            f"{printable(str(file))} is not Pascal VOC (found the root <{clipped(root.tag)}>, expected <annotation>). "
            "Fix: remove it."
        )
    written = root.findtext("filename", "").replace("\\", "/").rpartition("/")[2]
    image = by_stem.get(file.stem) or by_stem.get(Path(written).stem)
    if image is None:
        skipped.append(Unused(str(file), "its image is missing"))
        return None
    size = usable_size(image, skipped, numbers(root.findtext(f"size/{side}") for side in ("width", "height")))
    return size and _Image(image, size, tuple(_objects(file, root.findall("object"), skipped)))


def _objects(file: Path, elements: Iterable[Element], skipped: list[Unused]) -> Iterator[_Object]:
    for number, element in enumerate(elements, start=1):
        name = (element.findtext("name") or "").strip()
        corners = numbers(element.findtext(f"bndbox/{corner}") for corner in _CORNERS)
        place = f"{file}: object {number} ({name})"
        if not name:
            skipped.append(Unused(place, "it has no class name"))
        elif corners is None:
            skipped.append(Unused(place, "its bndbox is not four numbers"))
        else:
            yield _Object(place, name, corners, element.findtext("difficult", "0").strip() == "1")


def _boxes(image: _Image, *, counts_from_one: bool, skipped: list[Unused]) -> Iterator[LabeledBox]:
    for each in image.objects:
        x1, y1, x2, y2 = each.corners
        if (x1, y1) == (x2, y2):
            # One pixel, strictly; in practice an accidental click.
            skipped.append(Unused(each.place, "its box is a single point"))
            continue
        if counts_from_one:
            x1, y1 = x1 - 1, y1 - 1
        yield LabeledBox(each.place, each.name, (x1, y1, x2 - x1, y2 - y1), crowd=each.difficult)
