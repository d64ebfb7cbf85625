"""A run's folder: atomic files, a lock, config, reports, final numbers."""

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from detloss.errors import ConfigError, DetlossError
from detloss.training.data.coco import Annotations
from detloss.training.data.dataset import DetectionDataset
from detloss.training.evaluation import Detections
from detloss.training.settings import TrainConfig, absolute, as_plain

log = logging.getLogger(__name__)

PREDICTIONS = {"val": "predictions-val.json", "test": "predictions-test.json"}
"""Detections in a split: of the last checkpoint in validation data, of `train.select`'s in test data."""
PROVENANCE = "provenance.json"
_SKIPPED = "skipped.txt"
FILES: Mapping[str, str] = {
    "config.yaml": "the config, resolved: it repeats the run",
    PROVENANCE: "versions, device, data and config it was made with",
    "best.ckpt": "weights of the epoch with the highest AP",
    "last.ckpt": "weights and state of the last epoch, to resume from",
    "metrics.json": "the final numbers",
    "metrics.jsonl": "losses and evaluations, a JSON object a line",
    "curves.png": "losses and AP over the epochs",
    "predictions.png": "predictions over ground truth in some images",
    PREDICTIONS["val"]: "COCO results: last.ckpt on the validation images",
    PREDICTIONS["test"]: "COCO results: the selected checkpoint on the test images",
    _SKIPPED: "annotations that are skipped, and why",
}
"""The files of a run's folder, with their descriptions."""
LOGGERS = ("csv", "mlflow", "tensorboard", "wandb")
"""Folders of Lightning's loggers in a run's folder."""
_PARTS = "*.part.*"
"""The temporary files of `write_whole`."""
_LOCK = ".lock"
IN_USE = "Another process is training into"
"""Start of the error of a run whose folder another process uses."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # some network drives have no locks: there nothing is locked


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it to `path`.

    Raises:
        OSError: it cannot be written; `path` is unchanged, and no temporary file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part{path.suffix}")
    try:
        with writing(path):
            write(part)
            # Without the flush to disk, a power cut after the rename could leave an empty file under the final name.
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # it takes space on a full disk
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


@contextmanager
def write_errors() -> Iterator[None]:
    """Turn this block's write errors into errors that name the file."""
    try:
        yield
    except OSError as error:
        raise DetlossError(
            f"{error.filename} cannot be written: {error.strerror}. Fix: choose another output, or make room."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Add the file name to an `OSError`: a full disk's has none."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save then closes its archive, which raises another error.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder; killed ones block nothing.

    Raises:
        ConfigError: another process is training into it.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _LOCK
    # Released with this process: data loaders, which may outlive a killed run by some seconds, do not hold it.
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{IN_USE} {folder}. Fix: wait until it ends, or choose another output folder.") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it on release
            file.unlink()
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process is training into a folder."""
    if not (folder / _LOCK).exists():
        return False
    lock = FileLock(folder / _LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def check_places(folder: Path) -> None:
    """Refuse a folder with a link or folder in a file's place.

    Raises:
        ConfigError: it names the link or folder.
    """
    for path in folder.iterdir():
        if path.name in FILES or path.name == _LOCK or path.match(_PARTS):
            if path.is_symlink() or (path.name == _LOCK and path.stat().st_nlink > 1):
                raise _misplaced(path, "is a link", "a file")
            if not path.is_file():
                raise _misplaced(path, "is not a file", "a file")
        elif path.name in LOGGERS:
            if path.is_symlink() or not path.is_dir():
                raise _misplaced(path, "is a link" if path.is_symlink() else "is not a folder", "a folder")
            for inner in path.rglob("*"):
                # wandb links to its latest run.
                if inner.is_symlink() and not (path.name == "wandb" and inner.resolve().is_relative_to(path)):
                    raise _misplaced(inner, "is a link", "a file")
                if not (inner.is_file() or inner.is_dir()):
                    raise _misplaced(inner, "is not a file", "a file")


def config_of(folder: Path) -> Path:
    """The config in a run's folder.

    Raises:
        ConfigError: it is missing, or the folder is not a run's.
    """
    file = folder / "config.yaml"
    if not folder.is_dir():
        what = "it is a file" if folder.is_file() else "it does not exist"
    elif file.exists():
        return file
    elif any((folder / name).exists() for name in ("best.ckpt", "last.ckpt", "metrics.jsonl")):
        raise ConfigError(
            f"{file} is missing. Lost with it: the run's model, losses and data settings. All other files are intact. "
            "Fix: put the run's original config in its place."
        )
    else:
        what = "it has no config.yaml"
    raise ConfigError(
        f"{folder} is not the folder of a run: {what}. Fix: give the folder that `detloss train` printed (by default "
        "runs/NAME-TIME)."
    )


def holds_files(folder: Path) -> bool:
    """Whether a folder holds more than leftovers of a killed start."""
    return any(not file.match(_PARTS) and file.name != _LOCK for file in folder.iterdir())


def is_whole(path: Path) -> bool:
    """Whether a JSON list or a PNG file is complete."""
    end = {".json": b"]", ".png": b"IEND\xaeB`\x82"}[path.suffix]
    return path.exists() and path.read_bytes().endswith(end)


def write_config(folder: Path, config: TrainConfig, within: Path | None = None) -> None:
    """Write a run's resolved config.

    A path within `within`, by default the folder, becomes relative, so that both can be moved together. A relative path
    in the folder's config stays relative.
    """
    file = folder / "config.yaml"
    before = [section[key] for section, key in _paths(read_plain(folder))] if file.exists() else []
    kept = {absolute(path, folder): path for path in before if not Path(path).is_absolute()}
    plain = as_plain(config)
    for section, key in _paths(plain):
        section[key] = kept.get(section[key], section[key])
    plain = relative(plain, folder, within)
    write_text(file, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def read_plain(folder: Path) -> dict[str, Any]:
    """The plain values of a config that `write_config` wrote."""
    found: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return found


def relative(plain: dict[str, Any], folder: Path, within: Path | None = None) -> dict[str, Any]:
    """Make paths within `within`, by default `folder`, relative to `folder`."""
    for section, key in _paths(plain):
        path = section[key]
        if Path(path).is_relative_to(within or folder):
            text = Path(relpath(path, folder)).as_posix()
            section[key] = text if text.startswith("../") else f"./{text}"
    return plain


def write_start(folder: Path, config: TrainConfig, datasets: Mapping[str, DetectionDataset]) -> None:
    """Write the resolved config and data reports; clear half-written files."""
    for part in folder.glob(_PARTS):
        part.unlink()
    if not (folder / "last.ckpt").exists():  # killed before its first checkpoint: it starts again
        (folder / "metrics.jsonl").unlink(missing_ok=True)
    write_config(folder, config)
    for warning in (warning for data in datasets.values() for warning in data.annotations.warnings):
        log.warning("%s", warning)
    skipped = [str(entry) for data in datasets.values() for entry in data.skipped]
    if skipped:
        report = folder / _SKIPPED
        write_text(report, "\n".join(skipped) + "\n")
        log.warning("%d annotations are skipped (all in %s); the first: %s", len(skipped), report, skipped[0])


def _paths(plain: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where a config holds a path or the name of weights."""
    data = plain.get("data", {})
    for section in (plain, *(data.get(name) for name in ("train", "val", "test"))):
        for key in ("weights", "weights_backbone", "images", "annotations"):
            if section and section.get(key):
                yield section, key


def write_predictions(path: Path, detections: Iterable[Detections], known: Annotations) -> None:
    """Write detections as COCO results with the annotation file's own ids."""
    ids = dict(enumerate(known.category_ids, start=1))
    results = [one for found in detections for one in found.results(known.image_ids[found.image_id - 1], ids)]
    write_text(path, json.dumps(results))


def origins(folder: Path, test: str | None) -> dict[str, Any]:
    """The checkpoint of each number and file of predictions, with SHA-256."""
    of = {"best": "best.ckpt", "last": "last.ckpt", PREDICTIONS["val"]: "last.ckpt"}
    of |= {"test": test, PREDICTIONS["test"]: test} if test else {}
    return {"checkpoint": of, "sha256": {name: sha256(folder / name) for name in ("best.ckpt", "last.ckpt")}}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def final_metrics(lines: Sequence[Mapping[str, Any]], test: Mapping[str, float]) -> dict[str, Any]:
    """Numbers of the best and last evaluation, and of test data."""
    evaluations = [line for line in lines if "val/AP" in line]
    metrics: dict[str, Any] = {
        "best": _numbers(max(evaluations, key=lambda line: float(line["val/AP"]))),
        "last": _numbers(evaluations[-1]),
    }
    return {**metrics, "test": dict(test)} if test else metrics


def _numbers(line: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key.removeprefix("val/"): value for key, value in line.items() if key.startswith("val/")}
    return {"epoch": line["epoch"], **numbers}


def _misplaced(path: Path, what: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"{path} {what} (expected {wanted} of the run). Fix: move it away. The run writes again what it can derive."
    )
