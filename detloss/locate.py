"""Reading YAML, TOML and JSON so that every value keeps its line and column.

Only plain data is read: YAML tags are refused, aliases may not multiply, and a key may appear once.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from detloss.errors import ConfigError
from detloss.findings import Finding, KeyPath, config_error, dotted, found, is_secret, number_hint
from detloss.metadata import printable
from detloss.scanner import MAX_DEPTH, Places, TooDeepError, scan_json, scan_toml

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "TOO_MANY", "Document", "Position", "read_document", "read_yaml"]


class Position(NamedTuple):
    """Line and column of a character, both from 1."""

    line: int
    column: int


@dataclass
class Document:
    """Plain data, where each key and value of it stands, and what is found wrong with it.

    Attributes:
        data: What the file says.
        file: The file's name for messages; None for data that came from no file.
        keys: Key path -> where its key stands (for a list item, where the item stands).
        values: Key path -> where its value stands.
        booleans: Key path -> the word that YAML read as true or false (``on``, ``yes``).
        overridden: Key paths whose value did not come from the file.
        findings: What is wrong with it.
    """

    data: Any
    file: str | None = None
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    booleans: dict[KeyPath, str] = field(default_factory=dict)
    overridden: set[KeyPath] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def note(
        self, path: KeyPath, message: str, *, near: str | None = None, at: Position | None = None, at_key: bool = False
    ) -> None:
        """Add a finding.

        Args:
            path: The key that it is about.
            message: What was expected, what was found and what to do.
            near: The known key or name that is closest to an unknown one.
            at: Where it stands; left out, where the value of `path`, or the nearest mapping around it, stands.
            at_key: Where its key stands, then, rather than its value.
        """
        override = self._is_overridden(path)
        if at is None and not override:
            places = self.keys if at_key else self.values
            above = (path[:length] for length in range(len(path), -1, -1))
            at = places.get(path) or next((self.values[part] for part in above if part in self.values), None)
        line, column = at or (None, None)
        # A validator of a plugin's may say anything, values of the config among it.
        self.findings.append(Finding(printable(message), dotted(path), self.file, line, column, near, override))

    def hint(self, path: KeyPath, value: Any) -> str | None:
        """Return how to write a value that YAML or its quotes turned into another type, or None."""
        if is_secret(path, value):
            return None
        is_yaml = self._is_overridden(path) or not (self.file or "").lower().endswith((".toml", ".json"))
        return number_hint(value, yaml=is_yaml)

    def _is_overridden(self, path: KeyPath) -> bool:
        return any(path[:length] in self.overridden for length in range(len(path) + 1))


def read_document(path: Path) -> Document:
    """Read a ``.yaml``, ``.yml``, ``.toml`` or ``.json`` file.

    Raises:
        ConfigError: it is missing, too large, not UTF-8, of another kind, or malformed (with line and column).
    """
    document = Document({}, str(path))
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise _refused(document, f"a config is a {', '.join(_READERS)} file, not {path.suffix or 'one without suffix'}")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _refused(document, f"cannot be read: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise _refused(document, f"has {len(raw)} bytes; a config has at most {MAX_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        at = Position(line, error.start - raw.rfind(b"\n", 0, error.start))
        raise _refused(document, f"is not UTF-8 (byte 0x{raw[error.start]:02x}); save it as UTF-8", at) from error
    try:
        read(text, document)
    except RecursionError:
        raise _refused(document, f"is nested too deeply; a config has at most {MAX_DEPTH} levels") from None
    if document.data is None:  # an empty file
        document.data = {}
    return document


def read_yaml(text: str, document: Document) -> None:
    """Fill the document from YAML text.

    Raises:
        ConfigError: the text is malformed, has a tag, or is too large or too deep.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        document.data = None if root is None else _Plain(loader, document).value(root, (), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = "; ".join(str(part) for part in (error.context, error.problem) if part)
        # A password that begins with *, & or ! is read as one of these: its text must not be in the message.
        message = re.sub(
            r"(alias|anchor|handle) '.*?'($|;)", r"\1 (for text that begins with *, & or ! use quotes)\2", message
        )
        raise _refused(document, message, _position(mark) if mark else None) from error
    except yaml.reader.ReaderError as error:
        at = _place_of(text)(error.position)
        raise _refused(document, f"holds the control character U+{error.character:04X}; remove it", at) from error
    document.values.setdefault((), Position(1, 1))


MAX_BYTES = 1 << 18  # 256 KiB: a thousand times what a config has, little enough to parse at once
MAX_VALUES = 10_000  # values after aliases are followed: what keeps an alias bomb small
TOO_MANY = f"more than {MAX_VALUES} values once aliases are followed: write them out"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses tags and depth while it composes: before anything is built."""

    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="a YAML tag: a config is plain data; remove it, or put text that begins with ! in quotes",
                problem_mark=event.start_mark,
            )
        if self.depth > MAX_DEPTH:
            raise _too_deep(event.start_mark)
        if self.count > 2 * MAX_VALUES:  # keys are nodes too
            raise yaml.MarkedYAMLError(problem=TOO_MANY, problem_mark=event.start_mark)
        self.count += 1
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Plain:
    """Turns YAML nodes into plain data and writes down where each stood."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self.loader = loader
        self.document = document
        self.count = 0

    def value(self, node: yaml.Node, path: KeyPath, depth: int) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=TOO_MANY, problem_mark=node.start_mark)
        if depth > MAX_DEPTH:  # an alias inside its own anchor ends here
            raise _too_deep(node.start_mark)
        at = self.document.values[path] = _position(node.start_mark)
        self.document.keys.setdefault(path, at)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, at = key_node.value, _position(key_node.start_mark)
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.document.note(path, "merge keys (<<) are not read; write the keys out", at=at)
                continue
            if not isinstance(key, str):
                self.document.note(path, "a key is a word, not a list or a mapping", at=at)
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                kind = key_node.tag.rpartition(":")[2]
                self.document.note((*path, key), f'YAML reads the key {key} as {kind}; write "{key}" in quotes', at=at)
            if key in mapping:
                first = self.document.keys[(*path, key)]
                self.document.note((*path, key), f"this key stands at line {first.line} already; remove one", at=at)
                continue
            self.document.keys[(*path, key)] = at
            mapping[key] = self.value(value_node, (*path, key), depth + 1)
        return mapping

    def scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        kind = node.tag.rpartition(":")[2]
        # YAML 1.1 reads 1:30 as 90 and 010 as 8; nobody who writes a config means that.
        if kind in {"int", "float"} and _SURPRISING.match(node.value):
            return node.value
        if kind == "bool":
            self.document.booleans[path] = node.value
        if kind in {"bool", "int", "float", "null"}:
            try:
                return self.loader.construct_object(node)
            except ValueError:  # an integer of thousands of digits
                self.document.note(path, f"is no number: {found(path, node.value)}")
                return None
        return node.value


def _read_json(text: str, document: Document) -> None:
    try:
        document.data = json.loads(text)
    except json.JSONDecodeError as error:
        raise _refused(document, error.msg, Position(error.lineno, error.colno)) from error
    except ValueError as error:  # an integer of thousands of digits
        raise _refused(document, str(error)) from error
    _put(scan_json, text, document)


def _read_toml(text: str, document: Document) -> None:
    if key := _LONG_KEY.search(text):  # which tomllib stores once for each of its parts: its square in memory
        raise _refused(document, f"a key has more than {MAX_DEPTH} parts", _place_of(text)(key.start()))
    try:
        document.data = tomllib.loads(text)
    except ValueError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        at = Position(int(place[1]), int(place[2])) if place else Position(text.count("\n") + 1, 1)
        raise _refused(document, re.sub(r" \(at .*\)$", "", str(error)), at) from error
    _put(scan_toml, text, document)


def _put(scan: Callable[[str], Places], text: str, document: Document) -> None:
    place = _place_of(text)
    try:
        places = scan(text)
    except TooDeepError as error:
        raise _refused(document, f"nested deeper than {MAX_DEPTH} levels", place(error.offset)) from None
    document.keys.update((path, place(offset)) for path, offset in places.keys.items())
    document.values.update((path, place(offset)) for path, offset in places.values.items())
    for path, offset in places.repeated:
        document.note(path, "this key stands in its mapping twice; remove one", at=place(offset))


def _place_of(text: str) -> Callable[[int], Position]:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(offset: int) -> Position:
        line = bisect_right(starts, offset)
        return Position(line, offset - starts[line - 1] + 1)

    return place


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _too_deep(mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)


def _refused(document: Document, message: str, at: Position | None = None) -> ConfigError:
    return config_error([*document.findings, Finding(message, "", document.file, *(at or (None, None)))])


# YAML 1.1 numbers that read otherwise than they look: sexagesimal (1:30 is 90) and octal (010 is 8).
_SURPRISING = re.compile(r"[-+]?(?:0[\d_]|.*:)")

# Parts of a dotted TOML key, quoted or not, in whatever place: text of so many words and dots is not missed either.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH},}}""")

_READERS: Mapping[str, Callable[[str, Document], None]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".toml": _read_toml,
    ".json": _read_json,
}
