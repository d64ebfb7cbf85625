"""Writing into a run's folder: whole files, by one process at a time, and errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from detloss.errors import ConfigError

try:
    import fcntl
except ModuleNotFoundError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["holds_files", "locked", "remove_parts", "write_text", "write_whole", "writing"]

_PARTS = "*.part.*"
"""The files that `write_whole` writes before it puts them in their places."""
_LOCK = ".lock"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in the place of `path` in one step.

    Args:
        path: The file to replace; its folder is made if needed.
        write: Is called with the path to write to.

    Raises:
        OSError: it cannot be written; `path` is as it was, and nothing is left beside it.
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
        part.unlink(missing_ok=True)  # on a full disk it is in the way
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Give an `OSError` of this block the name of the file that was written: a full disk's has none."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save goes on to close its archive, which fails with an error of its own.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder while the context is open; a killed process keeps nobody out.

    Raises:
        ConfigError: another process is training into it.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    lock = folder / _LOCK
    file = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        # A lock of the process: not inherited by data loaders, which may outlive a killed run by some seconds.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(file)
        raise ConfigError(
            f"Another process is training into {folder}. Wait until it has ended, or choose another output folder."
        ) from None
    except OSError:
        pass  # some network drives have no locks
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        os.close(file)


def holds_files(folder: Path) -> bool:
    """Whether a folder holds more than what a run left half written that was killed before its first file was whole."""
    return any(not file.match(_PARTS) and file.name != _LOCK for file in folder.iterdir())


def remove_parts(folder: Path) -> None:
    """Clear what a killed run left half written."""
    for part in folder.glob(_PARTS):
        part.unlink()
