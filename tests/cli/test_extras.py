from __future__ import annotations

from pathlib import Path

from terminal import in_terminal


def test_a_terminal_shows_that_libraries_are_loading(tmp_path: Path) -> None:
    """While torch and Lightning are imported, a terminal says so; what comes then is not hidden by it."""
    done = in_terminal("evaluate", str(tmp_path / "none"), columns=300)
    before, _, after = done.stdout.rpartition("Loading libraries")
    assert before
    assert "it does not exist" in after
    assert done.returncode == 1
