"""Reads a class's docstring, space and host from its source.

So `detloss list` describes losses without importing any.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from detloss.registry.distributions import MetadataError, read_file

_MOST = 2**18
"""Bytes of a module that is read: parsing takes a microsecond per byte."""


class ClassSource(NamedTuple):
    """Docstring, space and host of a class, from its source.

    Attributes:
        docstring: Cleaned; None if the class has none, or is not in the file.
        space: The literal assigned to ``space`` in the class. Without such a line it is ``"boxes"`` if the class
            derives directly from `BoxRegressionLoss`, else None.
        host: The literal assigned to ``host`` in the class, or None.
    """

    docstring: str | None = None
    space: str | None = None
    host: str | None = None


def read_class(module: str, attribute: str, near: Path | None = None) -> ClassSource:
    """Read the class ``attribute`` in the file of ``module``, without imports.

    The folder ``near`` is searched before ``sys.path``.
    """
    for file in _files(module, near):
        try:
            data = read_file(file, _MOST)
            if data is None:
                continue
            node = _classes(data.decode("utf-8-sig")).get(attribute)
        except (MetadataError, UnicodeDecodeError):
            break
        return ClassSource() if node is None else _source(node)
    return ClassSource()


def _files(module: str, near: Path | None) -> Iterator[Path]:
    """Yield the possible files of a module without importing anything."""
    top, *inner = module.split(".")
    if near is not None:
        yield from _at(near.joinpath(top, *inner))
    try:
        spec = find_spec(top)  # knows ``sys.path`` and the finders of editable installs
    except Exception:  # noqa: BLE001 - another package's finder may fail in any way; it is ignored then
        spec = None
    if spec is not None and spec.submodule_search_locations is not None:
        for folder in spec.submodule_search_locations:
            yield from _at(Path(folder, *inner))
    elif spec is not None and not inner:
        yield Path(str(spec.origin))


def _at(place: Path) -> tuple[Path, Path]:
    return place / "__init__.py", place.parent / f"{place.name}.py"


@lru_cache(maxsize=1)
def _classes(text: str) -> dict[str, ast.ClassDef]:
    """Return the classes at the top of a module.

    Those of the last module are cached, as packages define several in one.
    """
    try:
        with warnings.catch_warnings():
            # An invalid escape in another package's source does not concern you.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _source(node: ast.ClassDef) -> ClassSource:
    docstring, (assigned, space) = ast.get_docstring(node), _literal(node, "space")
    if not assigned and any(
        isinstance(base, ast.Name | ast.Attribute) and ast.unparse(base).rpartition(".")[2] == "BoxRegressionLoss"
        for base in node.bases
    ):
        space = "boxes"
    return ClassSource(docstring, space, _literal(node, "host")[1])


def _literal(node: ast.ClassDef, name: str) -> tuple[bool, str | None]:
    """Tell if the class assigns to ``name``, and which text."""
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) | ast.AnnAssign(ast.Name(id=found), value=value):
                if found == name:
                    text = value.value if isinstance(value, ast.Constant) else None
                    return True, text if isinstance(text, str) else None
    return False, None
