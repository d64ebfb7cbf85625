"""What `detloss doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        kind: ``"metadata"``, ``"conflict"``, ``"allow-list"``, ``"load"``, ``"slow"``, ``"prints"``, ``"library"`` or
            ``"compiler"``.
        subject: Who: a package, a library, a plugin's name, a program.
        message: What is wrong, and what to do about it.
        path: The file or folder where that is; empty where there is none.
        line: The line in that file, from 1, where one can be named.
        wrong: False for a note: everything works, and it is worth knowing.
    """

    kind: str
    subject: str
    message: str
    path: str = ""
    line: int | None = None
    wrong: bool = True

    @property
    def where(self) -> str:
        """``path:line``, or as much of it as there is."""
        return self.path if self.line is None else f"{self.path}:{self.line}"
