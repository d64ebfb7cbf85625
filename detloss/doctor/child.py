"""The process that `detloss doctor` starts: imports libraries, then each plugin.

It reports to its stdout, one JSON object a line, before and after each step. So the reader knows at which step it hangs
or dies. What libraries print goes to stderr.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from detloss.doctor.isolated import POLL, Trial, import_plugin
from detloss.registry.plugin import HEAD_GROUP, Plugin
from detloss.text import clipped, printable

LIBRARIES = ("pydantic", "torch", "torchvision", "detloss")
"""In the order of import; ``detloss`` is the interface of losses, which needs pydantic and torch."""
PLUGINS, OPERATORS = "plugins", "operators"
"""The steps after them."""


def main(request: dict[str, Any]) -> NoReturn:
    """Do what `doctor.processes` asks, and end the process."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _import_all(request)
        status = 0
    except Exception:  # noqa: BLE001 - the parent process shows the last line
        traceback.print_exc()
    finally:
        # Skips the second that Python takes to unload torch.
        sys.stderr.flush()
        os._exit(status)


_NEEDS = {"torchvision": {"torch"}, "detloss": {"pydantic", "torch"}}


def _import_all(request: dict[str, Any]) -> None:
    # Only reports may go to stdout: libraries get stderr as their stdout.
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def report(**what: object) -> None:
        reports.write(json.dumps(what) + "\n")
        reports.flush()

    there: set[str] = set()
    for name in LIBRARIES:
        if name not in request["skip"] and _NEEDS.get(name, set()) <= there and _import(name, there, report):
            there.add(name)
    plugins = [
        (number, plugin)
        for number, plugin in enumerate(request["plugins"])
        if "detloss" in there and (plugin.group != HEAD_GROUP or "torchvision" in there)
    ]
    report(event="importing", name=PLUGINS)
    fork = reports.fileno() if request["fork"] else None
    for number, outcome in _try(plugins, fork, **request["limits"]):
        report(event="plugin", number=number, **outcome)
    if "torchvision" in there:
        report(event="importing", name=OPERATORS)
        report(event="operators", **_operators())
    report(event="end")


def _import(name: str, there: set[str], report: Callable[..., None]) -> bool:
    report(event="importing", name=name)
    try:
        module = import_module("detloss.loss" if name == "detloss" else name)
        if name == "pydantic":
            # pydantic searches its plugins when the first model is defined, not at its import.
            module.create_model("Probe", value=(int, 0))
        if name == "detloss" and "torchvision" in there:
            import_module("detloss.heads.base")
    except BaseException as error:  # noqa: BLE001 - a library may raise anything, even SystemExit
        text = " ".join(str(error).split())
        # Skip this frame and those of importlib.
        frames = [*traceback.walk_tb(error.__traceback__)][1:]
        places = [f"{printable(frame.f_code.co_filename)}:{line}" for frame, line in frames if not _is_import(frame)]
        report(
            event="failed",
            name=name,
            missing=isinstance(error, ModuleNotFoundError) and error.name == name,
            error=printable(f"{type(error).__name__}: {text}" if text else type(error).__name__),
            place=places[-1] if places else "",
            metadata=any(_module_of(frame).startswith("importlib.metadata") for frame, _ in frames),
        )
        return False
    version = clipped(getattr(module, "__version__", ""))
    report(event="imported", name=name, version=version)
    return True


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _is_import(frame: FrameType) -> bool:
    return _module_of(frame) in ("importlib", "importlib._bootstrap", "importlib._bootstrap_external")


def _try(
    plugins: list[tuple[int, Plugin]],
    fork: int | None,
    *,
    workers: int,
    timeout: float,
    allowance: float,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Import all plugins, a few at a time, and yield each result.

    ``fork`` is what a fork closes.
    """
    context: Any = get_context("spawn" if fork is None else "fork")
    parent, running = os.getppid(), dict[int, Trial]()
    terminated = threading.Event()
    # Only noted: in some places, such as logging's part in a fork, Python drops an exception raised by a signal.
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    with tempfile.TemporaryDirectory(prefix="detloss-doctor-", ignore_cleanup_errors=True) as folder:
        try:
            while plugins or running:
                while plugins and len(running) < workers:
                    number, plugin = plugins.pop(0)
                    place = Path(folder, str(number))
                    place.mkdir()
                    process = context.Process(target=import_plugin, args=(plugin, place, timeout, fork))
                    running[number] = Trial(plugin, place, timeout, allowance, process)
                for number, trial in list(running.items()):
                    if (outcome := trial.outcome()) is not None:
                        del running[number]
                        yield number, outcome
                time.sleep(POLL)
                if terminated.is_set() or os.getppid() != parent:  # the parent is gone
                    raise SystemExit(1)
        finally:
            for trial in running.values():
                trial.kill()  # all of them, before waiting for any
            for trial in running.values():
                trial.end()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _operators() -> dict[str, object]:
    """Return what torch and torchvision can do on each device.

    ``torchvision::nms`` is tried on two boxes.
    """
    torch, ops = import_module("torch"), import_module("torchvision.ops")
    cuda = torch.cuda.is_available()
    failures = {}
    for device in ("cpu", "cuda") if cuda else ("cpu",):
        try:
            boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]], device=device)
            kept = ops.nms(boxes, torch.tensor([0.5, 0.9], device=device), 0.5).tolist()
            if kept != [1]:  # one of two equal boxes stays, the one with the higher score
                failures[device] = f"keeps the boxes {kept} (expected [1])"
        except Exception as error:  # noqa: BLE001 - the operator may be missing, or compiled for another device
            failures[device] = printable(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if cuda else []
    return {"failures": failures, "cuda": torch.version.cuda, "devices": devices}
