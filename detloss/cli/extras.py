"""What a command does where an optional package is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from detloss.errors import DetlossError


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Say which extra of detloss to install where an import of this block fails.

    Args:
        extra: Its name, as in ``detloss[train]``.
        what: What cannot be done without it: the beginning of the error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("detloss"):
            raise
        raise DetlossError(
            f"{what} needs {error.name}, which is not installed. Run\n  pip install 'detloss[{extra}]'"
        ) from error
