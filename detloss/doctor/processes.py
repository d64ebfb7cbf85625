"""Loads plugins in other processes: their imports cannot hurt this one."""

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from detloss.doctor.child import LIBRARIES, OPERATORS, PLUGINS
from detloss.doctor.isolated import ENDING, end_group
from detloss.registry.allow_list import VARIABLE
from detloss.registry.loading import load_error
from detloss.registry.plugin import Plugin
from detloss.text import printable

TIMEOUT = 20.0
"""Seconds that a plugin's import may take; its libraries are imported before."""

ESCAPES = {
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    "TRITON_BACKENDS_IN_TREE": "1",
}
"""Variables that keep pydantic, torch and triton (imported by torchvision) from reading all packages' metadata."""


@dataclass(frozen=True)
class Library:
    """The result of importing a library.

    Attributes:
        name: ``pydantic``, ``torch``, ``torchvision`` or ``detloss``.
        version: Its own `__version__`.
        imported: Whether it can be imported, with or without `ESCAPES`.
        error: Why it cannot be imported, or empty.
        place: File and line of the error.
        missing: Whether it is not installed.
        metadata: Whether the error is about the metadata of another package.
    """

    name: str
    version: str = ""
    imported: bool = False
    error: str = ""
    place: str = ""
    missing: bool = False
    metadata: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of importing a plugin.

    Attributes:
        plugin: The plugin.
        loads: Whether it can be used.
        error: Why it cannot, or empty.
        seconds: Duration of its own import, without the libraries; None if it did not end.
        stdout: Its output, escaped and cut.
        stderr: The same for stderr.
        tried: False if a library that it needs cannot be imported.
    """

    plugin: Plugin
    loads: bool
    error: str = ""
    seconds: float | None = None
    stdout: str = ""
    stderr: str = ""
    tried: bool = True


@dataclass
class Loading:
    """The results of all imports.

    Attributes:
        outcomes: One for each plugin, in their order.
        libraries: By name, in the order of import, without those that were not tried.
        operators: ``failures`` of ``torchvision::nms`` by device, ``cuda`` that torch is built for, ``devices``; empty
            if torch or torchvision cannot be imported.
        environment: The `ESCAPES` that were needed.
        error: What ended the watching process too early, or empty.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    libraries: dict[str, Library] = field(default_factory=dict)
    operators: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    error: str = ""


def load_apart(
    plugins: Iterable[Plugin],
    *,
    timeout: float = TIMEOUT,
    progress: Callable[[str], None] = lambda _: None,
    fork: bool = sys.platform == "linux",
) -> Loading:
    """Import the libraries, then each plugin in its own process.

    Args:
        plugins: Installed ones.
        timeout: Seconds for the import of one plugin; a library gets three times as long, 10 s at least.
        progress: Gets short messages on the current step.
        fork: Whether the processes are forked from one that has imported the libraries. Then each takes milliseconds,
            not seconds. Outside Linux this is not safe: libraries of the system may fail in a fork.
    """
    plugins = list(plugins)
    loading, results, skip = Loading(), dict[int, dict[str, Any]](), set[str]()
    allowance = max(10.0, 3 * timeout)
    request = {
        "plugins": [_portable(plugin) for plugin in plugins],
        "fork": fork,
        "limits": {"workers": min(4, os.cpu_count() or 1), "timeout": timeout, "allowance": allowance},
    }
    again = True
    while again:
        child = _Child({**request, "skip": sorted(skip)}, loading.environment)
        try:
            again = _follow(child, loading, results, skip, progress)
        finally:
            child.close()
    loading.outcomes = [_outcome(plugin, results.get(number), loading.error) for number, plugin in enumerate(plugins)]
    return loading


_PROGRAM = """\
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from detloss.doctor.child import main
main(pickle.load(sys.stdin.buffer))"""
"""Has the search path of this process, and reads its request from stdin."""


class _Child:
    """The process of `detloss.doctor.child`, and what it reports.

    Args:
        request: Its task.
        environment: Its variables, in addition to those of this process.
    """

    def __init__(self, request: dict[str, Any], environment: dict[str, str]) -> None:
        self.total = len(request["plugins"])
        self._timeout, self._allowance = request["limits"]["timeout"], request["limits"]["allowance"]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", self._process.stdin) as stdin:
            stdin.write(pickle.dumps([entry for entry in sys.path if isinstance(entry, str)]) + pickle.dumps(request))
        self._reports: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def report(self, step: str) -> dict[str, Any]:
        """Return the next report of the process.

        Its ``event`` is ``"died"`` or ``"hangs"`` if there is none during this step.
        """
        timeout = self._allowance + (self._timeout + 5 if step == PLUGINS else 0)
        try:
            report = self._reports.get(timeout=timeout)
        except queue.Empty:
            return {"event": "hangs", "error": f"it did not end within {timeout:g} s"}
        if report is None:
            if (status := self._status()) is None:
                return {"event": "hangs", "error": "it closed its output but did not end"}
            how = f"status {status}"
            with contextlib.suppress(ValueError):
                how = signal.Signals(-status).name if status < 0 else how
            self._stderr.seek(0)
            last = self._stderr.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            said = f": {printable(last[0])[:200]}" if last else ""
            return {"event": "died", "error": f"it ended the process with {how}{said}"}
        return report

    def close(self) -> None:
        """End the process and those that it watches."""
        if self._process.poll() is None:
            self._process.terminate()  # it ends the imports that it watches, each in its own process group
            if self._status() is None:
                self._process.kill()
                self._status()
        end_group(self._process.pid)
        self._stderr.close()

    def _status(self) -> int | None:
        """Wait a limited time for the process, and return its exit status.

        None if it still runs.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=ENDING)
        return None

    def _read(self) -> None:
        with cast("IO[bytes]", self._process.stdout) as stdout:
            for line in stdout:
                with contextlib.suppress(ValueError):  # the last line of a process that was killed
                    self._reports.put(json.loads(line))
        self._reports.put(None)


def _portable(plugin: Plugin) -> Plugin:
    """Return the plugin for another process, without its archive."""
    found = plugin.distribution
    return replace(plugin, distribution=found and replace(found, location=Path(plugin.location)))


def _follow(
    child: _Child,
    loading: Loading,
    results: dict[int, dict[str, Any]],
    skip: set[str],
    progress: Callable[[str], None],
) -> bool:
    """Record what a child reports.

    Return whether to start again without what stopped it.
    """
    step = ""
    while (report := child.report(step))["event"] != "end":
        match report:
            case {"event": "importing", "name": step}:
                progress(f"Importing {step}" if step in LIBRARIES else f"Trying {step}")
            case {"event": "imported", "name": name, "version": version}:
                before = loading.libraries.get(name, Library(name))
                loading.libraries[name] = replace(before, version=version, imported=True)
            case {"event": "failed", "name": name, "metadata": metadata, **rest}:
                loading.libraries[name] = Library(name, metadata=metadata, **rest)
                if metadata and not loading.environment:
                    loading.environment = ESCAPES
                    return True
            case {"event": "plugin", "number": number, **rest}:
                results[number] = rest
                progress(f"Loading plugins: {len(results)} of {child.total}")
            case {"event": "operators", **rest}:
                loading.operators = rest
            case {"error": error} if step in LIBRARIES:
                loading.libraries[step] = Library(step, error=error)
                skip.add(step)
                return True
            case {"error": error}:
                if step == OPERATORS:
                    loading.operators = {"failures": {"cuda": error}, "cuda": None, "devices": []}
                loading.error = error
                return False
    return False


def _outcome(plugin: Plugin, result: dict[str, Any] | None, died: str) -> Outcome:
    if result is None:
        error = ""
        if died:
            what = f"its process was lost ({died}), because of another plugin that was tried at the same time."
            error = str(load_error(plugin, f"{what} Fix: find that plugin with `{VARIABLE}`."))
        return Outcome(plugin, loads=False, error=error, tried=False)
    return Outcome(plugin, loads=result["error"] is None, **{**result, "error": (result["error"] or "")[:_MAX_ERROR]})


_MAX_ERROR = 2000
"""Characters of an error that are kept: a plugin may raise one with megabytes of text."""
