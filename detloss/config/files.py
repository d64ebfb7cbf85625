"""Reading YAML, TOML and JSON; in YAML and JSON every value keeps its line and column.

Only plain data is read: YAML tags are refused, aliases may not multiply, and a key may appear once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from detloss.config.document import Document, Position, place_in, refused
from detloss.config.json_toml import read_json, read_toml
from detloss.config.read_yaml import MAX_DEPTH, MAX_VALUES, TOO_MANY, read_yaml

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "TOO_MANY", "Document", "Position", "read_document", "read_yaml"]

MAX_BYTES = 1 << 18  # 256 KiB: a thousand times what a config has, little enough to parse at once


def read_document(path: Path) -> Document:
    """Read a ``.yaml``, ``.yml``, ``.toml`` or ``.json`` file.

    Raises:
        ConfigError: it is missing, too large, not UTF-8, of another kind, or malformed (with line and column).
    """
    document = Document({}, str(path))
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise refused(document, f"a config is a {', '.join(_READERS)} file, not {path.suffix or 'one without suffix'}")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refused(document, f"cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise refused(document, f"is too large: a config has at most {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before, byte = error.object[: error.start].decode(), error.object[error.start]
        at = place_in(before)(len(before))
        raise refused(document, f"is not UTF-8 (byte 0x{byte:02x}); save it as UTF-8", at) from error
    try:
        read(text, document)
    except RecursionError:
        raise refused(document, f"is nested too deeply; a config has at most {MAX_DEPTH} levels") from None
    if document.data is None:  # an empty file
        document.data = {}
    return document


_READERS: Mapping[str, Callable[[str, Document], None]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".toml": read_toml,
    ".json": read_json,
}
