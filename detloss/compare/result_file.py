"""``compare.json``: what a comparison found, written and read."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from pydantic import ValidationError

from detloss.compare.result import Comparison
from detloss.errors import ConfigError
from detloss.text import reason
from detloss.training.folder import write_errors, write_text

RESULT = "compare.json"


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write ``compare.json``: equal runs give equal bytes, except for `measured`.

    Raises:
        DetlossError: it cannot be written.
    """
    with write_errors():
        write_text(path, comparison.model_dump_json(indent=1) + "\n")


def read_comparison(path: Path) -> Comparison:
    """Read ``compare.json``.

    Raises:
        ConfigError: it is missing, damaged, or of another version of detloss.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}. Fix: run `detloss compare` first.") from error
    except (ValueError, RecursionError):
        content = None
    version = content.get("schema_version") if isinstance(content, dict) else None
    what = "it is damaged, or something else"
    if version == 1:
        try:
            return Comparison.model_validate(content)
        except ValidationError:
            pass
    elif version is not None:
        what = f"its schema_version is {version!r}, expected 1"
    raise ConfigError(
        f"{path} is not what a comparison found: {what}. Fix: move it away. To write it again from the runs:\n"
        f"  detloss compare --resume {shlex.quote(str(path.parent))}"
    )
