from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detloss.registry import find_plugins, load, scan
from detloss.registry.source import ClassSource, read_class

CLASS = '''
class Loss(Base):
    """What it says.

    More.
    """

    space = "deltas"

    def forward(self): ...
'''


def test_reads_without_importing(packages: Any) -> None:
    """Docstring and space of a class are read from a module that would fail at import."""
    packages.add("plug", modules={"plug_a.py": f"raise RuntimeError\n{CLASS}"})
    assert read_class("plug_a", "Loss") == ClassSource("What it says.\n\nMore.", "deltas")
    assert "plug_a" not in sys.modules


@pytest.mark.parametrize(
    ("modules", "module"),
    [
        ({"__init__.py": CLASS}, "pkg_r"),
        ({"__init__.py": "raise RuntimeError", "inner.py": CLASS}, "pkg_r.inner"),
        ({"a/b.py": CLASS}, "pkg_r.a.b"),
    ],
    ids=["package", "module", "namespace"],
)
@pytest.mark.parametrize("near", [True, False])
def test_finds_the_file(packages: Any, modules: dict[str, str], module: str, near: bool) -> None:
    """The file that an entry point names is found beside the metadata or on sys.path, and nothing is imported."""
    packages.add("plug", modules={f"pkg_r/{path}": source for path, source in modules.items()})
    found = read_class(module, "Loss", packages.folder if near else None)
    assert found == ClassSource("What it says.\n\nMore.", "deltas")
    assert not [name for name in sys.modules if name.startswith("pkg_r")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class A:\n    '''Doc.'''\n", ClassSource("Doc.", None)),
        ("class A(BoxRegressionLoss):\n    '''Doc.'''\n", ClassSource("Doc.", "boxes")),
        ("class A(loss.BoxRegressionLoss):\n    space = 'deltas'\n", ClassSource(None, "deltas")),
        ("class A:\n    space: ClassVar[Space] = 'deltas'\n", ClassSource(None, "deltas")),
        ("class B:\n    space = 'deltas'\nclass A(B):\n    '''Doc.'''\n", ClassSource("Doc.", None)),
        ("class A:\n    '''Doc.'''\n    def f(self): ...\n    space = 'deltas'\n", ClassSource("Doc.", "deltas")),
        ('class A:\n    """Doc.\n\n    def example(): ...\n    """\n    space = "deltas"\n',
         ClassSource("Doc.\n\ndef example(): ...", "deltas")),
        ("class A(BoxRegressionLoss):\n    space = compute()\n", ClassSource(None, None)),
        ("class A(\n", ClassSource()),
        ("from .inner import A\n", ClassSource()),
        ("class B:\n    '''Doc.'''\nA = B\n", ClassSource()),
        ("A = build()\n", ClassSource()),
        ("", ClassSource()),
    ],
    ids=["no space", "the interface's", "other space", "annotated", "inherited", "after a method", "def in docstring",
         "not literal", "syntax error", "import", "alias", "call", "empty"],
)  # fmt: skip
def test_what_a_class_says(packages: Any, source: str, expected: ClassSource) -> None:
    """What is literally in the source is read, and what is not there is None, never an error."""
    packages.add("plug", modules={"src_c.py": source})
    assert read_class("src_c", "A") == expected


def test_an_invalid_escape_warns_nobody(packages: Any) -> None:
    """A source with an invalid escape is described without a warning."""
    packages.add("plug", modules={"src_e.py": 'class A:\n    """Doc."""\n    pattern = "\\d"\n'})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_class("src_e", "A").docstring == "Doc."


def test_a_module_that_is_not_there() -> None:
    """Nothing is known of the class of a missing or compiled module."""
    for module in ("no_such_module_at_all", "no_such_package.inner", "math", "math.inner"):
        assert read_class(module, "A") == ClassSource()


def test_near_comes_first(packages: Any, new_folder: Callable[..., Any]) -> None:
    """A module beside its metadata is preferred to one of the same name on sys.path."""
    packages.add("one", modules={"twin.py": 'class A:\n    """First."""\n'})
    other = new_folder("other")
    other.add("two", modules={"twin.py": 'class A:\n    """Second."""\n'})
    assert read_class("twin", "A").docstring == "First."
    assert read_class("twin", "A", other.folder).docstring == "Second."


def test_description_falls_back_to_the_summary(new_folder: Callable[..., Any]) -> None:
    """A loss whose class says nothing is described by its package's summary, and its space is not known."""
    folder = new_folder("site")
    folder.add("plug", losses={"one": "absent_module:C"})
    (plugin,) = scan(path=[str(folder.folder)]).plugins
    assert (plugin.description, plugin.space) == ("About plug.", "?")


def test_row_20_description_cannot_steer_the_terminal(new_folder: Callable[..., Any]) -> None:
    """Control characters in a docstring are escaped."""
    folder = new_folder("site")
    folder.add("plug", losses={"one": "esc_m:A"}, modules={"esc_m.py": "class A:\n    '''Red \\x1b[31m.'''\n"})
    (plugin,) = scan(path=[str(folder.folder)]).plugins
    assert plugin.description == "Red \\x1b[31m."


def test_equal_to_what_the_classes_say() -> None:
    """For every installed loss, what is read from the source is what the imported class says."""
    plugins = [plugin for plugin in find_plugins() if Path(plugin.location).exists()]
    if not plugins:
        pytest.skip("no loss is installed")
    for plugin in plugins:
        cls = load(plugin).cls
        assert plugin.description == (cls.__doc__ or "").strip().splitlines()[0]
        assert plugin.space == cls.space
