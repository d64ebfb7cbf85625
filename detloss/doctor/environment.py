"""What plugins need: Python, matching libraries, compilers, CUDA."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from detloss._version import __version__
from detloss.doctor.processes import ESCAPES, Library, Loading
from detloss.registry.distributions import Problem
from detloss.registry.hosts import installed_version
from detloss.registry.requirements import unmet
from detloss.text import clipped, printable


def describe(loading: Loading) -> dict[str, str]:
    """Return name -> version; empty if there is none."""
    found = {"python": f"{platform.python_version()} ({sys.executable})", "detloss": __version__}
    for name in ("pydantic", "torch", "torchvision"):
        library = loading.libraries.get(name, Library(name))
        found[name] = library.version or installed_version(name)
        if found[name] and not library.imported:
            found[name] += " (cannot be imported)"
    compiler = cxx_compiler()
    cuda = "unknown: torch or torchvision cannot be imported"
    if loading.operators:
        devices = ", ".join(loading.operators["devices"]) or "no device"
        cuda = f"{loading.operators['cuda'] or 'not in this torch'}; {devices}"
    return found | {
        "C++ compiler": _first_line(compiler) if compiler else "",
        "triton": installed_version("triton"),
        "CUDA": cuda,
    }


def library_findings(loading: Loading) -> Iterator[Problem]:
    """Say which library cannot be imported, and which versions do not match."""
    for library in loading.libraries.values():
        if library.error:
            yield _failure(library, loading)
    mismatch = _mismatch()
    for device, error in loading.operators.get("failures", {}).items():
        what = f"its operator torchvision::nms does not work on {device}: {error}."
        advice = " ".join(filter(None, (mismatch, _PAIR)))
        yield Problem(f"{what} {advice}", "torchvision", kind="library")
    if mismatch and not loading.operators:
        yield Problem(f"{mismatch} {_PAIR}", "torchvision", kind="library")


def compiler_findings(loading: Loading) -> Iterator[Problem]:
    """Note missing compilers that `compile: true` in a spec needs."""
    if cxx_compiler() is None:
        name = os.environ.get("CXX")
        what = f"CXX names {name!r}, which is not a program" if name else f"{' and '.join(_COMPILERS)} are not on PATH"
        message = f"{what}. Only `compile: true` in a spec needs a C++ compiler, on the CPU."
        yield Problem(message, "C++ compiler", kind="compiler", wrong=False)
    if loading.operators.get("devices") and not installed_version("triton"):
        message = "is not installed. `compile: true` in a spec needs it on a GPU. Fix: `python -m pip install triton`."
        yield Problem(message, "triton", kind="compiler", wrong=False)


def cxx_compiler() -> str | None:
    """Return the C++ compiler that torch.compile would use, or None."""
    named = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [named] if named else _COMPILERS)), None)


_COMPILERS = ("clang++", "g++") if sys.platform == "darwin" else ("g++", "clang++")
_PAIR = "Fix: install matching versions: `python -m pip install --upgrade torch torchvision`."


def _failure(library: Library, loading: Loading) -> Problem:
    name = library.name
    if library.missing:
        return Problem(f"is not installed. Fix: `python -m pip install {name}`.", name, kind="library")
    if library.metadata:
        escapes = " ".join(f"{variable}={value}" for variable, value in ESCAPES.items())
        helps = "helps" if library.imported else "should help, but does not here"
        files = sorted(map(str, _unreadable_metadata())) or [library.place]
        broken = "this file is broken. Fix: repair or uninstall its package."
        if len(files) > 1:
            broken = f"{len(files)} files are broken: {', '.join(files)}. Fix: repair or uninstall their packages."
        message = (
            f"cannot be imported ({clipped(library.error)}): pydantic, torch and torchvision read the metadata of all "
            f"installed packages, and {broken} Until then, {escapes} in the environment {helps}."
        )
        return Problem(message, name, files[0], kind="library")
    path, _, line = library.place.rpartition(":")
    if "torchvision::" in library.error:
        advice = f"torch {loading.libraries['torch'].version} and torchvision do not match. {_PAIR[:-1]}"
    elif hidden := _hides(name):
        advice = f"{hidden} hides the installed package. Fix: rename it or remove its folder from the path"
    else:
        advice = f"Fix: reinstall it: `python -m pip install --force-reinstall {name}`"
    needed = "" if name == "torchvision" else " Until then no plugin can be loaded."
    what = f"cannot be imported: {library.error[:_MAX_ERROR].rstrip('.')}."
    return Problem(f"{what} {advice}.{needed}", name, path, int(line) if line.isdigit() else None, "library")


_MAX_ERROR = 500
"""Characters of a library's error that are shown; dynamic libraries give many lines."""


def _unreadable_metadata() -> Iterator[Path]:
    """Yield the files that Python's own reader of entry points fails on."""
    for distribution in metadata.distributions():
        try:
            list(distribution.entry_points)
        except Exception:  # noqa: BLE001 - this is the search for what raises
            yield Path(str(getattr(distribution, "_path", "")), "entry_points.txt")


def _mismatch() -> str:
    """Say which torch the installed torchvision requires, if it differs."""
    try:
        lines = [line for line in metadata.requires("torchvision") or () if line.startswith("torch")]
        wrong = [*unmet(lines, {"torch": metadata.version("torch")})]
    except Exception:  # noqa: BLE001 - as in `installed_version`
        return ""
    return "".join(
        f"torchvision {installed_version('torchvision')} requires {printable(line)}, but {version} is installed."
        for line, version, _ in wrong
        if version is not None
    )


def _hides(name: str) -> str:
    """Return the file that hides the installed package ``name``, if any."""
    try:
        spec = find_spec(name)
        origin = Path(str(spec.origin)) if spec else None
        own = Path(str(metadata.distribution(name).locate_file(name)))
    except Exception:  # noqa: BLE001 - as in `installed_version`
        return ""
    # An editable install has its files in another folder.
    return "" if origin is None or not own.exists() or origin.is_relative_to(own) else str(origin)


def _first_line(program: str) -> str:
    """Return the first line of ``program --version``, and the program's path."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return program
    return f"{clipped(done.stdout.partition(chr(10))[0])} ({program})"
