from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest
from torch import Tensor

from detloss import BoxRegressionLoss, registry
from detloss.errors import PluginConflictError, PluginLoadError, UnknownPluginError
from detloss.registry import HEAD_GROUP, REGISTERED, Plugin, find_plugins, get_plugin, register


@pytest.fixture(autouse=True)
def forget_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers ends with it."""
    monkeypatch.setattr(registry, "_registered", {})


def loss_class(name: str) -> Any:
    return type(name, (BoxRegressionLoss,), {"__module__": "cell", "forward": lambda self, pred, target: pred})


def test_get_plugin(packages: Any, loss_source: str) -> None:
    """A loss of an installed package is loaded by its name, with its package and version."""
    packages.add("far-losses", version="2.1", losses={"far": "far_g:FarLoss"}, modules={"far_g.py": loss_source})
    loaded = get_plugin("far")
    assert (loaded.plugin.package, loaded.plugin.version) == ("far-losses", "2.1")
    assert loaded.cls.__name__ == "FarLoss"
    assert loaded.cls(scale=2.0).config.scale == 2.0


def test_find_plugins_is_sorted(packages: Any) -> None:
    """Plugins come sorted by name, then package."""
    packages.add("zz", losses={"zz_b": "m:C", "zz_a": "m:C"})
    packages.add("aa", losses={"zz_b": "m:C"})
    found = [plugin.full_name for plugin in find_plugins() if plugin.name.startswith("zz_")]
    assert found == ["zz:zz_a", "aa:zz_b", "zz:zz_b"]


def test_row_01_unselected_plugin_that_raises(packages: Any, loss_source: str) -> None:
    """A package that raises at import, and one whose file is malformed, leave the selected loss alone."""
    packages.add("bomb", losses={"bomb": "bomb_m:Bomb"}, modules={"bomb_m.py": "raise RuntimeError"})
    packages.add("torn", entry_points="torn")
    packages.add("far-losses", losses={"far": "far_b:FarLoss"}, modules={"far_b.py": loss_source})
    assert get_plugin("far").cls.__name__ == "FarLoss"
    assert {"bomb", "far"} <= {plugin.name for plugin in find_plugins()}
    assert "bomb_m" not in sys.modules


def test_row_19_unknown_name(packages: Any) -> None:
    """An unknown name is refused with near names of losses, and how to see them all; nothing is imported."""
    packages.add("plug", losses={"quantum": "quantum_m:C"}, modules={"quantum_m.py": "raise RuntimeError"})
    with pytest.raises(
        UnknownPluginError, match=r"no loss 'quantun'\. Did you mean 'quantum'\?.*`detloss list`"
    ) as caught:
        get_plugin("quantun")
    assert caught.value.name == "quantun"
    assert "quantum_m" not in sys.modules


def test_row_19_name_of_another_case(packages: Any) -> None:
    """A name in another case is no name, and the right one is proposed."""
    packages.add("plug", losses={"quantum": "absent_m:C"})
    with pytest.raises(UnknownPluginError, match=r"Did you mean 'quantum'\?"):
        get_plugin("Quantum")


def test_row_19_package_name_for_a_loss_name(packages: Any) -> None:
    """Where the name of a package is given, or nearly, the losses that it offers are named."""
    packages.add("quantum-losses", losses={"qa": "m:C", "qb": "m:C"})
    with pytest.raises(UnknownPluginError, match="The package quantum-losses offers qa, qb"):
        get_plugin("quantum-losses")
    with pytest.raises(UnknownPluginError, match="There is a package 'quantum-losses', which offers qa, qb"):
        get_plugin("quantum_loses")


def test_row_19_unknown_package_or_loss_of_it(packages: Any) -> None:
    """``package:name`` with an unknown package names near packages; with an unknown loss, the package's own."""
    packages.add("quantum-losses", losses={"qa": "m:C"})
    with pytest.raises(UnknownPluginError, match="similar names: quantum-losses"):
        get_plugin("quantum-looses:qa")
    with pytest.raises(UnknownPluginError, match="The package quantum-losses offers qa"):
        get_plugin("quantum-losses:qb")


@pytest.mark.parametrize(
    "name",
    ["os.system", "os:system.x", "../x", "", " giou", "giou\n", "a:b:c", ":x", "x:", "\x1b[31m", "x" * 10_000, 3, None],
    ids=lambda name: ascii(name)[:12],
)
def test_row_20_impossible_name(name: Any) -> None:
    """What can be no name, such as an import path, is refused by its form with a short, escaped message."""
    with pytest.raises(UnknownPluginError, match="cannot be the name of a loss") as caught:
        get_plugin(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("order", [("aa", "bb"), ("bb", "aa")])
def test_row_05_one_name_two_packages(packages: Any, loss_source: str, order: tuple[str, str]) -> None:
    """A name that two packages claim is refused with both named; ``package:name`` selects, however it is spelled."""
    for package in order:
        packages.add(
            f"{package}-Losses", losses={"far": f"far_{package}:FarLoss"}, modules={f"far_{package}.py": loss_source}
        )
    with pytest.raises(PluginConflictError) as caught:
        get_plugin("far")
    message = str(caught.value)
    assert "'far' is claimed by aa-Losses 1.0 (" in message
    assert "and bb-Losses 1.0 (" in message
    assert "'aa-Losses:far' or 'bb-Losses:far'" in message
    assert get_plugin("bb-Losses:far").cls.__module__ == "far_bb"
    assert get_plugin("aa_losses:far").cls.__module__ == "far_aa"


def test_row_06_first_party_name_taken(packages: Any) -> None:
    """A package that takes the name of an installed loss makes a conflict, never a silent winner."""
    packages.add("taker", losses={"giou": "m:C"})
    with pytest.raises(PluginConflictError, match=r"detloss-iou .* and taker 1\.0"):
        get_plugin("giou")
    assert get_plugin("detloss-iou:giou").cls.__name__ == "GIoULoss"


def test_row_06_head_name_taken(packages: Any) -> None:
    """A package that takes the name of one of detloss's own heads makes a conflict as well; `package:name` works."""
    packages.add("taker", entry_points="[detloss.heads]\nroi_heads = m:C\n")
    with pytest.raises(PluginConflictError, match=r"The head 'roi_heads' is claimed by detloss .* and taker 1\.0"):
        get_plugin("roi_heads", HEAD_GROUP)
    assert get_plugin("detloss:roi_heads", HEAD_GROUP).cls.__name__ == "RoIHeadsAdapter"


HEAD_SOURCE = """
from torch import nn
from detloss.heads.base import HeadAdapter

class MyHeadAdapter(HeadAdapter):
    head_name = "my_head"
    adapts = nn.Linear
"""


def test_heads_are_a_group_of_their_own(packages: Any) -> None:
    """A head is found in its group only, and its target is not held to the interface of a loss."""
    packages.add(
        "heads",
        entry_points="[detloss.heads]\nmy_head = head_m:MyHeadAdapter\n",
        modules={"head_m.py": HEAD_SOURCE},
    )
    assert get_plugin("my_head", HEAD_GROUP).cls.__name__ == "MyHeadAdapter"
    with pytest.raises(UnknownPluginError, match=r"no head 'my_haed'. Did you mean 'my_head'"):
        get_plugin("my_haed", HEAD_GROUP)
    with pytest.raises(UnknownPluginError, match="no loss 'my_head'"):
        get_plugin("my_head")


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("QIoULoss", "qiou"),
        ("BetterIoULoss", "better_iou"),
        ("SmoothL9Loss", "smooth_l9"),
        ("L9Loss", "l9"),
        ("QPDIoU", "qpdiou"),
        ("QIoULinearLoss", "qiou_linear"),
        ("QLDLoss", "qld"),
        ("Quantum", "quantum"),
    ],
)
def test_registered_name(class_name: str, name: str) -> None:
    """The name that is left out comes from the class's own: no ``Loss``, words apart, acronyms whole."""
    cls = register(loss_class(class_name))
    assert [plugin.name for plugin in find_plugins() if plugin.cls is cls] == [name]


def test_register() -> None:
    """A registered loss is found and loaded by name like an installed one, and described by its docstring."""

    class MyBestIoULoss(BoxRegressionLoss):
        """Mine."""

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return (pred - target).sum(-1)

    assert register(MyBestIoULoss) is MyBestIoULoss
    loaded = get_plugin("my_best_iou")
    assert loaded.cls is MyBestIoULoss
    assert (loaded.plugin.package, loaded.plugin.description) == (REGISTERED, "Mine.")
    assert "my_best_iou" in [plugin.name for plugin in find_plugins()]


def test_register_decorates() -> None:
    """``register`` is a decorator, with a name and without."""
    plain = register(loss_class("DecoratedPlainLoss"))
    named = register(name="decorated_name")(loss_class("DecoratedLoss"))
    assert get_plugin("decorated_plain").cls is plain
    assert get_plugin("decorated_name").cls is named


def test_registering_again_replaces() -> None:
    """A class of the same module and qualified name (a notebook cell that runs again) replaces the one before."""
    first, second = loss_class("AgainLoss"), loss_class("AgainLoss")
    register(first)
    register(second)
    assert get_plugin("again").cls is second


def test_registering_another_class_is_a_conflict() -> None:
    """Another class under a name that is registered is refused, and the first one stays."""
    first = register(loss_class("OneLoss"), "taken")
    with pytest.raises(PluginConflictError, match=r"cell.OneLoss, registered .* and cell.TwoLoss, .* another name"):
        register(loss_class("TwoLoss"), "taken")
    assert get_plugin("taken").cls is first


def test_registering_an_installed_name_is_a_conflict(packages: Any) -> None:
    """A name that an installed package claims cannot be registered."""
    packages.add("plug", losses={"installed_one": "m:C"})
    with pytest.raises(PluginConflictError, match=r"plug 1\.0 .* and cell\.InstalledOneLoss"):
        register(loss_class("InstalledOneLoss"))


def test_registering_no_loss() -> None:
    """What is no loss cannot be registered, and an impossible name neither."""
    with pytest.raises(PluginLoadError, match=r"does not derive from detloss\.BoxRegressionLoss"):
        register(dict, "dictionary")  # type: ignore[type-var]
    with pytest.raises(UnknownPluginError, match="cannot be the name"):
        register(loss_class("FineLoss"), "not.fine")
    assert find_plugins() == tuple(plugin for plugin in find_plugins() if plugin.package != REGISTERED)


def test_errors_cross_process_borders(packages: Any) -> None:
    """An error keeps message, name and package when it is pickled."""
    packages.add("plug", losses={"one_p": "absent_m:C"})
    with pytest.raises(PluginLoadError) as caught:
        get_plugin("one_p")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.name, copy.package) == (PluginLoadError, str(caught.value), "one_p", "plug")


def test_a_plugin_is_a_value(packages: Any) -> None:
    """Two scans give equal, hashable plugins, which can be pickled."""
    packages.add("plug", losses={"value_one": "m:C"})
    (one,), (two,) = ([p for p in find_plugins() if p.name == "value_one"] for _ in range(2))
    assert one == two
    assert len({one, two}) == 1
    assert isinstance(one, Plugin)
    assert pickle.loads(pickle.dumps(one)) == one
