"""The state of a run, read only from its folder.

No engine and no driver keeps anything important.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from detloss.compare.plan import Run
from detloss.text import one_line
from detloss.training.folder import PREDICTIONS, is_locked, is_whole, write_config, write_text

State = Literal["waiting", "running", "interrupted", "finished", "failed"]
"""``waiting``: not begun, or not up to its first checkpoint; ``running``: some process trains it at this moment."""
SETTLED = ("finished", "failed")
LOG = "log.txt"
"""What the run's processes printed."""
FAILED = "failed.json"
"""Why a run failed, next to its config."""
DROPPED = "dropped.json"
"""After how many seeds the race dropped an arm, in the arm's folder."""


def state_of(run: Run, split: str) -> State:
    """What has become of a run whose predictions in `split` are wanted."""
    folder = run.folder
    if final_numbers(run) and _has_predictions(folder, split):
        return "finished"
    if is_locked(folder):
        return "running"
    if (folder / FAILED).exists():
        return "failed"
    return "interrupted" if (folder / "last.ckpt").exists() else "waiting"


def final_numbers(run: Run) -> dict[str, Any]:
    """What a finished run's metrics.json holds; nothing before."""
    return read_json(run.folder / "metrics.json") or {}


def final_ap(run: Run, split: str) -> float:
    """The AP that decides for a run; NaN without one."""
    numbers = final_numbers(run).get("test" if split == "test" else "last", {})
    return float(numbers.get("AP", math.nan))


def prepare(run: Run, within: Path) -> None:
    """Make the run's folder and config, so one command starts and resumes.

    Paths within the comparison's folder `within` are relative: it can be moved with its data.
    """
    if not (run.folder / "config.yaml").exists():
        write_config(run.folder, run.config, within)


def write_failure(run: Run, reason: str, code: int) -> None:
    """Note that a run failed, and why: it is not started again."""
    write_text(run.folder / FAILED, json.dumps({"reason": reason, "exit": code}) + "\n")


def reason_in(log: Path) -> str:
    """Why a run ended: its last error message or printed line."""
    lines = tail(log, 4000).strip().splitlines() or ["it printed nothing"]
    errors = [number for number, line in enumerate(lines) if "Error: " in line]
    return one_line("\n".join(lines[errors[-1] if errors else -1 :]).removeprefix("Error: "), 200)


def tail(log: Path, size: int) -> str:
    """The last `size` bytes of a text file, or an empty text."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - size))
        return file.read().decode(errors="replace")


def dropped_after(folder: Path) -> int | None:
    """Seeds after which the race dropped this arm, or None."""
    found = read_json(folder / DROPPED)
    return int(found["after"]) if found else None


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a small JSON file; None if missing or incomplete."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def packed(predictions: Path) -> Path:
    """The compressed file that may replace a run's predictions."""
    return predictions.with_name(f"{predictions.name}.gz")


def _has_predictions(folder: Path, split: str) -> bool:
    file = folder / PREDICTIONS[split]
    return is_whole(file) or packed(file).exists()
