"""The checks of heads pass sound adapters, and find what is wrong with the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import bad_heads
import pytest
from bad_heads import BROKEN

from detloss import ConformanceError, find_plugins
from detloss.registry import HEAD_GROUP
from detloss.testing import HEAD_CHECKS, check_head
from detloss.testing.head_checks import ranks

OWN = [plugin.name for plugin in find_plugins(HEAD_GROUP) if plugin.package == "detloss"]
BY_NAME = {check.name: check for check in HEAD_CHECKS}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package that claims the heads of `bad_heads`; one process runs the ranks of all of them."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "bad_heads-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-heads\nVersion: 1.0\n")
    classes = [bad_heads.Sound, bad_heads.WithoutExample, *BROKEN]
    lines = [f"{cls.head_name} = bad_heads:{cls.__name__}\n" for cls in classes]
    (info / "entry_points.txt").write_text("".join(["[detloss.heads]\n", *lines]))
    return folder


@pytest.fixture
def heads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heads of `bad_heads` are installed."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(bad_heads.GridNet, "forward", bad_heads.ORIGINAL)  # is set back after each test


@pytest.mark.parametrize("head", OWN)
def test_torchvisions_heads_pass(head: str) -> None:
    """Each head of torchvision keeps all promises."""
    report = check_head(head)
    assert report.passed, report
    assert len(report.results) == len(HEAD_CHECKS)


def test_a_sound_head_passes(heads: None) -> None:
    """A head of another package keeps all promises, and is refused a loss that asks for what it lacks."""
    report = check_head("sound")
    assert report.passed, report
    assert [result.outcome for result in report.results] == ["passed"] * len(HEAD_CHECKS)


@pytest.mark.parametrize("bad", BROKEN, ids=lambda cls: cls.head_name)
def test_a_bad_head_fails_the_check_that_is_about_it(heads: None, bad: type) -> None:
    """Each broken promise is found by its check, whose message has a fix."""
    with pytest.raises(ConformanceError, match=rf"^{bad.head_name} fails {BROKEN[bad]}\. .*Fix: "):
        BY_NAME[BROKEN[bad]].run(bad.head_name)


@pytest.mark.slow
def test_ranks_that_wait_for_ever_are_found(heads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that skips the losses without an object leaves the other rank waiting, and the check says so."""
    monkeypatch.setattr("detloss.testing.head_checks.PATIENCE", 15)
    with pytest.raises(
        ConformanceError, match=r"fails ranks\. .*Expected both ranks to end|Expected both ranks to end"
    ):
        ranks.run("skips_empty")


@pytest.mark.slow
def test_ranks_that_are_too_late_are_ended(heads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many seconds the check ends their process and fails; the next head gets a new one."""
    with monkeypatch.context() as impatient:
        impatient.setattr("detloss.testing.head_checks.PATIENCE", 0.01)
        with pytest.raises(ConformanceError, match=r"they still wait after 0\.01 s"):
            ranks.run(bad_heads.Sound.head_name)
    ranks.run(bad_heads.Sound.head_name)


def test_a_head_without_an_example(heads: None) -> None:
    """A head that gives no example is an error that says what to write."""
    with pytest.raises(
        ConformanceError, match=r"the adapter WithoutExample gives no example.*Fix: write a class method"
    ):
        check_head("without_example")


def test_the_command_checks_a_head(run_detloss: Run, heads: None) -> None:
    """`detloss check --head` prints each check, and exits with 1 if one fails; --json has the same."""
    code, out, _ = run_detloss("check", "--head", "wrong_divisor", "--json")
    report = json.loads(out)
    assert (code, report["head"], report["passed"]) == (1, "wrong_divisor", False)
    assert [each["check"] for each in report["results"]] == [check.name for check in HEAD_CHECKS]
    code, out, _ = run_detloss("check", "--head", "--list")
    assert code == 0
    assert out.rstrip().endswith(f"{len(HEAD_CHECKS)} checks")
    code, _, err = run_detloss("check", "--head", "sound", "--set", "eps=1")
    assert code == 2
    assert "a head has no parameters" in err
