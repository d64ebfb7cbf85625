"""What the source of a class says, read with ``ast``: `detloss list` describes losses without importing any."""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_HOPS = 8
"""Imports, aliases and base classes that are followed from one name before giving up (a cycle ends here too)."""


class ClassSource(NamedTuple):
    """What the source of a class says.

    Attributes:
        docstring: Cleaned; None where the class has none, or its source is not found.
        space: The literal assigned to ``space`` in the class, or in a base class of the same package; else None.
    """

    docstring: str | None = None
    space: str | None = None


class SourceFile(NamedTuple):
    """A module's source; in an ``__init__.py`` (``is_package``) a relative import counts one level less."""

    module: str
    text: str
    is_package: bool


def read_class(module: str, attribute: str, near: Path | zipfile.Path | None = None) -> ClassSource:
    """Read the source of ``module:attribute`` without importing anything.

    Args:
        module: The dotted name of the module.
        attribute: A class in it, or a name that it imports from its own package.
        near: A folder that is searched before ``sys.path``.
    """
    source = find_source(module, near)
    if source is None:
        return ClassSource()
    found = _resolve(source, _parsed(source.text, attribute.partition(".")[0]), attribute, near)
    if found is None:
        return ClassSource()
    docstring = ast.get_docstring(found.node)
    for _ in range(_HOPS):
        for statement in found.node.body:
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and "space" in _bound_names(statement):
                space = statement.value.value if isinstance(statement.value, ast.Constant) else None
                return ClassSource(docstring, space if isinstance(space, str) else None)
        base = found.node.bases[0] if found.node.bases else None
        found = _resolve(found.source, found.tree, base.id, near) if isinstance(base, ast.Name) else None
        if found is None:
            break
    return ClassSource(docstring)


def find_source(module: str, near: Path | zipfile.Path | None = None) -> SourceFile | None:
    """Find the source of a module that is not imported: in ``near``, on ``sys.path``, by import hooks.

    Nothing is imported, not even a parent package: regular and namespace packages are walked as folders.
    """
    top, *inner = module.split(".")
    roots = [*([] if near is None else [near]), *_roots(top)]
    source = _search(module, module.split("."), roots)
    if source is not None:
        return source
    # An editable install may have no folder on the path but a finder that knows where the sources are.
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(top, None)
            if spec is None:
                continue
            if not inner:
                return _read(module, Path(str(spec.origin)), is_package=bool(spec.submodule_search_locations))
            folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        except Exception:  # noqa: BLE001 - a finder of somebody else's may fail in any way; it then knows nothing
            continue
        return _search(module, inner, folders)
    return None


class _Found(NamedTuple):
    """A class definition, and the module that it stands in as far as that was parsed."""

    source: SourceFile
    tree: ast.Module
    node: ast.ClassDef


def _resolve(source: SourceFile, tree: ast.Module, attribute: str, near: Path | zipfile.Path | None) -> _Found | None:
    """Follow imports inside the package, and plain aliases, from a name in a module to the definition of a class."""
    package = source.module.partition(".")[0]
    for _ in range(_HOPS):
        name, _, rest = attribute.partition(".")
        node = _binding(tree, name)
        if isinstance(node, ast.ClassDef):
            inner = _inner_class(node, rest)
            return None if inner is None else _Found(source, tree, inner)
        if isinstance(node, ast.Assign):
            attribute = ".".join(filter(None, (node.value.id, rest)))  # type: ignore[attr-defined]  # see `_binding`
            continue
        if node is None:
            return None
        module = _absolute(source, node)
        following = find_source(module, near) if module.partition(".")[0] == package else None
        if following is None:
            return None
        origin = next((alias.name for alias in node.names if (alias.asname or alias.name) == name), name)
        source, tree = following, _parsed(following.text, origin)
        attribute = ".".join(filter(None, (origin, rest)))
    return None


def _inner_class(node: ast.ClassDef, dotted: str) -> ast.ClassDef | None:
    for part in dotted.split(".") if dotted else ():
        inner = next((child for child in node.body if isinstance(child, ast.ClassDef) and child.name == part), None)
        if inner is None:
            return None
        node = inner
    return node


def _binding(tree: ast.Module, name: str) -> ast.ClassDef | ast.ImportFrom | ast.Assign | None:
    """Return the last statement of a module that binds ``name``: a class, an import or an alias of another name."""
    found: ast.ClassDef | ast.ImportFrom | ast.Assign | None = None
    for node in _statements(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = node
        elif isinstance(node, ast.ImportFrom):
            named = any((alias.asname or alias.name) == name for alias in node.names)
            if named or (found is None and node.names[0].name == "*"):
                found = node
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and name in _bound_names(node):
            found = node
    return found


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements that run at import, those under ``if`` and ``try`` included."""
    for block in ("body", "handlers", "orelse", "finalbody"):
        for node in getattr(tree, block, ()):
            yield node
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
                yield from _statements(node)


def _bound_names(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _parsed(text: str, name: str) -> ast.Module:
    """Parse a source up to the first method of the class ``name``, or all of it where that does not do.

    The methods are most of a file and say nothing that is wanted here; a base class is bound before the class.
    """
    head = re.search(rf"^class {re.escape(name)}\b.*?(?=^    (?:def|async def|@))", text, re.MULTILINE | re.DOTALL)
    cuts = [len(text)]
    if head and not re.search(r"^    space\b", text[head.end() :], re.MULTILINE):
        cuts.insert(0, head.end())
    for cut in cuts:
        try:
            with warnings.catch_warnings():
                # An invalid escape in somebody's source is no warning of this program's.
                warnings.simplefilter("ignore")
                return ast.parse(text[:cut])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return ast.Module(body=[], type_ignores=[])


def _absolute(source: SourceFile, node: ast.ImportFrom) -> str:
    """Return the module that ``from x import y`` names, relative dots resolved."""
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    parts = parts[: len(parts) - node.level + source.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _roots(top: str) -> Iterator[Path | zipfile.Path]:
    """Yield the entries of ``sys.path`` that may hold the top-level module; archives are opened only here."""
    for entry in sys.path:
        if not isinstance(entry, str):
            continue
        stem = os.path.join(entry, top)  # noqa: PTH118 - many entries, most of them misses: strings are faster
        if os.path.isdir(stem) or os.path.isfile(f"{stem}.py"):  # noqa: PTH112, PTH113
            yield Path(entry)
        elif entry.endswith((".zip", ".whl", ".egg")) and os.path.isfile(entry):  # noqa: PTH113
            try:
                yield zipfile.Path(entry)
            except (OSError, zipfile.BadZipFile):
                continue


def _search(module: str, parts: list[str], roots: Iterable[Path | zipfile.Path]) -> SourceFile | None:
    *packages, last = parts
    folders = list(roots)
    try:
        for package in packages:
            inside = [folder / package for folder in folders if (folder / package).is_dir()]
            regular = [folder for folder in inside if (folder / "__init__.py").is_file()]
            folders = regular[:1] or inside  # portions of a namespace package lie in several folders
        for folder in folders:
            for path, is_package in ((folder / last / "__init__.py", True), (folder / f"{last}.py", False)):
                if path.is_file():
                    return _read(module, path, is_package=is_package)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return None


def _read(module: str, path: Path | zipfile.Path, *, is_package: bool) -> SourceFile | None:
    try:
        return SourceFile(module, path.read_bytes().decode("utf-8-sig"), is_package)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
