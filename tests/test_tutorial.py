"""The tutorial, executed as it is written in a fresh environment; `followed_page` says how.

The page's config is marked as ``yml``: `test_docs.py` takes each ``yaml`` block for one whose losses are installed.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from followed_page import Reader, blocks, matches

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"


def torch_requires(folder: Path) -> Path:
    """Return a folder with a link to setuptools, which a fresh environment has too old for torch, if at all."""
    links = folder / "links"
    links.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).glob("setuptools*"):
        (links / entry.name).symlink_to(entry)
    return links


@pytest.mark.slow
def test_the_tutorial_works_as_written(fresh_environment: Any, detloss_wheels: Any, tmp_path: Path) -> None:
    """A reader who does what the page says gets what it shows, from `detloss new` to the wheel installed elsewhere."""
    work = tmp_path / "work"
    work.mkdir()
    reader = Reader(
        work,
        fresh_environment.bin,
        # Without a network: what packages depend on is there already, and detloss comes from its wheels.
        PYTHONPATH=os.pathsep.join([str(fresh_environment.folder / "dependencies"), str(torch_requires(tmp_path))]),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=" ".join(str(wheel.parent) for wheel in detloss_wheels.values()),
        PIP_NO_BUILD_ISOLATION="0",  # pip reads the value of a --no-... option as that of its opposite
        PIP_DISABLE_PIP_VERSION_CHECK="1",
    )
    reader.follow(blocks(PAGE))
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
    assert [block.argument for block in blocks(PAGE) if block.what == "not run"] == ["it uploads"]
    assert len(blocks(PAGE)) > 10


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
