"""What `detloss doctor` and `detloss list --check` print, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminal import in_terminal

Run = Callable[..., tuple[int, str, str]]

NO_TORCH = {"torch/__init__.py": "raise ImportError('no torch today')"}
"""Without torch the command is quick, and has something to say."""


def test_text(packages: Any, run_python: Callable[..., Any]) -> None:
    """Each finding says who, what, what to do and where; the versions and a count of what was looked at frame them."""
    info = packages.add("torn", entry_points="[x]\ntorn\n", modules=NO_TORCH)
    done = run_python("-m", "detloss", "doctor", PYTHONPATH=str(packages.folder))
    assert (done.returncode, done.stderr) == (1, "")
    versions, *findings = done.stdout.split("\n\n")
    assert versions.startswith("python        3.")
    assert [line.split("  ")[0] for line in versions.splitlines()][:5] == [
        "python", "detloss", "pydantic", "torch", "torchvision",
    ]  # fmt: skip
    assert (
        "wrong: torn (metadata)\n"
        "  has a line that is not `name = module:Class`. The package offers nothing until this is fixed. Fix: "
        "reinstall torn, or tell its authors.\n"
        f"  {info / 'entry_points.txt'}:2"
    ) in findings
    file = packages.folder / "torch" / "__init__.py"
    (torch,) = [one for one in findings if one.startswith("wrong: torch (library)")]
    assert torch == (
        "wrong: torch (library)\n"
        f"  cannot be imported: ImportError: no torch today. {file} hides the installed package. "
        "Fix: rename it or remove its folder from the path. Until then no plugin can be loaded.\n"
        f"  {file}:1"
    )
    last = findings[-1].splitlines()
    assert last[-1].startswith("3 problems found. Checked ")
    assert last[-1].endswith("; 0 load.")


@pytest.mark.slow
def test_installed_from_wheels(fresh_environment: Any) -> None:
    """In an environment of installed wheels every loss of detloss-iou and every head loads, each from its package."""
    done = fresh_environment.run("detloss", "doctor", "--json")
    data = json.loads(done.stdout)
    loads = {plugin["name"]: plugin["loads"] for plugin in data["plugins"]}
    assert loads["giou"] is True
    assert loads["roi_heads"] is True
    assert all(plugin["loads"] for plugin in data["plugins"] if plugin["package"] in ("detloss", "detloss-iou"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--jsn"], "No such option '--jsn'"),
        (["x"], "unexpected extra argument (x)"),
        (["--timeout", "0"], "0.0 is not a number of seconds above 0"),
        (["--timeout", "nan"], "nan is not a number of seconds above 0"),
        (["--timeout", "x"], "'x' is not a valid float"),
        (["--timeout"], "'--timeout' requires an argument"),
    ],
)
def test_wrong_usage(run_detloss: Run, options: list[str], says: str) -> None:
    """Wrong usage ends with exit code 2 and says what is wrong."""
    code, out, err = run_detloss("doctor", *options)
    assert (code, out) == (2, "")
    assert says in err


def test_help(run_detloss: Run) -> None:
    """``doctor --help`` explains the options."""
    code, out, _ = run_detloss("doctor", "--help")
    assert code == 0
    assert "--json" in out
    assert "--timeout" in out
    assert "20.0" in out


def test_progress_on_a_terminal(packages: Any) -> None:
    """On a terminal the step that it waits for is shown meanwhile."""
    packages.add("no-torch", modules=NO_TORCH)
    shown = in_terminal("doctor", PYTHONPATH=str(packages.folder)).stdout
    assert "Importing " in shown or "Reading metadata" in shown
    assert "wrong: torch (library)" in shown


@pytest.mark.slow
def test_interrupt(packages: Any) -> None:
    """Ctrl-C ends the command at once, without a traceback and with everything that it started."""
    mark = packages.folder / "pid"
    source = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    packages.add("waiting", losses={"a_waiting": "waiting_i:Loss"}, modules={"waiting_i.py": source})
    environment = {**os.environ, "PYTHONPATH": str(packages.folder), "DETLOSS_PLUGINS": "waiting"}
    command = [sys.executable, "-m", "detloss", "doctor", "--timeout", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        while not (mark.exists() and mark.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.mark.slow
def test_what_is_left_out_is_not_imported(packages: Any, loss_source: str, run_python: Callable[..., Any]) -> None:
    """A plugin that `DETLOSS_PLUGINS` leaves out is named in the JSON, noted, and not imported."""
    packages.add("far-losses", losses={"far": "far_lo:FarLoss"}, modules={"far_lo.py": loss_source})
    mark = packages.folder / "imported"
    source = f"open({str(mark)!r}, 'w')"
    packages.add("other-losses", losses={"other": "other_lo:Loss"}, modules={"other_lo.py": source})
    done = run_python(
        "-m", "detloss", "doctor", "--json", PYTHONPATH=str(packages.folder), DETLOSS_PLUGINS="far-losses"
    )
    data = json.loads(done.stdout)
    assert (done.returncode, data["well"]) == (0, True)
    assert [plugin["name"] for plugin in data["plugins"] if plugin["group"] == "detloss.losses"] == ["far"]
    assert "other" in [plugin["name"] for plugin in data["left_out"]]
    (note,) = [one for one in data["findings"] if one["kind"] == "allow-list"]
    assert note["message"].startswith(f"excludes {len(data['left_out'])} of the installed plugins")
    assert not mark.exists()


def test_row_25_the_doctor_says_so(packages: Any, run_python: Callable[..., Any]) -> None:
    """A slip in `DETLOSS_PLUGINS` is something wrong, and no plugin is loaded."""
    packages.add("far-losses", losses={"far": "m:C"}, modules=NO_TORCH)
    done = run_python("-m", "detloss", "doctor", PYTHONPATH=str(packages.folder), DETLOSS_PLUGINS="far-loses")
    assert done.returncode == 1
    assert "wrong: DETLOSS_PLUGINS (allow-list)\n  has unknown entries: 'far-loses'" in done.stdout


@pytest.mark.slow
def test_list_check(packages: Any, loss_source: str, run_python: Callable[..., Any]) -> None:
    """``list --check`` says of each plugin whether it loads, why not, and ends with 1 where one does not."""
    packages.add("far-losses", losses={"far": "far_lc:FarLoss"}, modules={"far_lc.py": loss_source})
    packages.add(
        "bomb", losses={"bomb": "bomb_lc:Bomb"}, modules={"bomb_lc.py": "print('boom')\nraise RuntimeError(7)"}
    )
    environment = {"PYTHONPATH": str(packages.folder), "DETLOSS_PLUGINS": "far-losses bomb"}
    done = run_python("-m", "detloss", "list", "--check", **environment)
    assert (done.returncode, done.stderr) == (1, "")
    rows = {line.split()[0]: line.split()[2] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows == {"far": "loads", "bomb": "fails"}
    assert "Problem: The loss 'bomb' of bomb 1.0 cannot be used: its import raised RuntimeError: 7, at " in done.stdout
    assert "boom\n" not in done.stdout


@pytest.mark.slow
def test_list_check_of_heads(packages: Any, run_python: Callable[..., Any]) -> None:
    """``list --heads --check`` loads the heads; ``--json`` says of each whether, why not and how quickly."""
    bomb = {
        "entry_points": "[detloss.heads]\nbomb = bomb_lh:Bomb\n",
        "modules": {"bomb_lh.py": "raise RuntimeError(7)"},
    }
    packages.add("bomb", **bomb)
    done = run_python("-m", "detloss", "list", "--heads", "--check", "--json", PYTHONPATH=str(packages.folder))
    assert (done.returncode, done.stderr) == (1, "")
    plugins = {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"]}
    assert (plugins["rpn"]["loads"], plugins["rpn"]["error"]) == (True, None)
    assert plugins["rpn"]["seconds"] > 0
    assert plugins["bomb"]["loads"] is False
    assert "raised RuntimeError: 7" in plugins["bomb"]["error"]


def test_list_check_without_torch(packages: Any, run_python: Callable[..., Any]) -> None:
    """Where torch cannot be imported, ``list --check`` says that and that nothing loads."""
    packages.add("far-losses", losses={"far": "m:C"}, modules=NO_TORCH)
    done = run_python("-m", "detloss", "list", "--check", PYTHONPATH=str(packages.folder))
    assert done.returncode == 1
    assert "torch cannot be imported: ImportError: no torch today. `detloss doctor` says more." in done.stdout
    assert {line.split()[2] for line in done.stdout.splitlines() if line.startswith("  ")} == {"fails"}


def test_the_command_is_light(run_python: Callable[..., Any], tmp_path: Path) -> None:
    """The command imports neither torch nor pydantic into its own process."""
    program = (
        "import sys; sys.argv = ['detloss', 'doctor', '--json']\n"
        "from detloss.cli import main; main()\n"
        "print(*{'torch', 'pydantic', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    (tmp_path / "torch.py").write_text("raise ImportError", encoding="utf-8")
    done = run_python("-c", program, PYTHONPATH=str(tmp_path))
    assert done.stderr == "\n"
