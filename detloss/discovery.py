"""Plugins, found in the metadata of installed packages: nothing of a plugin is imported until it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from detloss.allow_list import VARIABLE, AllowList, read_allow_list
from detloss.entry_points import Reading, read_group
from detloss.errors import AllowListError
from detloss.metadata import Distribution, Problem, normalized, printable, unmet

if TYPE_CHECKING:
    from detloss.loss import BoxRegressionLoss
    from detloss.source import ClassSource

LOSS_GROUP = "detloss.losses"
"""Entry-point group of losses."""
HEAD_GROUP = "detloss.heads"
"""Entry-point group of head adapters."""
REGISTERED = "(registered)"
"""Stands for the package of a loss that `register` named in this process."""


@dataclass(frozen=True, order=True)
class Plugin:
    """An installed package's claim to a name; nothing of it is imported.

    Attributes:
        name: What a config calls it.
        group: `LOSS_GROUP` or `HEAD_GROUP`.
        package: The distribution that claims the name; `REGISTERED` for one made in this process.
        version: Of that distribution.
        module: Where the class is.
        attribute: The class in that module.
        location: The distribution's metadata folder; empty for one made in this process.
        distribution: What else its metadata says; None for one made in this process.
        cls: The class of one made in this process; None for an installed one, which `load` imports.
    """

    name: str
    group: str
    package: str
    version: str
    module: str
    attribute: str
    location: str
    distribution: Distribution | None = field(default=None, repr=False, compare=False)
    cls: type | None = field(default=None, repr=False, compare=False)

    @property
    def description(self) -> str:
        """The first line of the class docstring, read from the source; else the package's summary."""
        docstring = self._source.docstring
        if docstring and docstring.strip():
            return printable(docstring.strip().splitlines()[0])
        return "" if self.distribution is None else self.distribution.summary

    @property
    def space(self) -> str:
        """What a loss is fed, ``"boxes"`` or ``"deltas"``, read from the source; ``"boxes"`` where it says nothing."""
        return printable(self._source.space or "boxes")

    @property
    def full_name(self) -> str:
        """``package:name``, which selects this plugin even where another package claims the name."""
        return f"{self.package}:{self.name}"

    def load(self) -> LoadedPlugin:
        """Import the class and check that it is what its group promises.

        Raises:
            PluginLoadError: The import fails in any way, ``SystemExit`` included, or the target is no such class.
        """
        from detloss.loading import load_class  # noqa: PLC0415 - a listing loads nothing

        return LoadedPlugin(self, load_class(self) if self.cls is None else self.cls)

    @cached_property
    def _source(self) -> ClassSource:
        from detloss.source import ClassSource, read_class  # noqa: PLC0415 - `get_plugin` has no use for it

        if self.cls is not None:
            return ClassSource(self.cls.__doc__, getattr(self.cls, "space", None))
        near = None if self.distribution is None else self.distribution.location.parent
        return read_class(self.module, self.attribute, cast("Path", near))


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose class is imported and checked."""

    plugin: Plugin
    cls: type[BoxRegressionLoss]


@dataclass(frozen=True)
class Scan:
    """What is installed in one group.

    Attributes:
        plugins: Sorted by name, then package, so that nothing depends on the order of ``sys.path``.
        problems: What was refused or cannot work, and why; sorted by path and line.
        left_out: Plugins that ``DETLOSS_PLUGINS`` does not allow; sorted likewise.
        allow_list_error: What is wrong with ``DETLOSS_PLUGINS`` itself, which then allows nothing; a problem as well.
    """

    plugins: tuple[Plugin, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[Plugin, ...] = ()
    allow_list_error: AllowListError | None = None

    @property
    def conflicts(self) -> dict[str, tuple[Plugin, ...]]:
        """Each name that more than one package claims, with all its claims."""
        return {name: found for name, found in _by_name(self.plugins).items() if len(found) > 1}


def scan(group: str = LOSS_GROUP, path: Iterable[object] | None = None) -> Scan:
    """Find the plugins of a group, and what is wrong with them, without importing anything. It does not raise.

    Args:
        group: `LOSS_GROUP` or `HEAD_GROUP`.
        path: Folders and archives to search instead of ``sys.path``.
    """
    path = None if path is None else list(path)
    reading = read_group(group, path)
    claims = [
        Plugin(
            name=entry.name,
            group=group,
            package=entry.distro.name,
            version=entry.distro.version,
            module=entry.module_name,
            attribute=entry.object_name,
            location=str(entry.distro.location),
            distribution=entry.distro,
        )
        for entry in reading.entries
    ]
    try:
        allow_list, wrong = _allow_list(group, reading, path), None
    except AllowListError as error:
        allow_list, wrong = AllowList(), error
    plugins = [one for one in claims if allow_list is None or allow_list.allows(one.package, one.name)]
    problems = [*reading.problems, *_unmet_problems(plugins, reading.installed)]
    if wrong is not None:
        problems.append(Problem(str(wrong).removeprefix(f"{VARIABLE} "), "", VARIABLE))
    return Scan(
        tuple(sorted(plugins)),
        tuple(sorted(problems, key=lambda one: (one.path, one.line or 0, one.message))),
        tuple(sorted(set(claims) - set(plugins))),
        wrong,
    )


def _allow_list(group: str, reading: Reading, path: list[object] | None) -> AllowList | None:
    allow_list = read_allow_list()
    if allow_list is not None:
        # An entry may be about the other group's plugins: only both together say what is a slip.
        others = read_group(LOSS_GROUP if group == HEAD_GROUP else HEAD_GROUP, path)
        offers: dict[str, set[str]] = {}
        for entry in [*reading.entries, *others.entries]:
            offers.setdefault(entry.distro.key, set()).add(entry.name)
        faulty = {normalized(problem.package) for problem in [*reading.problems, *others.problems]}
        allow_list.check(offers, reading.installed.keys(), faulty)
    return allow_list


def contested(claims: Iterable[Plugin]) -> str:
    """Say who claims a name, and what a config or a program can do about it; the sentence goes on after the name."""
    claims = list(claims)
    packages = " and ".join(
        f"{plugin.package} {plugin.version} ({plugin.location})"
        if plugin.package != REGISTERED
        else f"{plugin.module}.{plugin.attribute}, registered in this process"
        for plugin in claims
    )
    if any(plugin.package == REGISTERED for plugin in claims):
        advice = "Register yours under another name: `register(cls, name=...)`."
    else:
        advice = f"Write {' or '.join(repr(plugin.full_name) for plugin in claims)}, or uninstall one of them."
    return f"is claimed by {packages}. {advice}"


def _by_name(plugins: Iterable[Plugin]) -> dict[str, tuple[Plugin, ...]]:
    found: dict[str, tuple[Plugin, ...]] = {}
    for plugin in plugins:
        found[plugin.name] = (*found.get(plugin.name, ()), plugin)
    return found


def _unmet_problems(plugins: list[Plugin], installed: Mapping[str, Distribution]) -> list[Problem]:
    """Say which packages cannot work here because something that they require is missing or of another version."""
    from detloss import __version__  # noqa: PLC0415 - the package imports this module

    versions = {key: found.version for key, found in installed.items()} | {"detloss": __version__}
    problems = []
    for distribution in {plugin.location: plugin.distribution for plugin in plugins}.values():
        if distribution is None:
            continue
        for requirement, version in unmet(distribution.requires, versions):
            what = (
                f"{distribution.name} {distribution.version} requires {printable(requirement)}, and "
                f"{'it is not installed' if version is None else f'{version} is installed'}: "
                f"`python -m pip install '{printable(requirement)}'`, or another version of {distribution.name}."
            )
            problems.append(Problem(what, distribution.name, str(distribution.location)))
    return problems
