"""`detloss doctor`: find and explain everything that is wrong with the installed plugins and what they need.

It imports neither torch nor pydantic nor any plugin into this process, so that it works where none of them can be
imported: libraries and plugins are loaded apart, as `detloss.doctor.apart` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detloss.allow_list import VARIABLE
from detloss.discovery import HEAD_GROUP, LOSS_GROUP, Plugin, Scan, contested, scan
from detloss.doctor.apart import TIMEOUT, Loading, Outcome, load_apart
from detloss.doctor.environment import compiler_findings, describe, library_findings
from detloss.doctor.finding import Finding
from detloss.loading import NOT_IMPORTED

__all__ = ["SLOW", "TIMEOUT", "Diagnosis", "Finding", "Loading", "Outcome", "examine", "load_apart"]

SLOW = 1.0
"""Seconds of a plugin's own import from which it counts as slow. torch takes one to three seconds; a plugin that adds
one more is felt at every start, while a loss that only defines a class takes some milliseconds."""


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, and what was found.

    Attributes:
        findings: What is wrong first, then the notes.
        environment: Versions, by what they are of; empty where there is none.
        outcomes: What came of loading each plugin.
        left_out: Plugins that `DETLOSS_PLUGINS` does not allow; nothing of them was imported.
    """

    findings: tuple[Finding, ...]
    environment: dict[str, str]
    outcomes: tuple[Outcome, ...]
    left_out: tuple[Plugin, ...]

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.wrong for finding in self.findings)


def examine(timeout: float = TIMEOUT, progress: Callable[[str], None] = lambda _: None) -> Diagnosis:
    """Look at the metadata of all packages, load each plugin that is allowed, and try what they need.

    Args:
        timeout: Seconds for the import of one plugin.
        progress: Is told what goes on, in a few words.
    """
    scans = [scan(LOSS_GROUP), scan(HEAD_GROUP)]
    loading = load_apart([plugin for found in scans for plugin in found.plugins], timeout=timeout, progress=progress)
    findings = [
        *library_findings(loading),
        *_scan_findings(scans),
        *_load_findings(loading.outcomes),
        *compiler_findings(loading),
    ]
    return Diagnosis(
        # One fault seen in both groups is one finding.
        tuple(sorted(dict.fromkeys(findings), key=lambda finding: not finding.wrong)),
        describe(loading),
        tuple(loading.outcomes),
        tuple(plugin for found in scans for plugin in found.left_out),
    )


def _scan_findings(scans: list[Scan]) -> Iterator[Finding]:
    for found in scans:
        for problem in found.problems:
            if problem.path == VARIABLE:
                yield Finding("allow-list", VARIABLE, problem.message)
            else:
                yield Finding("metadata", problem.package or "sys.path", problem.message, problem.path, problem.line)
        for name, claims in found.conflicts.items():
            yield Finding("conflict", name, contested(claims))
    left_out = sum(len(found.left_out) for found in scans)
    if left_out and not any(found.allow_list_error for found in scans):
        what = f"leaves out {left_out} of the installed plugins, which were not looked into: `detloss list --json`."
        yield Finding("allow-list", VARIABLE, what, wrong=False)
    if not scans[0].plugins and not scans[0].left_out:
        what = "No loss is installed. `python -m pip install 'detloss[losses]'` brings a first set."
        yield Finding("load", "detloss", what, wrong=False)
    if not scans[1].plugins and not scans[1].allow_list_error:
        yield Finding("metadata", "detloss", "No head is installed: its metadata is missing. Install detloss again.")


def _load_findings(outcomes: list[Outcome]) -> Iterator[Finding]:
    for plugins, what in _alike(outcomes, _why_not):
        yield Finding("load", _whose(plugins), f"{_named(plugins)} cannot be used: {what}", *_place(what, plugins))
    for plugins, _ in _alike(outcomes, lambda outcome: "slow" if (outcome.seconds or 0) > SLOW else ""):
        seconds = max(outcome.seconds or 0 for outcome in outcomes if outcome.plugin in plugins)
        what = (
            f"{_named(plugins)} takes {seconds:.1f} s to import beside torch: whatever it does at import belongs where "
            "it is needed. Tell its authors."
        )
        yield Finding("slow", _whose(plugins), what, plugins[0].location)
    for plugins, text in _alike(outcomes, lambda outcome: outcome.stdout if outcome.loads else ""):
        what = (
            f"{_named(plugins)} prints at import, into the output of every program that uses it: '{text}'. Tell its "
            "authors to use `logging`."
        )
        yield Finding("prints", _whose(plugins), what, plugins[0].location)
    for plugins, text in _alike(outcomes, lambda outcome: outcome.stderr if outcome.loads else ""):
        what = f"{_named(plugins)} writes to stderr at import: '{text}'."
        yield Finding("prints", _whose(plugins), what, plugins[0].location, wrong=False)


def _why_not(outcome: Outcome) -> str:
    what = outcome.error.partition(" cannot be used: ")[2]
    # A package that was built for another detloss is among the problems of the scan already.
    return "" if NOT_IMPORTED in what else what


def _place(what: str, plugins: list[Plugin]) -> tuple[str, int | None]:
    found = re.search(r", at (.+?):(\d+)\b", what)
    return (found[1], int(found[2])) if found else (plugins[0].location, None)


def _alike(outcomes: list[Outcome], text: Callable[[Outcome], str]) -> list[tuple[list[Plugin], str]]:
    """Return the plugins of one package of which the same is to be said, and that: it is one finding."""
    found: dict[tuple[str, str, str], list[Plugin]] = {}
    for outcome in outcomes:
        if what := text(outcome):
            found.setdefault((outcome.plugin.location, outcome.plugin.group, what), []).append(outcome.plugin)
    return [(plugins, what) for (_, _, what), plugins in found.items()]


def _named(plugins: list[Plugin]) -> str:
    one, several = ("loss", "losses") if plugins[0].group == LOSS_GROUP else ("head", "heads")
    names = ", ".join(repr(plugin.name) for plugin in plugins)
    return f"The {one} {names}" if len(plugins) == 1 else f"The {several} {names}"


def _whose(plugins: list[Plugin]) -> str:
    return f"{plugins[0].package} {plugins[0].version}".strip()
