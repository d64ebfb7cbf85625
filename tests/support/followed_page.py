"""A page of the docs, followed as it is written: every edit, file and command.

What a comment above a block of the page means:

``file: PATH``      the block is the whole file
``edit: PATH``      lines with - are in the file, once and with their neighbors as shown, and become those with +
``part of: PATH``   the block stands in the file as it is
``not run: WHY``    the block is not executed

In a console block the lines after a command are what it prints. There ``...`` stands for anything, a number for any
number (times, losses, versions), space for any space, and lines that are empty or a rule do not count.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import killed
import pytest


class Block(NamedTuple):
    """A fenced block of the page, with the comment above it."""

    what: str
    argument: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?:<!-- ([a-z ]+): (.*?) -->\n)?```(\w+)\n(.*?)```\n", text, re.DOTALL)
    assert text.count("```") == 2 * len(found)
    return [Block(*groups) for groups in found]


def in_shell(command: str, folder: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in a folder, and return its exit code and what it printed."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout


def in_fork(command: str, folder: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Do the same, but `detloss` by itself is a fork of a process that has imported everything: it starts at once."""
    if not re.fullmatch(r"detloss [\w ./=-]+", command):
        return in_shell(command, folder, variables)
    log = Path(variables["HOME"]) / "printed.txt"
    log.unlink(missing_ok=True)
    process = killed.call(_detloss, shlex.split(command), folder, variables, log=log)
    process.join(timeout=300)
    return cast("int", process.exitcode), log.read_text(encoding="utf-8")


class Reader:
    """A person who follows a page in a folder, with programs of `programs` found first, and an empty home."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        run: Callable[[str, Path, Mapping[str, str]], tuple[int, str]] = in_shell,
        **variables: str,
    ) -> None:
        self.folder, self.run = folder, run
        home = folder.parent / "home"
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if not re.match("VIRTUAL_ENV|PYTEST", key)}
        self.variables = {
            **kept,
            "HOME": str(home),
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "PYTHONIOENCODING": "utf-8",
            **variables,
        }

    def follow(self, page: list[Block]) -> None:
        """Follow the blocks of a page, one after the other."""
        for block in page:
            if block.what != "not run":
                self._follow(block)

    def _follow(self, block: Block) -> None:
        path = self.folder / block.argument
        if block.what == "file":
            path.write_text(block.text, encoding="utf-8")
        elif block.what == "part of":
            assert block.text in path.read_text(encoding="utf-8")
        elif block.what == "edit":
            lines = block.text.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            text = path.read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{block.argument} does not have\n{old}\nonce, but:\n{text}"
            path.write_text(text.replace(old, new), encoding="utf-8")
        elif block.language == "console":
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                self._run(command, shown)
        else:
            pytest.fail(f"The test does not know what to do with the {block.language} block\n{block.text}")

    def _run(self, command: str, shown: str) -> None:
        if place := re.fullmatch(r"cd (\S+)", command):
            self.folder /= place[1]
            return
        code, printed = self.run(command, self.folder, self.variables)
        assert code == 0, f"{command}\n{printed}"
        assert matches(printed, shown), f"{command}\nprints\n{printed}\nand the page shows\n{shown}"


def matches(printed: str, shown: str) -> bool:
    """Return whether output is as shown, as the top of this file says."""
    pattern = "".join(
        "(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n" for line in _plain(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(printed))) is not None


def _detloss(arguments: list[str], folder: Path, variables: Mapping[str, str]) -> None:
    from detloss.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    warnings.resetwarnings()
    sys.argv = arguments
    sys.exit(main())


def _plain(text: str) -> list[str]:
    # pytest draws a dot a test, which "..." must not be taken for, and repeats what took over a minute as h:mm:ss.
    drawn = re.sub(r"\.{4,}", ".", re.sub(r" \(\d+:\d\d:\d\d\)$", "", text, flags=re.MULTILINE))
    # Thousands are set apart by a space.
    numbered = re.sub(r"\d+(?:[ \u202f]\d{3})*", "0", drawn)
    lines = [" ".join(line.split()) for line in numbered.splitlines()]
    return [line for line in lines if line.strip("\u2500")]
