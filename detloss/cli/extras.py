"""What a command does while optional packages are imported, and where one is not installed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from detloss.errors import DetlossError


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Say which extra of detloss to install where an import of this block fails; a terminal shows that it goes on.

    Args:
        extra: Its name, as in ``detloss[train]``.
        what: What cannot be done without it: the beginning of the error.
    """
    from detloss.cli.output import stderr  # noqa: PLC0415 - a listing has no use for rich

    waiting = sys.stderr is not None and sys.stderr.isatty()  # torch and Lightning take up to ten seconds
    try:
        with stderr().status("Loading libraries") if waiting else nullcontext():
            yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("detloss"):
            raise
        raise DetlossError(
            f"{what} needs {error.name}, which is not installed. Run\n  pip install 'detloss[{extra}]'"
        ) from error
