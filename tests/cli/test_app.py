from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from detloss.cli.app import COMMANDS

Run = Callable[..., tuple[int, str, str]]


def completed(line: str, **environment: str) -> list[str]:
    """Return what bash would offer to complete the last word of a command line with."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_DETLOSS_COMPLETE": "bash_complete"}
    program = "import sys; sys.argv = ['detloss']; from detloss.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, **words, **environment},
    )
    assert done.stderr == ""
    return [line.split(",")[1] for line in done.stdout.split()]


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=str)
def test_every_help_fits_a_narrow_terminal(
    run_detloss: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Each help fits 80 columns, folds no word, and shows flags without a type, as they take no value."""
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run_detloss(*command, "--help")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "--help" in out
    assert "bool" not in out
    monkeypatch.setenv("COLUMNS", "200")
    wide = run_detloss(*command, "--help")[1]
    assert set(re.findall(r"[^\s─╭╮╰╯]+", out)) <= set(re.findall(r"[^\s─╭╮╰╯]+", wide))


def test_a_mistyped_command(run_detloss: Run) -> None:
    """An unknown command is wrong usage, and the near one is named."""
    code, out, err = run_detloss("shw")
    assert (code, out) == (2, "")
    assert "No such command 'shw'. Did you mean 'show'?" in err


def test_the_version(run_detloss: Run) -> None:
    """`--version` prints name and version."""
    import detloss

    assert run_detloss("--version") == (0, f"detloss {detloss.__version__}\n", "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("detloss sh", ["show"]),
        ("detloss list --", ["--space", "--long", "--heads", "--check", "--json", "--help"]),
        ("detloss new --space d", ["deltas"]),
    ],
)
def test_a_shell_completes(line: str, offered: list[str]) -> None:
    """A shell that runs what `_DETLOSS_COMPLETE=bash_source detloss` prints completes commands, options and choices."""
    assert completed(line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(run_python: Callable[..., Any], shell: str) -> None:
    """For each shell there is a script, which `detloss --help` tells how to load."""
    done = run_python("-m", "detloss", _DETLOSS_COMPLETE=f"{shell}_source")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_DETLOSS_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize("command", ["list", "list --json", "list --help", "show giou"])
@pytest.mark.skipif(os.name == "nt", reason="closes stdout as a POSIX shell does")
def test_closed_output(command: str) -> None:
    """With stdout closed (`>&-`) there is nowhere to print to, which is no error."""
    line = f"exec {shlex.quote(sys.executable)} -m detloss {command} >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
