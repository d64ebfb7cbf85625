"""`detloss doctor`: finds and explains problems of the installed plugins.

This process imports neither torch nor pydantic nor any plugin, so it works if one of them is broken. Other processes
load them (`detloss.doctor.processes`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detloss.doctor.environment import compiler_findings, describe, library_findings
from detloss.doctor.processes import TIMEOUT, Loading, Outcome, load_apart
from detloss.registry.allow_list import VARIABLE
from detloss.registry.distributions import Problem
from detloss.registry.loading import NOT_IMPORTED
from detloss.registry.plugin import HEAD_GROUP, LOSS_GROUP, Group, Plugin
from detloss.registry.scan import Scan, contested, scan

__all__ = ["SLOW", "TIMEOUT", "Diagnosis", "Loading", "Outcome", "examine", "load_apart"]

SLOW = 1.0
"""Seconds of a plugin's own import from which it counts as slow. torch takes one to three seconds; one more is noticed
at every start. A loss that only defines a class takes some milliseconds."""


@dataclass(frozen=True)
class Diagnosis:
    """The result of `examine`.

    Attributes:
        findings: Problems first, then notes.
        environment: Name -> version; empty if there is none.
        outcomes: The result of loading each plugin.
        left_out: Plugins that `DETLOSS_PLUGINS` does not allow; they were not imported.
    """

    findings: tuple[Problem, ...]
    environment: dict[str, str]
    outcomes: tuple[Outcome, ...]
    left_out: tuple[Plugin, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.wrong for finding in self.findings)


def examine(timeout: float = TIMEOUT, progress: Callable[[str], None] = lambda _: None) -> Diagnosis:
    """Check the metadata of all packages, and load each allowed plugin.

    Args:
        timeout: Seconds for the import of one plugin.
        progress: Gets short messages on the current step.
    """
    installed = scan()
    loading = load_apart(installed.plugins, timeout=timeout, progress=progress)
    findings = [
        *library_findings(loading),
        *_scan_findings(installed),
        *_load_findings(loading.outcomes),
        *compiler_findings(loading),
    ]
    return Diagnosis(
        tuple(sorted(findings, key=lambda finding: not finding.wrong)),
        describe(loading),
        tuple(loading.outcomes),
        installed.left_out,
    )


def _scan_findings(installed: Scan) -> Iterator[Problem]:
    yield from installed.problems
    for name, claims in installed.conflicts.items():
        yield Problem(contested(claims), name, kind="conflict")
    if installed.left_out and not installed.allow_list_error:
        what = f"excludes {len(installed.left_out)} of the installed plugins, which were not checked: "
        yield Problem(f"{what}`detloss list --json`.", VARIABLE, kind="allow-list", wrong=False)
    losses, heads = installed.of(LOSS_GROUP), installed.of(HEAD_GROUP)
    if not losses.plugins and not losses.left_out:
        what = "No loss is installed. Fix: install a package of losses, such as detloss-iou."
        yield Problem(what, "detloss", kind="load", wrong=False)
    if not heads.plugins and not installed.allow_list_error:
        yield Problem("No head is installed: its metadata is missing. Fix: install detloss again.", "detloss")


def _load_findings(outcomes: list[Outcome]) -> Iterator[Problem]:
    for plugins, what in _alike(outcomes, _why_not):
        yield Problem(f"{_named(plugins)} cannot be used: {what}", plugins[0].owner, *_place(what, plugins), "load")
    for plugins, _ in _alike(outcomes, lambda outcome: "slow" if (outcome.seconds or 0) > SLOW else ""):
        seconds = max(outcome.seconds or 0 for outcome in outcomes if outcome.plugin in plugins)
        what = (
            f"{_named(plugins)} takes {seconds:.1f} s to import, without torch. Tell its authors to do this work only "
            "when it is needed."
        )
        yield Problem(what, plugins[0].owner, plugins[0].location, kind="slow")
    loaded = [outcome for outcome in outcomes if outcome.loads]
    for plugins, text in _alike(loaded, lambda outcome: outcome.stdout):
        what = f"prints at import, in every program that uses it: '{text}'"
        what = f"{_named(plugins)} {what}. Tell its authors to use `logging`."
        yield Problem(what, plugins[0].owner, plugins[0].location, kind="prints")
    for plugins, text in _alike(loaded, lambda outcome: outcome.stderr):
        what = f"{_named(plugins)} writes to stderr at import: '{text}'."
        yield Problem(what, plugins[0].owner, plugins[0].location, kind="prints", wrong=False)


def _why_not(outcome: Outcome) -> str:
    what = outcome.error.partition(" cannot be used: ")[2]
    # The scan already reports a package that was built for another detloss.
    return "" if NOT_IMPORTED in what else what


def _place(what: str, plugins: list[Plugin]) -> tuple[str, int | None]:
    found = re.search(r", at (.+?):(\d+)\b", what)
    return (found[1], int(found[2])) if found else (plugins[0].location, None)


def _alike(outcomes: list[Outcome], text: Callable[[Outcome], str]) -> list[tuple[list[Plugin], str]]:
    """Group the plugins of one package that have the same finding."""
    found: dict[tuple[str, Group, str], list[Plugin]] = {}
    for outcome in outcomes:
        if what := text(outcome):
            found.setdefault((outcome.plugin.location, outcome.plugin.group, what), []).append(outcome.plugin)
    return [(plugins, what) for (_, _, what), plugins in found.items()]


def _named(plugins: list[Plugin]) -> str:
    group, names = plugins[0].group, ", ".join(repr(plugin.name) for plugin in plugins)
    return f"The {group.kind if len(plugins) == 1 else group.plural} {names}"
