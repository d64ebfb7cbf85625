"""Reads YAML, TOML and JSON files with the places of values.

Only plain data is read: YAML tags are refused, aliases may not multiply, and a key may appear once.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from detloss.config.document import MAX_DEPTH, Document, place_in, refused
from detloss.config.json_toml import read_json, read_toml
from detloss.config.read_yaml import read_yaml
from detloss.text import printable, reason

MAX_BYTES = 1 << 18  # 256 KiB: a thousand times a usual config, and fast to parse


def read_document(path: Path) -> Document:
    """Read a YAML, TOML or JSON file; empty is an empty mapping.

    Raises:
        ConfigError: it is missing, not a file, too large, not UTF-8, of another kind or malformed (with its line).
    """
    file = printable(str(path))
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise refused(file, f"a config is a {', '.join(_READERS)} file, not {path.suffix or 'one without suffix'}")
    try:
        mode = path.stat().st_mode
        raw = b""
        if stat.S_ISREG(mode):  # opening a pipe would wait for its other end
            with path.open("rb") as opened:
                raw = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise refused(file, f"cannot be read: {reason(error)}") from error
    if not stat.S_ISREG(mode):
        raise refused(file, f"is a {'folder' if stat.S_ISDIR(mode) else 'pipe or a device'}, not a file")
    if len(raw) > MAX_BYTES:
        raise refused(file, f"is too large: a config has at most {MAX_BYTES} bytes")
    try:
        document = read(raw.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        before, byte = error.object[: error.start].decode(), error.object[error.start]
        at = place_in(before)(len(before))
        raise refused(file, f"is not UTF-8 (byte 0x{byte:02x}). Fix: save it as UTF-8", at) from error
    except RecursionError:
        raise refused(file, f"is nested too deeply; a config has at most {MAX_DEPTH} levels") from None
    return document if document.data is not None else replace(document, data={})


def expanded(path: str) -> str:
    """A path with the home folder instead of ``~``."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for an unknown user


_READERS: Mapping[str, Callable[[str, str], Document]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".toml": read_toml,
    ".json": read_json,
}
