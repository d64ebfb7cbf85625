"""Everything that detloss raises on purpose, in one tree.

::

    DetlossError
    ├── PluginError                 a plugin: who, what was expected, what was found, the fix
    │   ├── UnknownPluginError      no installed plugin has this name; similar names are given
    │   ├── PluginConflictError     two packages claim one name; both are named
    │   ├── PluginNotAllowedError   DETLOSS_PLUGINS does not allow the plugin
    │   └── PluginLoadError         the selected plugin cannot be imported, or is not a loss
    ├── AllowListError              DETLOSS_PLUGINS itself is wrong: an entry is not installed
    ├── LossDefinitionError         a loss class breaks the interface (raised when it is defined)
    ├── ConformanceError            a loss fails a check of the conformance kit
    ├── ConfigError                 a config is wrong; all errors with file, line and key
    ├── InjectionError              a loss cannot be put into a head
    │   ├── HeadNotFoundError       the model has no such head
    │   └── AlreadyPatchedError     something else already replaced the head's loss
    ├── DataError                   a data set cannot be read or used
    ├── NonFiniteError              a loss or a gradient became NaN or infinite in training
    └── ScaffoldError               a new plugin package cannot be written

Each is a plain exception whose message says what to do next. Names, packages and findings are attributes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MAX_SHOWN = 100
"""Findings that a message lists. After as many, no further loss is looked up."""


class DetlossError(Exception):
    """Base of all errors that detloss raises on purpose."""


class PluginError(DetlossError):
    """A plugin cannot be used.

    Attributes:
        name: The loss or head name that was asked for.
        package: The distribution that claims the name, if one does.
    """

    def __init__(self, message: str, *, name: str, package: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.package = package

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by message: exceptions cross process borders (DDP workers, data loaders)."""
        return _rebuild_plugin_error, (type(self), str(self), self.name, self.package)


class UnknownPluginError(PluginError):
    """No installed plugin has this name."""


class PluginConflictError(PluginError):
    """More than one package claims this name."""


class PluginNotAllowedError(PluginError):
    """The plugin is installed, but ``DETLOSS_PLUGINS`` does not allow it."""


class PluginLoadError(PluginError):
    """The selected plugin cannot be imported or is not a plugin."""


class AllowListError(DetlossError, ValueError):
    """``DETLOSS_PLUGINS`` cannot be read, or names what is not installed."""


class LossDefinitionError(DetlossError, TypeError):
    """A loss class breaks the interface."""


class ConformanceError(DetlossError, AssertionError):
    """A loss fails a check of the conformance kit."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a config.

    Attributes:
        message: What was expected, what was found, and the fix.
        key: Dotted key path (``losses.roi_heads.0.weight``), as ``--set`` takes it; empty for the whole config.
        file: The file, or None where the config was not read from one.
        line: Line in it, from 1.
        column: Column in it, from 1.
        near: The known key or name closest to an unknown one.
        override: True where the value came from an override of the file.
    """

    message: str
    key: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    near: str | None = None
    override: bool = False

    def __str__(self) -> str:
        """``file:line:column: key path: message``, with what is known of it."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        if self.override:
            place = "override"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(DetlossError, ValueError):
    """A config is wrong.

    Args:
        findings: The errors, or one message without a key.

    Attributes:
        findings: The errors, in the order of the file.
    """

    def __init__(self, findings: str | Iterable[Finding]) -> None:
        if isinstance(findings, str):
            self.findings: tuple[Finding, ...] = (Finding(findings),)
            super().__init__(findings)
            return
        self.findings = tuple(sorted(findings, key=lambda one: (one.override, one.line or 0, one.column or 0)))
        super().__init__("\n".join(_report(self.findings)))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by arguments: exceptions cross process borders."""
        alone = len(self.findings) == 1 and str(self) == self.findings[0].message
        return type(self), (str(self) if alone else self.findings,)


class InjectionError(DetlossError):
    """A loss cannot be put into a head."""


class HeadNotFoundError(InjectionError):
    """The model has no such head."""


class AlreadyPatchedError(InjectionError):
    """Something other than detloss already replaced this head's loss."""


class DataError(DetlossError):
    """A data set cannot be read or used."""


class NonFiniteError(DetlossError, ArithmeticError):
    """A loss or a gradient became NaN or infinite in training."""


class ScaffoldError(DetlossError):
    """A new plugin package cannot be written."""


def _rebuild_plugin_error(cls: type[PluginError], message: str, name: str, package: str | None) -> PluginError:
    return cls(message, name=name, package=package)


def _report(findings: tuple[Finding, ...]) -> Iterable[str]:
    files = {finding.file for finding in findings if finding.file}
    where = f" in {files.pop()}" if len(files) == 1 else " in the config"
    yield f"{len(findings)} error{'s' if len(findings) != 1 else ''}{where}:"
    yield from (f"  {finding}" for finding in findings[:MAX_SHOWN])
    if len(findings) > MAX_SHOWN:
        yield f"  ... and at least {len(findings) - MAX_SHOWN} more: fix these first"
