"""Finds plugins in package metadata without importing them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from detloss._version import __version__
from detloss.errors import AllowListError
from detloss.registry.allow_list import VARIABLE, AllowList, read_allow_list
from detloss.registry.distributions import Distribution, Problem, normalized
from detloss.registry.entry_points import read_groups
from detloss.registry.plugin import GROUPS, REGISTERED, Group, Plugin
from detloss.registry.requirements import unmet
from detloss.text import clipped, printable


@dataclass(frozen=True)
class Scan:
    """What is installed.

    Attributes:
        plugins: Of all groups, sorted by name, then package: the order of ``sys.path`` does not matter.
        problems: What is refused or broken, and why; sorted by path and line.
        left_out: Plugins that ``DETLOSS_PLUGINS`` does not allow, sorted like `plugins`.
        allow_list_error: The error of ``DETLOSS_PLUGINS``, which then allows nothing; it is a problem too.
    """

    plugins: tuple[Plugin, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[Plugin, ...] = ()
    allow_list_error: AllowListError | None = None

    def of(self, group: Group) -> Scan:
        """Return the same with the plugins of one group only."""
        plugins, left_out = (
            tuple(one for one in found if one.group == group) for found in (self.plugins, self.left_out)
        )
        return replace(self, plugins=plugins, left_out=left_out)

    @property
    def conflicts(self) -> dict[str, tuple[Plugin, ...]]:
        """Names that more than one package claims in one group."""
        claims: dict[tuple[Group, str], tuple[Plugin, ...]] = {}
        for plugin in self.plugins:
            key = plugin.group, plugin.name
            claims[key] = (*claims.get(key, ()), plugin)
        return {name: found for (_, name), found in claims.items() if len(found) > 1}


def scan(path: Iterable[object] | None = None) -> Scan:
    """Find all plugins in ``path`` (default: ``sys.path``), and all problems.

    Nothing is imported or raised.
    """
    reading = read_groups([group.name for group in GROUPS], path)
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
        for group in GROUPS
        for entry in reading.entries[group.name]
    ]
    problems = reading.problems
    try:
        allow_list = read_allow_list()
        if allow_list is not None:
            faulty = {normalized(problem.who) for problem in problems}
            allow_list.check(_offers(claims), reading.installed.keys(), faulty)
        wrong = None
    except AllowListError as error:
        allow_list, wrong = AllowList(), error
        problems.append(Problem(str(wrong).removeprefix(f"{VARIABLE} "), VARIABLE, kind="allow-list"))
    plugins: list[Plugin] = []
    left_out: list[Plugin] = []
    for claim in claims:
        allowed = allow_list is None or _is_own(claim) or allow_list.allows(claim.package, claim.name)
        (plugins if allowed else left_out).append(claim)
    problems += _unmet_problems(plugins, reading.installed)
    return Scan(
        tuple(sorted(plugins)),
        tuple(sorted(problems, key=lambda one: (one.path, one.line or 0, one.message))),
        tuple(sorted(left_out)),
        wrong,
    )


def _offers(claims: list[Plugin]) -> dict[str, set[str]]:
    offers: dict[str, set[str]] = {}
    for claim in claims:
        offers.setdefault(normalized(claim.package), set()).add(claim.name)
    return offers


def _is_own(claim: Plugin) -> bool:
    """Tell if a plugin belongs to the running program.

    Only its code decides: any package can claim any name.
    """
    return normalized(claim.package) == "detloss" and claim.module.startswith("detloss.")


def contested(claims: Iterable[Plugin]) -> str:
    """Say who claims a name, with the fix; continues the name."""
    claims = list(claims)
    packages = " and ".join(
        f"{plugin.owner} ({printable(plugin.location)})"
        if plugin.package != REGISTERED
        else f"{printable(f'{plugin.module}.{plugin.attribute}')}, registered in this process"
        for plugin in claims
    )
    if any(plugin.package == REGISTERED for plugin in claims):
        advice = "Fix: register yours under another name: `register(cls, name=...)`."
    else:
        advice = f"Fix: write {' or '.join(repr(plugin.full_name) for plugin in claims)}, or uninstall one of them."
    return f"is claimed by {packages}. {advice}"


def _unmet_problems(plugins: list[Plugin], installed: Mapping[str, Distribution]) -> Iterator[Problem]:
    """Report requirements that are missing or of another version."""
    versions = {key: found.version for key, found in installed.items()} | {"detloss": __version__}
    for distribution in {plugin.location: plugin.distribution for plugin in plugins}.values():
        if distribution is None:
            continue
        name, version = distribution.name, distribution.version
        for requirement, there, flaw in unmet(distribution.requires, versions):
            shown = printable(requirement)
            if flaw:
                what = f"{name} {version} requires '{clipped(shown)}', which is unreadable ({flaw}). Tell its authors."
            else:
                what = (
                    f"{name} {version} requires {shown}, but "
                    f"{'it is not installed' if there is None else f'{there} is installed'}. Fix: "
                    f"`python -m pip install '{shown}'`, or install another version of {name}."
                )
            yield Problem(what, name, str(distribution.location))
