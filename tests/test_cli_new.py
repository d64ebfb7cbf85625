from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def empty_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a home of its own and an empty current folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def project(folder: str) -> dict[str, Any]:
    return tomllib.loads(Path(folder, "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_defaults(run_detloss: Run) -> None:
    """With --no-input a name is enough; every file is listed with its meaning, and then the next three commands."""
    code, out, err = run_detloss("new", "power_iou", "--no-input")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Wrote detloss-power-iou"
    listed = [line.split()[0] for line in lines[1:] if line.startswith("  ")][:-3]
    found = [path.relative_to("detloss-power-iou").as_posix() for path in Path("detloss-power-iou").rglob("*")]
    assert sorted(listed) == sorted(path for path in found if Path("detloss-power-iou", path).is_file())
    assert lines[-3:] == ["  cd detloss-power-iou", "  pip install --editable '.[test]'", "  detloss check power_iou"]
    assert project("detloss-power-iou")["description"].startswith("Power IoU, ")


def test_every_answer_has_an_option(run_detloss: Run) -> None:
    """What is asked can all be given as options, and is what the package is made of."""
    code, out, _ = run_detloss(
        "new", "power_iou", "--title", "Power \u201cIoU\u201d", "--paper", "He et al., NeurIPS 2021, arXiv 2110.13675",
        "--space", "deltas", "--parameter", "alpha=3.0", "-p", "beta=0:ge=0,le=1", "--author", "Ada",
        "--license", "MIT", "--class-name", "PowerLoss", "--package", "ada-losses", "--output", "with space",
        "--no-input",
    )  # fmt: skip
    assert code == 0
    assert "  cd 'with space'\n" in out
    written = project("with space")
    assert written["name"] == "ada-losses"
    assert written["license"] == "MIT"
    assert written["authors"] == [{"name": "Ada"}]
    assert written["description"].startswith("Power \u201cIoU\u201d, ")
    assert written["entry-points"] == {"detloss.losses": {"power_iou": "ada_losses:PowerLoss"}}
    source = Path("with space/src/ada_losses/__init__.py").read_text(encoding="utf-8")
    assert "class PowerLoss(BoxRegressionLoss):" in source
    assert "arXiv 2110.13675" in source
    assert 'space = "deltas"' in source
    assert "alpha: float = Field(3.0, ge=0.03, le=300)" in source
    assert "beta: float = Field(0.0, ge=0, le=1)" in source
    assert "MIT License" in Path("with space/LICENSE").read_text()


def test_british_spelling(run_detloss: Run) -> None:
    """--licence is --license."""
    assert run_detloss("new", "power_iou", "--licence", "Apache-2.0", "--no-input")[0] == 0
    assert project("detloss-power-iou")["license"] == "Apache-2.0"


def test_without_a_terminal_nothing_is_guessed(run_python: Callable[..., Any]) -> None:
    """Where nobody can be asked, what only the author knows is named by its options, and nothing is written."""
    done = run_python("-m", "detloss", "new", "power_iou", "--title", "Power IoU", COLUMNS="200")
    assert done.returncode == 2
    assert "--paper, --space, --parameter are not given" in " ".join(done.stderr.split())
    assert "--no-input" in done.stderr
    done = run_python("-m", "detloss", "new", "--no-input", COLUMNS="200")
    assert done.returncode == 2
    assert "NAME is not given" in done.stderr
    assert not list(Path().iterdir())
    everything = ("--title", "Power IoU", "--paper", "Doe, 2024", "--space", "boxes", "--parameter", "alpha=3.0")
    assert run_python("-m", "detloss", "new", "power_iou", *everything).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_a_closed_stdin_is_no_terminal() -> None:
    """With stdin closed (`<&-`) nothing can be asked either: the same error, no traceback."""
    command = f"exec {shlex.quote(sys.executable)} -m detloss new power_iou <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "there is no terminal to ask on" in " ".join(done.stderr.replace("│", " ").split())
    assert not list(Path().iterdir())


def test_errors_say_what_to_do(run_detloss: Run) -> None:
    """A taken name, a wrong parameter and a folder that is not empty end with 1 and one message each."""
    code, out, err = run_detloss("new", "giou", "--no-input")
    assert (code, out) == (1, "")
    assert "The installed package detloss-iou" in err
    assert "already has a loss 'giou'" in err
    code, _, err = run_detloss("new", "power_iou", "--parameter", "lambda=1", "--no-input")
    assert code == 1
    assert err.startswith("Error: parameters: lambda is a keyword of Python")
    run_detloss("new", "power_iou", "--no-input")
    code, _, err = run_detloss("new", "power_iou", "--no-input")
    assert code == 1
    assert "The folder detloss-power-iou is not empty" in err
    assert run_detloss("new", "power_iou", "--space", "pixels")[0] == 2


def test_help_teaches(run_detloss: Run) -> None:
    """The help says what is written and shows commands to copy."""
    code, out, _ = run_detloss("new", "--help")
    assert code == 0
    assert "Write a complete plugin package" in out
    assert "detloss new power_iou --title" in out
    assert "--update" not in out
    # What --no-input takes for granted.
    for default in ("by default unpublished", "boxes in pixels (the default)", "BSD-3-Clause (the default)"):
        assert default in " ".join(out.replace("│", " ").split())


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is a thing of POSIX")
def test_questions_on_a_terminal() -> None:
    """On a terminal it asks for what is not given, asks again after a wrong answer, and offers the defaults."""
    child, screen = ask("--paper", "Doe, 2024", "--author", "Ada")
    screen.answer("Name of the loss in configs: ", "9iou")
    screen.wait_for("cannot be the name of a loss")
    screen.answer("Name of the loss in configs: ", "power_iou")
    screen.answer("Title, such as Power IoU [Power IoU]: ", "Power IoU (mine)")
    screen.answer("Name of the class [PowerIoULoss]: ", "")
    screen.answer("(like L1) [boxes]: ", "pixels")
    screen.wait_for("'pixels' is not one of boxes, deltas")
    screen.answer("(like L1) [boxes]: ", "deltas")
    screen.answer("(may be empty): ", "alpha=x")
    screen.wait_for("write NAME=NUMBER")
    screen.answer("(may be empty): ", "alpha=3.0:ge=1,le=10")
    screen.answer("[BSD-3-Clause]: ", "MIT")
    assert child.wait(timeout=30) == 0, screen.rest()
    os.close(screen.leader)
    written = project("detloss-power-iou")
    assert written["description"].startswith("Power IoU (mine), ")
    assert written["license"] == "MIT"
    assert written["authors"] == [{"name": "Ada"}]
    source = Path("detloss-power-iou/src/detloss_power_iou/__init__.py").read_text(encoding="utf-8")
    assert "class PowerIoULoss(BoxRegressionLoss):" in source
    assert "(Doe, 2024)" in source
    assert 'space = "deltas"' in source
    assert "alpha: float = Field(3.0, ge=1, le=10)" in source


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is a thing of POSIX")
@pytest.mark.parametrize(("arguments", "question"), [((), "Name of the loss"), (("power_iou",), "Title")], ids=str)
def test_ctrl_c_at_a_question(arguments: tuple[str, ...], question: str) -> None:
    """Ctrl-C at a question ends the command as an interrupted one, without an error and without a file."""
    child, screen = ask(*arguments)
    screen.wait_for(question)
    for _ in range(3):  # Python sees a signal only later that comes just before it waits for input: press again
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=20)
            break
    assert child.returncode == 130
    assert "Error" not in screen.rest()
    assert not list(Path().iterdir())
    os.close(screen.leader)


def ask(*arguments: str) -> tuple[subprocess.Popen[bytes], Screen]:
    """Start `detloss new` on a pseudo-terminal."""
    leader, follower = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "detloss", "new", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "50"},
        close_fds=True,
    )
    os.close(follower)
    return child, Screen(leader)


class Screen:
    """What a program has written to a terminal, of which this end is ``leader``."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.seen = ""
        os.set_blocking(leader, False)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not come: {self.seen!r}"
            try:
                self.seen += os.read(self.leader, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.05)
        self.seen = self.seen.partition(text)[2]

    def answer(self, question: str, answer: str) -> None:
        self.wait_for(question)
        os.write(self.leader, f"{answer}\n".encode())

    def rest(self) -> str:
        """Return what there is to see after the program's end."""
        with contextlib.suppress(OSError):  # Linux reports the other side's end as an error
            while chunk := os.read(self.leader, 65536):
                self.seen += chunk.decode(errors="replace")
        return self.seen
