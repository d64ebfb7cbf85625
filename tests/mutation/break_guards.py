"""Break each guard once and see its test fail.

``python tests/mutation/break_guards.py [--only TEXT] [--list]`` copies the repository into temporary folders, makes one
replacement of `mutations.toml` there, runs the test that is named for it, and takes the replacement back. A guard whose
test passes without it is no tested guard: the exit status is 1. The repository itself is never changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 2
TIMEOUT = 300
"""Seconds after which a test counts as hanging; the slowest takes a tenth of it on two idle cores."""
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "dist", "build", "runs")
"""What a copy does without: environments, caches and what training wrote."""
Result = TypeVar("Result")
TESTS_FAILED = 1
"""pytest's exit status where tests ran and failed; any other is no verdict (usage, collection, interruption)."""


@dataclass(frozen=True)
class Mutation:
    """A guard taken away.

    Attributes:
        guard: What is taken away.
        file: The file with the guard, from the root of the repository.
        old: Text that stands in the file exactly once.
        new: What takes its place.
        test: The test that must fail then, as pytest takes it.
        row: The row of docs/reliability.md that the guard is for.
    """

    guard: str
    file: str
    old: str
    new: str
    test: str
    row: int | None = None

    def __str__(self) -> str:
        return f"{self.guard} {self.file} {self.test}"


def mutations() -> list[Mutation]:
    """Return the mutations of `mutations.toml`, in its order."""
    text = (Path(__file__).parent / "mutations.toml").read_text(encoding="utf-8")
    return [Mutation(**table) for table in tomllib.loads(text)["mutation"]]


def main() -> int:
    """Break the guards that are asked for; return 1 where a test does not notice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only",
        metavar="TEXT",
        action="append",
        default=[],
        help="only mutations whose guard, file or test contains this; may be given several times",
    )
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    options = parser.parse_args()
    chosen = [one for one in mutations() if not options.only or any(text in str(one) for text in options.only)]
    if options.list:
        Console().print(_table([(one, "") for one in chosen]))
        return 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PROCESSES) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(PROCESSES):
            copies.put(_copy(Path(folder, str(number))))
        tests = sorted({one.test for one in chosen})
        shares = [tests[number::PROCESSES] for number in range(PROCESSES)]
        if any(pool.map(lambda share: _in_a_copy(copies, lambda copy: _unbroken(copy, share)), shares)):
            return 1
        results = pool.map(lambda one: _in_a_copy(copies, lambda copy: _verdict(copy, one)), chosen)
        verdicts = list(track(zip(chosen, results, strict=True), "Breaking guards", total=len(chosen)))
    Console().print(_table(verdicts))
    missed = [one for one, verdict in verdicts if verdict != "caught"]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} broken guards were caught.")
    return 1 if missed else 0


def _copy(target: Path) -> Path:
    """Copy the repository, and make sure that Python imports the copy: editable installs lead to the original."""
    shutil.copytree(ROOT, target, ignore=LEFT_OUT)
    packages = ["detloss", *sorted(path.parent.name for path in target.glob("plugins/*/src/*/__init__.py"))]
    program = (
        f"from importlib.util import find_spec; print(*(find_spec(name).origin for name in {packages}), sep='\\n')"
    )
    done = _python(target, "-c", program)
    imported = done.stdout.splitlines()
    if len(imported) != len(packages) or not all(Path(file).is_relative_to(target) for file in imported):
        raise SystemExit(f"The copy in {target} is not what Python imports: {imported or done.stderr}")
    return target


def _in_a_copy(copies: SimpleQueue[Path], run: Callable[[Path], Result]) -> Result:
    copy = copies.get()
    try:
        return run(copy)
    finally:
        copies.put(copy)


def _unbroken(copy: Path, tests: list[str]) -> int:
    """Run the tests of whole guards; each must pass, or its failure would prove nothing."""
    done = _pytest(copy, *tests, timeout=TIMEOUT * len(tests)) if tests else None
    if done is not None and done.returncode:
        print(f"With every guard in place:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return 0 if done is None else done.returncode


def _verdict(copy: Path, mutation: Mutation) -> str:
    file = copy / mutation.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        return f"applies {text.count(mutation.old)} times"
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        done = _pytest(copy, "-x", mutation.test, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "hangs"
    finally:
        file.write_text(text, encoding="utf-8")
    if done.returncode == TESTS_FAILED:
        return "caught"
    return "SURVIVED" if done.returncode == 0 else f"no verdict: pytest ended with {done.returncode}"


def _pytest(copy: Path, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    options = ("-n", "0", "-q", "-p", "no:cacheprovider", "--no-header")
    return _python(copy, "-m", "pytest", *options, *arguments, timeout=timeout)


def _python(copy: Path, *arguments: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    # The copy is the working folder as well: a test that gives a process another PYTHONPATH still imports the copy.
    sources = [copy, *sorted(copy.glob("plugins/*/src"))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "PYTHONDONTWRITEBYTECODE": "1",  # a file changed twice within a second would be taken for unchanged
        "OMP_NUM_THREADS": "1",
        "CI": "1",  # the same examples of every property each time
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=timeout,
    )


def _table(verdicts: list[tuple[Mutation, str]]) -> Table:
    table = Table("row", "guard", "file", "test", "caught")
    for mutation, verdict in verdicts:
        colour = "" if not verdict else "[green]" if verdict == "caught" else "[red]"
        row = "" if mutation.row is None else str(mutation.row)
        table.add_row(row, escape(mutation.guard), mutation.file, mutation.test.rpartition("::")[2], colour + verdict)
    return table


if __name__ == "__main__":
    sys.exit(main())
