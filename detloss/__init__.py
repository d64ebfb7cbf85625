"""detloss: choose the box-regression loss of a torchvision detector by name.

The public names are in ``__init__.pyi``. Each is imported at its first use: ``import detloss`` loads neither torch
nor pydantic.
"""

from __future__ import annotations

import lazy_loader

from detloss._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
