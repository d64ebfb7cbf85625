"""`detloss plot`: files, numbers, and what goes wrong."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
SVG = "{http://www.w3.org/2000/svg}"


def words(file: Path) -> set[str]:
    """The texts of an SVG."""
    return {"".join(element.itertext()).strip() for element in ET.parse(file).iter(f"{SVG}text")}


def test_pictures_are_written(run_detloss: Run, tmp_path: Path) -> None:
    """Each kind is an SVG and a PNG with every loss in it, a spec with parameters too; the table has their numbers."""
    spec = "{name: nwd, constant: 70}"
    code, out, err = run_detloss("plot", "iou", spec, "--output", str(tmp_path / "p"))
    assert (code, err) == (0, "")
    files = {tmp_path / "p" / f"{kind}.{end}" for kind in ("curves", "fields", "simulation") for end in ("svg", "png")}
    assert set((tmp_path / "p").iterdir()) == files
    assert all(str(file) in out for file in files)
    for file in files:
        if file.suffix == ".svg":
            assert {"iou", spec} <= words(file)
        else:
            with Image.open(file) as image:
                assert image.width > 500
                assert image.convert("L").getextrema() == pytest.approx((0, 255), abs=40)
    (row,) = (line.split() for line in out.splitlines() if line.startswith("iou "))
    assert row[1:3] == ["83%", "0%"]  # all but 7 x 7 of 17 x 17 centers


def test_numbers_as_json(run_detloss: Run, tmp_path: Path) -> None:
    """With --json stdout is the numbers of the kinds that were asked for, and the files."""
    only = ("--only", "curves", "--only", "fields")
    code, out, _ = run_detloss("plot", "giou", *only, "--json", "--output", str(tmp_path))
    found = json.loads(out)
    assert code == 0
    assert found["losses"].keys() == {"giou"}
    giou = found["losses"]["giou"]
    assert giou.keys() == {"curves", "fields"}
    slide = dict(zip(giou["curves"]["slide"]["at"], giou["curves"]["slide"]["value"], strict=True))
    assert slide[3.0] == pytest.approx(1.5)
    assert giou["fields"]["center"]["dead"] == 0
    assert [Path(file).name for file in found["files"]] == ["curves.svg", "curves.png", "fields.svg", "fields.png"]


def test_a_picture_is_the_same_each_time(run_detloss: Run, tmp_path: Path) -> None:
    """Two runs write the same bytes."""
    for folder in ("a", "b"):
        run_detloss("plot", "l1", "ciou", "--only", "fields", "--output", str(tmp_path / folder))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


THIRD = """
    from torch import nan

    from detloss.boxes import iou
    from detloss.loss import BoxRegressionLoss


    class Half(BoxRegressionLoss):
        "Half IoU (Doe, 2024)."

        def forward(self, pred, target):
            return (1 - iou(pred, target)) / 2


    class Failing(BoxRegressionLoss):
        "Raises (Doe, 2024)."

        def forward(self, pred, target):
            raise KeyError("here")


    class Bad(BoxRegressionLoss):
        "NaN everywhere (Doe, 2024)."

        def forward(self, pred, target):
            return (pred - target).abs().sum(dim=1) * nan
"""


@pytest.fixture
def third(packages: Any) -> None:
    """An installed package of a third party, with a loss, one that raises and one that is NaN."""
    losses = {name.lower(): f"third:{name}" for name in ("Half", "Failing", "Bad")}
    packages.add("third-losses", losses=losses, modules={"third.py": THIRD}, requires=("detloss>=0.1,<0.2",))


@pytest.mark.usefixtures("third")
def test_a_third_partys_loss_is_drawn(run_detloss: Run, tmp_path: Path) -> None:
    """An installed loss of a third party is drawn from its own forward."""
    code, out, _ = run_detloss("plot", "half", "iou", "--only", "curves", "--json", "--output", str(tmp_path))
    assert code == 0
    half, whole = (json.loads(out)["losses"][name]["curves"]["grow"]["value"] for name in ("half", "iou"))
    assert half == pytest.approx([value / 2 for value in whole])


@pytest.mark.usefixtures("third")
def test_a_loss_without_values(run_detloss: Run, tmp_path: Path) -> None:
    """A loss that is NaN is drawn all the same, and its numbers are null in JSON."""
    code, out, _ = run_detloss(
        "plot", "bad", "--only", "curves", "--only", "fields", "--json", "--output", str(tmp_path)
    )
    assert code == 0
    assert set(json.loads(out)["losses"]["bad"]["curves"]["grow"]["value"]) == {None}


@pytest.mark.usefixtures("third")
def test_a_loss_that_raises_is_named(run_detloss: Run, tmp_path: Path) -> None:
    """The error names plugin, package and line, and nothing is written."""
    code, out, err = run_detloss("plot", "failing", "iou", "--output", str(tmp_path / "p"))
    assert (code, out) == (1, "")
    assert "third-losses" in err
    assert "raised KeyError: 'here'" in err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["giuo"], 1, "Did you mean 'giou'?"),
        (["{name: nwd, constnat: 3}"], 1, "did you mean 'constant'?"),
        ([], 2, "LOSSES"),
        (["giou", "--only", "photo"], 2, "'curves', 'fields', 'simulation'"),
    ],
)
def test_what_cannot_be_drawn(run_detloss: Run, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    """An unknown loss, parameter or kind is an error with the near name or the choices; nothing is written."""
    found, out, err = run_detloss("plot", *arguments, "--output", str(tmp_path / "p"))
    assert (found, out) == (code, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "p").exists()


def test_a_folder_that_cannot_be_written(run_detloss: Run, tmp_path: Path) -> None:
    """A file in the place of the folder is an error with a fix."""
    (tmp_path / "p").write_text("")
    code, _, err = run_detloss("plot", "giou", "--only", "curves", "--output", str(tmp_path / "p"))
    assert code == 1
    assert "cannot be written" in err
    assert "Fix: choose another folder." in err
