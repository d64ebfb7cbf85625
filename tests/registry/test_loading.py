from __future__ import annotations

import sys
from typing import Any

import pytest

from detloss.errors import PluginLoadError
from detloss.registry import HEAD_GROUP, get_plugin

HEADER = """\
from typing import Any
from pydantic import ConfigDict, Field, model_validator
from detloss.loss import BoxRegressionLoss, LossConfig
class Base(BoxRegressionLoss):
    def forward(self, pred, target): return (pred - target).sum(-1)
"""


SWALLOWS = """x: float = 1.0
        @model_validator(mode='before')
        @classmethod
        def take(cls, v): return {'x': v.get('x', 1.0)}"""


def load_error(packages: Any, target: str, modules: dict[str, str], **kwargs: Any) -> str:
    packages.add("acme-losses", version="1.2", losses={"acme": target}, modules=modules, **kwargs)
    with pytest.raises(PluginLoadError) as caught:
        get_plugin("acme")
    assert (caught.value.name, caught.value.package) == ("acme", "acme-losses")
    message = str(caught.value)
    assert message.startswith("The loss 'acme' of acme-losses 1.2 cannot be used: ")
    return message


def test_row_02_selected_plugin_raises(packages: Any) -> None:
    """An error at import names plugin, package, version, and the deepest frame inside the plugin itself."""
    modules = {
        "acme_r/__init__.py": "from .deep import run\nrun()\n",
        # json.loads raises inside the standard library: the plugin's own frame is line 4 of deep.py.
        "acme_r/deep.py": "import json\n\ndef run():\n    json.loads('{')\n",
    }
    message = load_error(packages, "acme_r:Loss", modules)
    assert "its import raised JSONDecodeError: Expecting property name" in message
    assert f"{packages.folder / 'acme_r' / 'deep.py'}:4 in run" in message


@pytest.mark.parametrize(("raised", "words"), [("raise Mute", "raised Mute, at"), ("sys.exit(Mute())", "sys.exit()")])
def test_row_02_an_error_without_words(packages: Any, raised: str, words: str) -> None:
    """An exception or exit code that fails to say what it is costs its words, and none of the rest of the error."""
    source = f"""\
        import sys
        class Mute(Exception):
            def __str__(self): raise RuntimeError
            __repr__ = __str__
        {raised}
    """
    message = load_error(packages, "acme_mute:Loss", {"acme_mute.py": source})
    assert f"its import {words}" in message.replace("ended the program with ", "")
    assert "acme_mute.py:5" in message


@pytest.mark.parametrize("raised", ["raise ValueError('x' * 10**6)", "import sys; sys.exit('x' * 10**6)"])
def test_row_02_an_error_of_megabytes(packages: Any, raised: str) -> None:
    """However much an exception or an exit code has to say, the message stays short."""
    assert len(load_error(packages, "acme_long:Loss", {"acme_long.py": raised})) < 1000


@pytest.mark.parametrize("code", ["3", "'stop'", ""])
def test_row_03_system_exit(packages: Any, code: str) -> None:
    """SystemExit at import is a load failure like any other."""
    message = load_error(packages, "acme_e:Loss", {"acme_e.py": f"import sys\nsys.exit({code})\n"})
    assert f"ended the program with sys.exit({code or None})" in message
    assert "acme_e.py:2" in message


def test_row_03_keyboard_interrupt_passes(packages: Any) -> None:
    """Ctrl-C during an import is the user's, and passes."""
    packages.add("acme", losses={"acme": "acme_k:Loss"}, modules={"acme_k.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        get_plugin("acme")


def test_row_02_syntax_error(packages: Any) -> None:
    """A syntax error is located in the plugin's file."""
    message = load_error(packages, "acme_s:Loss", {"acme_s.py": "x = 1\nclass (\n"})
    assert "SyntaxError" in message
    assert "acme_s.py:2" in message


def test_row_02_missing_dependency(packages: Any) -> None:
    """A module that the plugin needs and that is not installed is named, with the line that imports it."""
    message = load_error(packages, "acme_d:Loss", {"acme_d.py": "\nimport absent_dependency.inner\n"})
    assert "needs the module 'absent_dependency'" in message
    assert "acme_d.py:2" in message


def test_row_02_fault_of_another_package(packages: Any) -> None:
    """Where another package's metadata makes the import fail, the plugin is not blamed for it."""
    packages.add("latin", entry_points=b"[x]\n\xe9 = m:C\n")
    source = "from importlib import metadata\nlist(metadata.entry_points())\n"
    message = load_error(packages, "acme_o:Loss", {"acme_o.py": source})
    assert "one of them is faulty (UnicodeDecodeError: " in message
    assert message.endswith("acme_o.py:2 in <module>. Fix: `detloss list` shows its file.")


def test_row_15_missing_module(packages: Any) -> None:
    """A target module that is not there is named with near names of its package."""
    modules = {"acme_m/__init__.py": "", "acme_m/losses.py": ""}
    message = load_error(packages, "acme_m.loses:Loss", modules)
    assert "its module 'acme_m.loses' is missing. Similar names: acme_m.losses." in message


def test_row_15_missing_package(packages: Any) -> None:
    """A target package that is not there at all is named."""
    assert "its module 'acme_absent' is missing." in load_error(packages, "acme_absent:Loss", {})


def test_row_15_missing_attribute(packages: Any) -> None:
    """A target that the module does not have is named with near names."""
    message = load_error(packages, "acme_a:GaussLos", {"acme_a.py": "class GaussLoss: ..."})
    assert "acme_a has no 'GaussLos'. Similar names: GaussLoss." in message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("class Loss: ...",
         "is the class Loss(object), which does not derive from detloss.BoxRegressionLoss and lacks forward."),
        ("from torch import nn\nclass Loss(nn.Module):\n    def forward(self, pred, target): ...",
         "the class Loss(Module), which does not derive from detloss.BoxRegressionLoss."),
        ("def Loss(pred, target): ...", "its target is wrong (found a function, expected a class"),
        ("Loss = 3", "its target is wrong (found an instance of int, expected a class"),
        ("import math as Loss", "its target is wrong (found an instance of module, expected a class"),
        ("from detloss import BoxRegressionLoss as B\nclass Loss(B): ...", "Loss is abstract: it lacks forward"),
    ],
    ids=["class", "module", "function", "value", "python module", "abstract"],
)  # fmt: skip
def test_row_16_target_is_no_loss(packages: Any, source: str, says: str) -> None:
    """A target that is no complete loss is described: what was found and what is missing."""
    assert says in load_error(packages, "acme_n:Loss", {"acme_n.py": source})


def test_row_23_lax_settings(packages: Any) -> None:
    """A Config that allows extra keys fails when it is defined, and the load error says so."""
    config = "class Config(LossConfig):\n        model_config = ConfigDict(extra='allow')"
    source = f"{HEADER}\nclass Loss(Base):\n    {config}\n"
    message = load_error(packages, "acme_x:Loss", {"acme_x.py": source})
    assert "LossDefinitionError: Loss.Config sets model_config['extra'], which would accept mistyped" in message


@pytest.mark.parametrize(
    "field",
    [
        "x: float",
        "x: int = 3",
        "x: 'NestedSpec | None' = None",
        "x: list[float] = [1.0]",
        "x: float = Field(1.0, alias='y')",
    ],
)
def test_strict_config(packages: Any, field: str) -> None:
    """Configs with required, integer, nested, listed and aliased fields are strict, and load."""
    source = (
        f"{HEADER}from detloss.loss import NestedSpec\n"
        f"class Loss(Base):\n    class Config(LossConfig):\n        {field}\n"
    )
    packages.add("acme", losses={"acme": "acme_t:Loss"}, modules={"acme_t.py": source})
    assert get_plugin("acme").cls.__name__ == "Loss"


@pytest.mark.parametrize(
    "requirement", ["detloss>=99", "detloss<0.1", "Detloss[train] (>=99)", "detloss==99.*; python_version > '3'"]
)
def test_row_17_built_for_another_detloss(packages: Any, requirement: str) -> None:
    """A package that requires another detloss is refused before its import, with both versions."""
    message = load_error(packages, "acme_v:Loss", {"acme_v.py": "raise RuntimeError"}, requires=(requirement,))
    assert "this is detloss 0.1.0" in message
    assert "It was not imported" in message
    assert "acme_v" not in sys.modules


@pytest.mark.parametrize(
    "requirement", ["detloss", "detloss>=0.1,<0.2", "detloss>=99; extra == 'x'", "detloss-other>=99", "?"]
)
def test_built_for_this_detloss(packages: Any, loss_source: str, requirement: str) -> None:
    """A package that requires this detloss, or says nothing about it, loads."""
    packages.add("acme", losses={"acme": "acme_w:FarLoss"}, modules={"acme_w.py": loss_source}, requires=(requirement,))
    assert get_plugin("acme").cls.__name__ == "FarLoss"


def test_a_head_for_another_version_of_its_library(packages: Any) -> None:
    """A head whose library has another version is refused before its import, with the range and both versions."""
    packages.add("far-net", version="4.2")
    packages.add(
        "far-heads",
        version="1.2",
        entry_points="[detloss.heads]\nfar_head = far_n:FarHeadAdapter\n",
        modules={"far_n.py": 'class FarHeadAdapter:\n    host = "far-net"\nraise RuntimeError\n'},
        requires=("far-net>=3,<4",),
    )
    with pytest.raises(PluginLoadError) as caught:
        get_plugin("far_head", HEAD_GROUP)
    assert str(caught.value) == (
        "The head 'far_head' of far-heads 1.2 cannot be used: it is for far-net>=3,<4, but far-net 4.2 is installed. "
        "It was not imported. Fix: `python -m pip install 'far-net>=3,<4'`, or install another version of far-heads."
    )
    assert "far_n" not in sys.modules


def test_a_failure_is_not_remembered(packages: Any, loss_source: str) -> None:
    """A package that is mended loads in the same process."""
    load_error(packages, "acme_f:FarLoss", {"acme_f.py": "raise RuntimeError"})
    (packages.folder / "acme_f.py").write_text(loss_source, encoding="utf-8")
    assert get_plugin("acme").cls.__name__ == "FarLoss"


ADAPTER = "from torch import nn\nfrom detloss.heads.base import HeadAdapter\nclass Adapter(HeadAdapter):\n    "


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (
            "class Adapter: ...",
            "its target is the class Adapter(object), which does not derive from detloss.heads.base.HeadAdapter",
        ),
        ("def Adapter(): ...", "its target is wrong (found a function, expected"),
        (f"{ADAPTER}head_name = 'acme'", "Adapter does not say adapts"),
        (
            f"{ADAPTER}head_name = 'acne'; adapts = nn.Linear",
            "Adapter has head_name 'acne'. Fix: write the name",
        ),
    ],
)
def test_row_16_target_is_no_head_adapter(packages: Any, source: str, found: str) -> None:
    """A head whose class is no adapter, or one for another name, is refused with what was found."""
    packages.add("acme", entry_points="[detloss.heads]\nacme = acme_h:Adapter\n", modules={"acme_h.py": source})
    with pytest.raises(PluginLoadError, match=r"^The head 'acme' of acme 1\.0 cannot be used: ") as caught:
        get_plugin("acme", HEAD_GROUP)
    assert found in str(caught.value)
