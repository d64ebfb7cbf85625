"""What `detloss new` writes: a complete plugin package, from a template that ships inside detloss.

`write_plugin` makes a package of the answers to the template's questions, `update_plugin` brings a later template's
improvements into one and keeps its author's edits. Both are copier's work: its extra is ``detloss[new]``.

``templates/`` holds every released version of the template, ``v1`` and on. Copier merges three ways, and for that it
renders the version that a package came from once more; so a released version stays as it is, for good. The tests hold
the commit of each (``tests/test_scaffold_released.py``).
"""

from __future__ import annotations

from detloss.scaffold.package import Update, update_plugin, write_plugin
from detloss.scaffold.repository import refresh_repository

__all__ = ["Update", "refresh_repository", "update_plugin", "write_plugin"]
