"""Reads YAML 1.2 as plain data.

Tags, repeated keys and too many aliases are refused.
"""

import re
from typing import Any

import yaml

from detloss.config.document import MAX_DEPTH, MAX_VALUES, TOO_MANY, Document, Position, place_in, refused
from detloss.config.messages import KeyPath, dotted, found
from detloss.errors import Finding
from detloss.text import printable


def read_yaml(text: str, file: str | None = None) -> Document:
    """Read YAML text; empty text is null.

    Raises:
        ConfigError: The text is malformed, has a tag, or is too large or too deep.
    """
    nodes = Nodes(file)
    try:
        return nodes.document(nodes.value(_Loader(text).get_single_node(), ()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise refused(file, _words(error), _position(mark) if mark else None, nodes.findings) from error
    except yaml.reader.ReaderError as error:
        at = place_in(text)(error.position)
        raise refused(file, f"holds the control character U+{error.character:04X}. Fix: remove it", at) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses tags and depth.

    It refuses them before anything is built.
    """

    # YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3.2).
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as its base has it
    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="a YAML tag. Fix: remove it, or put text that begins with ! in quotes",
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


for _kind, _pattern in {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), None)


class Nodes:
    """Turns YAML nodes into plain data, with places and findings."""

    def __init__(self, file: str | None) -> None:
        self.file = file
        self.count = 0
        self.keys: dict[KeyPath, Position] = {}
        self.values: dict[KeyPath, Position] = {(): Position(1, 1)}
        self.findings: list[Finding] = []

    def document(self, data: Any) -> Document:
        """Return data with the places and findings of the nodes."""
        return Document(data, self.file, self.keys, self.values, findings=tuple(self.findings))

    def value(self, node: yaml.Node | None, path: KeyPath) -> Any:
        """Return the data of a node, or None.

        Raises:
            yaml.MarkedYAMLError: It is too large or too deep.
        """
        if node is None:
            return None
        self.count += 1
        if self.count > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=TOO_MANY, problem_mark=node.start_mark)
        if len(path) > MAX_DEPTH:  # stops an alias inside its own anchor
            raise _too_deep(node.start_mark)
        at = self.values[path] = _position(node.start_mark)
        self.keys.setdefault(path, at)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, at = key_node.value, _position(key_node.start_mark)
            kind = key_node.tag.rpartition(":")[2]
            if not isinstance(key, str):
                self._note(path, at, "a key is a word, not a list or a mapping")
            elif key == "<<" and key_node.style is None:
                self._note(path, at, "merge keys (<<) are not read. Fix: write the keys out")
            elif key in mapping:
                line = self.keys[(*path, key)].line
                self._note((*path, key), at, f"this key is already at line {line}. Fix: remove one")
            else:
                if kind != "str":
                    self._note((*path, key), at, f'YAML reads the key {key} as {kind}. Fix: write "{key}" in quotes')
                self.keys[(*path, key)] = at
                mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        kind, text = node.tag.rpartition(":")[2], node.value
        if kind == "bool":
            return text.lower() == "true"
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if kind == "int":
            try:
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            except ValueError:  # thousands of digits
                self._note(path, _position(node.start_mark), f"is not a number: {found(path, text)}")
        return text if kind == "str" else None

    def _note(self, path: KeyPath, at: Position, message: str) -> None:
        self.findings.append(Finding(printable(message), dotted(path), self.file, *at))


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _too_deep(mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)


def _words(error: yaml.MarkedYAMLError) -> str:
    """Return the parser's message with the line and a fix."""
    context, begin, end = error.context, error.context_mark, error.problem_mark
    if context and begin and end and begin.line != end.line:
        context = f"{context} (line {begin.line + 1})"
    message = "; ".join(part for part in (context, error.problem) if part)
    # A password that begins with *, & or ! is read as one of these. The message must not show it.
    message = re.sub(
        r"(alias|anchor|handle) '.*?'($|;)", r"\1 (for text that begins with *, & or ! use quotes)\2", message
    )
    advice = next((advice for words, advice in _ADVICE.items() if words in message), "")
    return f"{message}. Fix: {advice}" if advice else message


_ADVICE = {
    "mapping values are not allowed here": "put text with `: ` in it in quotes, or fix the indentation",
    r"found character '\t'": "use spaces, not a tab",
    "that cannot start any token": "put text that begins with it in quotes",
}
"""The usual fix for each message of the parser."""
