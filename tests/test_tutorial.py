"""The tutorial, executed as it is written: every edit, file and command, in a fresh environment.

What a comment above a block of the page means:

``file: PATH``      the block is the whole file
``edit: PATH``      lines with - are in the file, once and with their neighbours as shown, and become those with +
``part of: PATH``   the block stands in the file as it is
``not run: WHY``    the block is not executed

In a console block the lines after a command are what it prints. There ``...`` stands for anything, a number for any
number (times, losses, versions), space for any space, and lines that are empty or a rule do not count.

The page's config is marked as ``yml``: `test_docs.py` takes each ``yaml`` block for one whose losses are installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"


class Block(NamedTuple):
    """A fenced block of the page, with the comment above it."""

    what: str
    argument: str
    language: str
    text: str


def blocks() -> list[Block]:
    pattern = r"(?:<!-- ([a-z ]+): (.*?) -->\n)?```(\w+)\n(.*?)```\n"
    found = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [Block(*groups) for groups in found]


class Reader:
    """Somebody who follows the page: in a folder, with an environment of which the programs are found first."""

    def __init__(self, folder: Path, environment: Any, wheels: dict[str, Path]) -> None:
        self.folder = folder
        home = folder.parent / "home"
        home.mkdir()
        kept = {key: value for key, value in os.environ.items() if not re.match("VIRTUAL_ENV|PYTEST", key)}
        self.variables = {
            **kept,
            "HOME": str(home),
            "PATH": os.pathsep.join([str(environment.bin), os.environ["PATH"]]),
            "PYTHONIOENCODING": "utf-8",
            # Without a network: what packages depend on is there already, and detloss comes from its wheels.
            "PYTHONPATH": os.pathsep.join(
                [str(environment.folder / "dependencies"), str(torch_requires(folder.parent))]
            ),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": " ".join(str(wheel.parent) for wheel in wheels.values()),
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the value of a --no-... option as that of its opposite
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def follow(self, block: Block) -> None:
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
                self.run(command, shown)
        else:
            pytest.fail(f"The test does not know what to do with the {block.language} block\n{block.text}")

    def run(self, command: str, shown: str) -> None:
        if place := re.fullmatch(r"cd (\S+)", command):
            self.folder /= place[1]
            return
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        assert matches(done.stdout, shown), f"{command}\nprints\n{done.stdout}\nand the page shows\n{shown}"


def torch_requires(folder: Path) -> Path:
    """Return a folder with a link to setuptools, which a fresh environment has too old for torch, if at all."""
    links = folder / "links"
    links.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).glob("setuptools*"):
        (links / entry.name).symlink_to(entry)
    return links


def matches(printed: str, shown: str) -> bool:
    """Return whether output is as shown, as the top of this file says."""
    pattern = "".join(
        "(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n" for line in plain(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in plain(printed))) is not None


def plain(text: str) -> list[str]:
    # pytest draws a dot a test, which "..." must not be taken for, and repeats what took over a minute as h:mm:ss.
    drawn = re.sub(r"\.{4,}", ".", re.sub(r" \(\d+:\d\d:\d\d\)$", "", text, flags=re.MULTILINE))
    # Thousands are set apart by a space.
    numbered = re.sub(r"\d+(?:[ \u202f]\d{3})*", "0", drawn)
    lines = [" ".join(line.split()) for line in numbered.splitlines()]
    return [line for line in lines if line.strip("\u2500")]


@pytest.mark.slow
def test_the_tutorial_works_as_written(fresh_environment: Any, detloss_wheels: Any, tmp_path: Path) -> None:
    """A reader who does what the page says gets what it shows, from `detloss new` to the wheel installed elsewhere."""
    work = tmp_path / "work"
    work.mkdir()
    reader = Reader(work, fresh_environment, detloss_wheels)
    for block in blocks():
        if block.what != "not run":
            reader.follow(block)
    assert (work / "detloss-power-iou" / "runs" / "first" / "metrics.json").exists()
    shown = subprocess.run(
        [work / "elsewhere" / "bin" / "python", "-c", "import detloss; print(detloss.__file__)"],
        cwd=work,
        env=reader.variables,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert Path(shown.stdout.strip()).is_relative_to(work / "elsewhere"), "pip installed detloss there too"


def test_only_what_needs_the_network_is_left_out() -> None:
    """One block is not executed: the one that uploads."""
    assert [block.argument for block in blocks() if block.what == "not run"] == ["it uploads"]
    assert len(blocks()) > 10
    assert PAGE.read_text(encoding="utf-8").count("```") == 2 * len(blocks())


@pytest.mark.parametrize(
    ("printed", "shown", "expected"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\n", False),
        ("a\n", "b\n", False),
        ("a   b  \n\n", "a b\n", True),
        ("a x c\n", "a ... c\n", True),
        ("a x\ny c\n", "a ... c\n", False),
        ("a\nx\ny\nz\n", "a\n...\nz\n", True),
        ("a\nx\nz\ny\n", "a\n...\nz\n", False),
        ("12 checks, 1\u202f234 values\n", "3 checks, 5 678 values\n", True),
        ("no checks\n", "3 checks\n", False),
        ("......... [100%]\n9 passed in 81.65s (0:01:21)\n", "........ [100%]\n8 passed in 2.45s\n", True),
        ("", "", True),
        ("x\n", "", False),
    ],
)
def test_output_is_compared(printed: str, shown: str, expected: bool) -> None:
    """Output that differs from what the page shows is noticed, in a line and in the number of lines."""
    assert matches(printed, shown) is expected
