"""The published comparisons: what the page says of them is what their files say, and they can be repeated."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from detloss.compare.comparing import analyzed, planned
from detloss.compare.plan import load_compare, read_compare
from detloss.compare.result_file import RESULT, read_comparison

DOCS = Path(__file__).resolve().parent.parent / "docs"
FOLDERS = sorted(file.parent for file in (DOCS / "evidence").glob("*/compare.yaml"))
KEPT = {"config.yaml", "metrics.json", "metrics.jsonl", "predictions-test.json.gz", "provenance.json"}
MOST_BYTES = 300_000
"""Of the records of one run."""

every_comparison = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def test_the_page_is_up_to_date() -> None:
    """docs/evidence/README.md shows the numbers of each compare.json; if not, the message names the command."""
    runpy.run_path(str(DOCS / "generate_evidence.py"))["main"](["--check"])


@every_comparison
def test_the_config_is_that_of_the_comparison(folder: Path) -> None:
    """The config that the page gives to repeat a comparison has the losses and seeds of the one that was made."""
    asked, made = load_compare(folder / "comparison.yaml"), read_compare(folder)
    assert [arm.title for arm in asked.losses] == [arm.title for arm in made.losses]
    assert asked.all_seeds == made.all_seeds
    assert asked.race == made.race


@pytest.mark.slow
def test_the_records_say_what_is_published(tmp_path: Path) -> None:
    """Analyzed again, the runs on synthetic images give every number and sentence of their compare.json."""
    folder = Path(shutil.copytree(DOCS / "evidence" / "synthetic", tmp_path / "synthetic"))
    published = read_comparison(folder / RESULT)
    again = analyzed(planned(resume=folder)).comparison
    measured = again.measured.model_copy(update={"analyzed": published.measured.analyzed})
    assert again.model_copy(update={"measured": measured}) == published


@every_comparison
def test_the_records_are_small_and_hold_no_path_of_a_machine(folder: Path) -> None:
    """Each finished run has its config, versions, metrics and packed predictions, in at most 300 kB."""
    runs = [file.parent for file in folder.glob("runs/*/*/metrics.json")]
    assert runs
    for run in runs:
        files = [file for file in run.iterdir() if file.name in KEPT]
        assert {file.name for file in files} == KEPT
        assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    for file in [folder / "compare.yaml", *(run / name for run in runs for name in ("config.yaml", "provenance.json"))]:
        assert not [word for word in ("/tmp", "/home", "/root", "/Users") if word in file.read_text(encoding="utf-8")]
