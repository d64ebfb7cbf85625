"""What is known of a plugin before and after its import."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from detloss.registry.distributions import Distribution
from detloss.registry.docstring import title
from detloss.registry.source import ClassSource, read_class
from detloss.text import printable

if TYPE_CHECKING:
    from detloss.loss import BoxRegressionLoss


@dataclass(frozen=True, order=True)
class Group:
    """An entry-point group: one kind of plugin.

    Attributes:
        name: Of the group in a package's metadata.
        kind: The word for one of its plugins in messages.
        plural: The word for several.
        interface: ``module:Class``, the base of each plugin's class; it is imported when a plugin is loaded.
    """

    name: str
    kind: str
    plural: str
    interface: str


LOSS_GROUP = Group("detloss.losses", "loss", "losses", "detloss.loss:BoxRegressionLoss")
"""Losses."""
HEAD_GROUP = Group("detloss.heads", "head", "heads", "detloss.heads.base:HeadAdapter")
"""Head adapters."""
GROUPS = (LOSS_GROUP, HEAD_GROUP)
REGISTERED = "(registered)"
"""The package of a loss that `register` named in this process."""


@dataclass(frozen=True, order=True)
class Plugin:
    """An installed package's claim to a name; it is not imported.

    Attributes:
        name: Its name in configs.
        group: Which kind of plugin it is.
        package: The distribution that claims the name; `REGISTERED` for one made in this process.
        version: Of that distribution.
        module: The module of the class.
        attribute: The class in that module.
        location: The distribution's metadata folder; empty for one made in this process.
        distribution: The rest of its metadata; None for one made in this process.
        cls: The class of one made in this process; None for an installed one.
    """

    name: str
    group: Group
    package: str
    version: str
    module: str
    attribute: str
    location: str
    distribution: Distribution | None = field(default=None, repr=False, compare=False)
    cls: type | None = field(default=None, repr=False, compare=False)

    @property
    def description(self) -> str:
        """The docstring's first line in the source, or the package's summary."""
        docstring = self._source.docstring
        if docstring and docstring.strip():
            return printable(docstring.strip().splitlines()[0])
        return "" if self.distribution is None else self.distribution.summary

    @property
    def title(self) -> str:
        """A short name with venue and year, likewise: ``Generalized IoU (CVPR 2019)``."""
        docstring = self._source.docstring
        return title(docstring) if docstring and docstring.strip() else self.description

    @property
    def space(self) -> str:
        """A loss's input: ``"boxes"`` or ``"deltas"``, or ``"?"`` if unknown.

        It is read from the source.
        """
        return printable(self._source.space or "?")

    @property
    def host(self) -> str:
        """The distribution that a head's class comes from, or empty.

        It is read from the source.
        """
        return printable(self._source.host or "")

    @property
    def full_name(self) -> str:
        """``package:name``: selects this plugin even if another package claims the name."""
        return f"{self.package}:{self.name}"

    @property
    def owner(self) -> str:
        """Package and version."""
        return f"{self.package} {self.version}".strip()

    @cached_property
    def _source(self) -> ClassSource:
        if self.cls is not None:
            return ClassSource(f"{self.cls.__doc__ or ''}", getattr(self.cls, "space", None))
        near = None if self.distribution is None else self.distribution.location.parent
        return read_class(self.module, self.attribute, cast("Path", near))


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose class is imported and checked.

    It is a loss, or in `HEAD_GROUP` an adapter.
    """

    plugin: Plugin
    cls: type[BoxRegressionLoss] | Any
