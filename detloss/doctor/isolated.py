"""Import one plugin in its own process, watched from outside.

It affects only that process, even if it hangs, crashes, exits, prints endlessly, reads stdin, changes the working
directory or starts processes.
"""

import contextlib
import faulthandler
import json
import os
import re
import signal
import sys
import time
import traceback
import warnings
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from detloss.errors import PluginLoadError
from detloss.registry.loading import failure, load, load_error
from detloss.registry.plugin import HEAD_GROUP, Plugin
from detloss.text import clipped, printable

MAX_OUTPUT = 16 * 2**20
"""Bytes of output after which a plugin is stopped, before it fills the disk."""
ENDING = 2.0
"""Seconds that a process may take to end after it was told to."""
POLL = 0.005
"""Seconds between two checks of a process; an import takes about as long."""
SHOWN_OUTPUT = 200
"""Characters of a plugin's output that are shown."""


class Trial:
    """The import of one plugin, from its start to its result.

    Args:
        plugin: What to import.
        folder: An empty folder for the plugin's output and result.
        timeout: Seconds that the plugin's import may take.
        allowance: Seconds that its process may take before that, for the libraries.
        process: What runs `import_plugin`; it is started.
    """

    def __init__(self, plugin: Plugin, folder: Path, timeout: float, allowance: float, process: BaseProcess) -> None:
        self.plugin, self.folder, self.timeout, self.process = plugin, folder, timeout, process
        self._libraries_until = time.monotonic() + allowance
        self._until: float | None = None
        with warnings.catch_warnings():
            # Python warns of a fork with the threads of numpy's BLAS, but these wait without a lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()

    def outcome(self) -> dict[str, Any] | None:
        """Return the result, or None while it runs.

        It has ``error`` (None if the plugin loads), ``seconds``, ``stdout`` and ``stderr``, the last two escaped and
        cut.
        """
        if self.process.exitcode is not None:
            return self._result(_died(self.end()))
        now = time.monotonic()
        if self._until is None and self._file("started").exists():
            self._until = now + self.timeout + _GRACE
        if max(_size(self._file("stdout")), _size(self._file("stderr"))) > MAX_OUTPUT:
            what = f"its import printed more than {MAX_OUTPUT // 2**20} MiB"
        elif now > (self._libraries_until if self._until is None else self._until):
            what = f"its import did not end within {self.timeout:g} s"
        else:
            return None
        return self._result(f"{what}, and {'could not be' if self.end() is None else 'was'} stopped")

    def kill(self) -> None:
        """Kill the process and its group."""
        end_group(self.process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.process.kill()

    def end(self) -> int | None:
        """Kill the process and return its exit status.

        None if it stays, as a process of another user does.
        """
        self.kill()
        until = time.monotonic() + ENDING
        while (status := self.process.exitcode) is None and time.monotonic() < until:
            time.sleep(POLL)
        return status

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _result(self, otherwise: str) -> dict[str, Any]:
        shown = {name: _excerpt(self._file(name)) for name in ("stdout", "stderr")}
        with contextlib.suppress(OSError, ValueError):
            return {**json.loads(self._file("result").read_text(encoding="utf-8")), **shown}
        if self._until is None and not self._file("started").exists():
            otherwise = "its process ended before the import"
        said = f" It printed '{shown['stderr']}'." if shown["stderr"] else ""
        what = f"{otherwise}{self._place()}.{said} Fix: tell its authors, or uninstall {self.plugin.package}."
        return {"error": str(load_error(self.plugin, what)), "seconds": None, **shown}

    def _place(self) -> str:
        """Return the deepest place inside the plugin's package where faulthandler found it."""
        try:
            trace = self._file("trace").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        top = self.plugin.module.partition(".")[0]
        for file, line, function in re.findall(r'^  File "(.+)", line (\d+) in (.+)$', trace, re.MULTILINE):
            if top in (*Path(file).parts, Path(file).stem):
                return f", at {printable(file)}:{line} in {function}"
        return ""


def import_plugin(plugin: Plugin, folder: Path, timeout: float, reports: int | None) -> NoReturn:
    """Import the plugin and write the result: all that the process does.

    After `timeout` seconds the place where it hangs is recorded. A fork closes its parent's descriptor `reports`.
    """
    try:
        if hasattr(os, "setsid"):
            os.setsid()
        if reports is not None:
            os.close(reports)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        import_module("detloss.loss")  # already loaded in a fork
        if plugin.group == HEAD_GROUP:
            import_module("detloss.heads.base")
        for name, stream in (("stdout", 1), ("stderr", 2)):
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(file, stream)
            os.close(file)
        _import(plugin, folder, timeout)
    except Exception:  # noqa: BLE001 - the watching process shows its last line
        traceback.print_exc()
    finally:
        # In a copy of the parent, neither an exception nor the plugin's atexit functions may continue.
        os._exit(0)


def _import(plugin: Plugin, folder: Path, timeout: float) -> None:
    # A number, not a file object: closing it would fail if a plugin closed all open files.
    trace = os.open(folder / "trace", os.O_WRONLY | os.O_CREAT, 0o600)
    faulthandler.enable(trace, all_threads=False)
    faulthandler.dump_traceback_later(timeout, file=trace)
    (folder / "started").touch()
    error = None
    start = time.perf_counter()
    try:
        load(plugin)
    except PluginLoadError as raised:
        error = str(raised)
    except BaseException as raised:  # noqa: BLE001 - KeyboardInterrupt is not a Ctrl-C here
        error = str(load_error(plugin, failure(plugin, raised)))
    seconds = time.perf_counter() - start
    faulthandler.cancel_dump_traceback_later()
    with contextlib.suppress(Exception):  # the plugin may have replaced them
        sys.stdout.flush()
        sys.stderr.flush()
    # Written to another file and renamed, so that a result is complete or missing.
    partial = folder / "partial"
    partial.write_text(json.dumps({"error": error, "seconds": seconds}), encoding="utf-8")
    partial.replace(folder / "result")


def end_group(pid: int | None) -> None:
    """Kill a process and what it started, where process groups exist."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg") and pid:
            os.killpg(pid, signal.SIGKILL)


_GRACE = 0.5
"""Seconds between faulthandler's record of a hanging import and its end."""


def _died(status: int | None) -> str:
    if status is None or status >= 0:
        return f"its import ended the process with status {status}"
    with contextlib.suppress(ValueError):
        return f"its import crashed the process with {signal.Signals(-status).name}"
    return f"its import crashed the process with signal {-status}"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _excerpt(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            text = stream.read(8 * SHOWN_OUTPUT).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return clipped(" | ".join(filter(None, (line.strip() for line in text.splitlines()))), SHOWN_OUTPUT)
