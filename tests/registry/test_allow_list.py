"""`DETLOSS_PLUGINS`: what it allows, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from detloss import BoxRegressionLoss, load_config, registry
from detloss.errors import AllowListError, ConfigError, PluginConflictError, PluginNotAllowedError, UnknownPluginError
from detloss.registry import HEAD_GROUP, find_plugins, get_plugin, register, scan
from detloss.registry.allow_list import VARIABLE, AllowList

FORBIDDEN = "raise SystemExit('imported')"


@pytest.fixture
def allow(packages: Any, loss_source: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install two packages of losses and one of heads, and return a function that sets the variable."""
    modules = {"far_al.py": loss_source}
    packages.add("far-losses", losses={"far": "far_al:FarLoss", "farther": "far_al:FarLoss"}, modules=modules)
    packages.add("other-losses", losses={"other": "other_al:Loss"}, modules={"other_al.py": FORBIDDEN})
    entry = "[detloss.heads]\nother_head = other_head_al:Head\n"
    packages.add("other-heads", entry_points=entry, modules={"other_head_al.py": FORBIDDEN})
    return lambda text: monkeypatch.setenv(VARIABLE, text)


def names(group: registry.Group = registry.LOSS_GROUP) -> list[str]:
    return [plugin.name for plugin in find_plugins(group)]


def test_unset_allows_all(allow: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset, every plugin is there and nothing is left out."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert {"far", "farther", "other"} <= set(names())
    assert scan().left_out == ()


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("far-losses", ["far", "farther"]),
        ("Far_Losses", ["far", "farther"]),
        ("far-losses:farther", ["farther"]),
        ("other-losses, far-losses:far", ["far", "other"]),
        ("other-losses:other far-losses:far", ["far", "other"]),
        (" far-losses:far ,\n\tother-heads,", ["far"]),
        ("detloss far-losses:far", ["far"]),
        ("none", []),
    ],
)
def test_what_is_allowed(allow: Callable[[str], None], text: str, allowed: list[str]) -> None:
    """Packages and ``package:name`` stand between commas or spaces, and packages are compared as pip does."""
    allow(text)
    assert names() == allowed
    assert {plugin.name for plugin in scan().left_out} >= {"far", "farther", "other"} - set(allowed)


@pytest.mark.parametrize("text", ["none", "far-losses", "other-heads", "detloss:rpn"])
def test_heads(allow: Callable[[str], None], text: str) -> None:
    """The heads of detloss itself are always allowed, those of another package only by name."""
    allow(text)
    own = ["fcos", "retinanet", "roi_heads", "rpn", "ssd"]
    assert [name for name in names(HEAD_GROUP) if name != "other_head"] == own
    assert ("other_head" in names(HEAD_GROUP)) is (text == "other-heads")
    assert get_plugin("rpn", HEAD_GROUP).plugin.package == "detloss"


def test_what_is_left_out_is_never_imported(allow: Callable[[str], None]) -> None:
    """A plugin that is left out is refused with what would allow it, and nothing of it is imported."""
    allow("far-losses")
    for name in ("other", "other-losses:other", "other_losses:other"):
        with pytest.raises(PluginNotAllowedError) as caught:
            get_plugin(name)
        assert str(caught.value) == (
            "The loss 'other' of other-losses 1.0 is installed, but DETLOSS_PLUGINS='far-losses' does not allow it. It "
            "was not imported. Fix: add other-losses:other (or other-losses, for all of it) to DETLOSS_PLUGINS."
        )
        assert (caught.value.name, caught.value.package) == ("other", "other-losses")
    assert "other_al" not in sys.modules
    assert get_plugin("far").cls.__name__ == "FarLoss"


def test_a_config_says_where(allow: Callable[[str], None], tmp_path: Any) -> None:
    """In a config, a loss that is left out is an error at its line."""
    allow("far-losses")
    config = tmp_path / "model.yaml"
    config.write_text("model: fcos_resnet50_fpn\nlosses:\n  fcos: other\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model\.yaml:3:9.*DETLOSS_PLUGINS='far-losses' does not allow it"):
        load_config(config)


def test_what_is_left_out_makes_no_conflict(allow: Callable[[str], None], packages: Any) -> None:
    """A name that two packages claim is no conflict where only one of them is allowed."""
    packages.add("taker", losses={"far": "other_al:Loss"})
    allow("far-losses taker")
    with pytest.raises(PluginConflictError):
        get_plugin("far")
    allow("far-losses")
    assert get_plugin("far").plugin.package == "far-losses"
    allow("none")
    with pytest.raises(PluginNotAllowedError, match=r"of far-losses 1\.0 and taker 1\.0 is installed"):
        get_plugin("far")


def test_what_is_registered_is_allowed(allow: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that this process registered is part of the program, and allowed even under a name that is left out."""
    monkeypatch.setattr(registry, "_registered", {})
    allow("none")
    cls: Any = type("MineLoss", (BoxRegressionLoss,), {"forward": lambda self, pred, target: pred})
    register(cls, "other")
    assert get_plugin("other").cls is cls


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is set and empty. Fix: unset it to allow every plugin, or write 'none' to allow none."),
        (" , ", "is set and empty."),
        ("none far-losses", "has 'none' and other entries: 'none far-losses'. Fix: remove one of them."),
        ("far-loses", "'far-loses' is not installed: did you mean far-losses?"),
        ("far-loses:far", "'far-loses:far' is not installed: did you mean far-losses?"),
        ("far-losses:farthr", "'far-losses:farthr' is not a plugin of far-losses: did you mean far-losses:farther"),
        ("far-losses:zzz", "'far-losses:zzz' is not a plugin of far-losses: it has far, farther."),
        ("far-losses:", "'far-losses:' is not a plugin of far-losses: it has far, farther."),
        ("far-losses:FAR", "'far-losses:FAR' is not a plugin of far-losses: it has far, farther."),
        ("farther", "'farther' is a plugin, not a package: write far-losses:farther."),
        ("other_head", "'other_head' is a plugin, not a package: write other-heads:other_head."),
        ("packaging", "'packaging' is installed, but has no loss or head: remove it."),
        ("zzz-zzz", "'zzz-zzz' is not installed: remove it, or install it."),
        ("detloss:rpm", "'detloss:rpm' is not a plugin of detloss: did you mean detloss:rpn?"),
        ("\x1b[31m", r"'\x1b[31m' is not installed"),
    ],
)
def test_row_25_a_slip_is_an_error(allow: Callable[[str], None], text: str, says: str) -> None:
    """A package or name that is not installed is an error with near names; until it is mended nothing is allowed."""
    allow(text)
    for use in (find_plugins, lambda: get_plugin("far"), lambda: get_plugin("rpn", HEAD_GROUP)):
        with pytest.raises(AllowListError) as caught:
            use()
        assert str(caught.value).startswith("DETLOSS_PLUGINS ")
        assert says in str(caught.value)
    found = scan().of(registry.LOSS_GROUP)
    assert found.plugins == ()
    (problem,) = [problem for problem in found.problems if problem.who == VARIABLE]
    assert str(found.allow_list_error) == f"{VARIABLE} {problem.message}"


def test_row_25_all_slips_at_once(allow: Callable[[str], None]) -> None:
    """Every wrong entry is named in one error."""
    allow("far-loses far-losses:far other-losses:othr")
    with pytest.raises(AllowListError, match=r"'far-loses' is not .*'other-losses:othr' is not a plugin") as caught:
        find_plugins()
    assert "'far-losses:far'" not in str(caught.value)


def test_a_faulty_package_is_no_slip(allow: Callable[[str], None], packages: Any) -> None:
    """A package whose file cannot be read is reported as that, and leaves what else is allowed alone."""
    packages.add("torn", entry_points="torn")
    allow("far-losses:far torn")
    assert names() == ["far"]
    assert [problem.who for problem in scan().problems] == ["torn"]


def test_the_list_says_so(allow: Callable[[str], None], run_detloss: Callable[..., tuple[int, str, str]]) -> None:
    """`detloss list` says how many are left out by which variable, and with ``--json`` which."""
    allow("far-losses:far")
    count = len(scan().of(registry.LOSS_GROUP).left_out)
    out = run_detloss("list")[1]
    assert f"\n{VARIABLE} excludes {count} more losses.\n" in out
    data = json.loads(run_detloss("list", "--json")[1])
    assert [plugin["name"] for plugin in data["plugins"]] == ["far"]
    assert {"farther", "other"} <= {plugin["name"] for plugin in data["left_out"]}
    allow("far-loses")
    code, out, _ = run_detloss("list")
    assert code == 0
    assert f"Problem: {VARIABLE}: has unknown entries: 'far-loses'" in out
    assert "excludes" not in out
    assert "No loss is installed" not in out


def test_all_left_out_is_not_none_installed(
    allow: Callable[[str], None], run_detloss: Callable[..., tuple[int, str, str]]
) -> None:
    """Where `DETLOSS_PLUGINS` leaves out every loss, nobody is told to install one."""
    allow("none")
    count = len(scan().of(registry.LOSS_GROUP).left_out)
    assert run_detloss("list") == (0, f"{VARIABLE} excludes {count} installed losses.\n", "")
    with pytest.raises(UnknownPluginError) as caught:
        get_plugin("zzz")
    assert f"{VARIABLE} excludes all that are installed" in str(caught.value)
    assert "pip install" not in str(caught.value)


def test_nothing_is_allowed_by_an_empty_list() -> None:
    """An allow-list without entries allows nothing."""
    assert not AllowList().allows("far-losses", "far")
