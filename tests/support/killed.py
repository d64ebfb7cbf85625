"""`detloss` and Python in processes of their own that start at once, and that end themselves where a test says."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
import yaml
from PIL import Image

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

# Windows has no fork: there every process imports by itself.
_CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
# Importing torch and Lightning takes seconds. The fork server does it once, runs nothing of it, and every process is a
# fork of it: a process of its own with its own main module, which SIGKILL ends as any other.
_CONTEXT.set_forkserver_preload(["detloss.cli.app", "detloss.cli.train", "detloss.training.run", "detloss_iou"])

_TESTS = Path(__file__).parents[1]


def start(
    arguments: list[str], log: Path, folder: Path | None = None, die_at: int | str = "", **environment: str
) -> ForkServerProcess:
    """Start the `detloss` command, as the first process of a group of its own; warnings are errors.

    Args:
        arguments: The command's.
        log: File for what it prints, or a terminal.
        folder: Where its writing is watched.
        die_at: The process kills itself right before this change in `folder`: the how-manieth, or the first one that
            is written so: ``open last.ckpt``, ``os.rename metrics.json``.
        **environment: More environment variables.
    """
    process = _CONTEXT.Process(target=_run, args=(arguments, str(log), environment, str(folder), die_at))
    process.start()
    return process


def call(function: Callable[..., object], *arguments: object, log: Path, **environment: str) -> ForkServerProcess:
    """Call a function in such a process; what it raises is the end of its log."""
    process = _CONTEXT.Process(target=_call, args=(function, arguments, str(log), environment))
    process.start()
    return process


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a new Python to its end; it has imported libraries, and nothing of detloss.

    Args:
        *arguments: Of Python: perhaps ``-W error``, and ``-m MODULE``, ``-c PROGRAM`` or a file with what it takes.
        **environment: More environment variables; ``PYTHONPATH`` is put first on its path.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder, name) for name in ("stdout", "stderr")]
        process = _CONTEXT.Process(target=_python, args=([*arguments], *map(str, printed), environment))
        process.start()
        process.join(timeout=300)
        process.kill()
        out, err = (file.read_text(encoding="utf-8", errors="surrogateescape") for file in printed)
    return subprocess.CompletedProcess(["python", *arguments], cast("int", process.exitcode), out, err)


def ranks(number: int = 2) -> list[dict[str, str]]:
    """The environment variables of the processes of a distributed job, as Lightning sets them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(number)}
    return [{**job, "LOCAL_RANK": str(rank)} for rank in range(number)]


def finish_together(processes: list[ForkServerProcess]) -> list[int | None]:
    """Wait for the processes of a job, and return their exit codes; None of one that does not end."""
    for process in processes:
        process.join(timeout=60)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def finish(arguments: list[str], log: Path) -> None:
    """Run the `detloss` command to its end, which must be a good one."""
    process = start(arguments, log)
    process.join(timeout=120)
    assert process.exitcode == 0, log.read_text()


def broken_files(folder: Path) -> list[str]:
    """The files in a run's folder that are not whole, and why; ``.part`` files and the lock do not count."""
    broken = []
    for file in folder.iterdir():
        if ".part." in file.name or file.name == ".lock":
            continue
        try:
            _read(file)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises says that the file is not whole
            broken.append(f"{file.name}: {error!r}")
    return broken


def _read(file: Path) -> None:
    match file.suffix:
        case ".ckpt":
            torch.load(file, weights_only=True)
        case ".jsonl":
            text = file.read_text()
            assert text.endswith("\n")
            for line in text.splitlines():
                json.loads(line)
        case ".json":
            json.loads(file.read_text())
        case ".yaml":
            assert {"model", "train", "data"} <= yaml.safe_load(file.read_text()).keys()
        case ".png":
            with Image.open(file) as picture:
                picture.load()
        case _:
            raise AssertionError("nobody expects this file")


def _run(arguments: list[str], log: str, environment: dict[str, str], folder: str, die_at: int | str) -> None:
    _begin(log, environment)
    if die_at:
        sys.addaudithook(_Death(folder, die_at))
    from detloss.cli import main

    sys.argv = ["detloss", *arguments]
    sys.exit(main())


def _call(
    function: Callable[..., object], arguments: tuple[object, ...], log: str, environment: dict[str, str]
) -> None:
    _begin(log, environment)
    function(*arguments)


def _python(arguments: list[str], out: str, err: str, environment: dict[str, str]) -> None:
    _enter(out, err, environment)
    for name in [name for name in sys.modules if name.startswith("detloss")]:
        del sys.modules[name]
    # What pytest has put there for the tests is no part of a new Python's path.
    own = [entry for entry in sys.path if not Path(entry).is_relative_to(_TESTS)]
    sys.path[:] = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *own]
    match arguments:
        case ["-W", action, *rest]:
            warnings.simplefilter(cast("Any", action))
            arguments = rest
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", program, *rest]:
            sys.argv = ["-c", *rest]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(program, vars(sys.modules["__main__"]))
        case [file, *rest]:
            sys.argv = [file, *rest]
            runpy.run_path(file, run_name="__main__")


def _begin(log: str, environment: dict[str, str]) -> None:
    _enter(log, log, environment)
    warnings.simplefilter("error")
    torch.set_num_threads(1)


def _enter(out: str, err: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # The old streams remember whether they had a file or a terminal.
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.setsid()
    # A child of a fork server starts its own processes by another fork server; a command by the default of its Python.
    multiprocessing.set_start_method(None, force=True)


class _Death:
    """Kills the process right before a change in a folder. Python reports each one to audit hooks."""

    def __init__(self, folder: str, when: int | str) -> None:
        self.folder, self.when, self.seen = folder, when, 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, _ = args
            changes = isinstance(mode, str) and bool(set(mode) & set("wa+"))
        elif event == "os.rename":
            path, changes = args[1], True
        elif event in ("os.remove", "os.mkdir"):
            path, changes = args[0], True
        else:
            return
        if not changes or not str(path).startswith(self.folder):
            return
        self.seen += 1
        if self.when in (self.seen, f"{event} {Path(path).name}"):
            os.kill(os.getpid(), signal.SIGKILL)
