"""Overrides of a config: ``key.path=value``, as in ``--set``."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from detloss.config.document import Document, Notes, plain
from detloss.config.messages import KeyPath, dotted, found
from detloss.config.read_yaml import read_yaml
from detloss.errors import ConfigError, Finding


def with_overrides(document: Document, overrides: Iterable[str]) -> Document:
    """Return plain data with values replaced or added."""
    for override in overrides:
        document = _overridden(document, override)
    return document


def _overridden(document: Document, override: str) -> Document:
    key, sign, text = override.partition("=")
    steps = tuple(part.strip() for part in key.split("."))
    if not sign or not all(steps):
        wrong = Finding(
            f"an override is key.path=value, found {found(steps, override)}",
            dotted(steps) if sign else "",
            override=True,
        )
        return replace(document, findings=(*document.findings, wrong))
    notes = Notes(Document(overridden=frozenset({".".join(steps)})))
    try:
        value = read_yaml(text)
        below: Iterable[Finding] = value.findings
        data = _with(document.data, steps, plain(value.data, notes, steps))
        document = replace(document, data=data, overridden=document.overridden | notes.document.overridden)
    except ConfigError as error:
        below = error.findings
    for each in below:
        notes.note((*steps, *filter(None, [each.key])), each.message)
    return replace(document, findings=(*document.findings, *notes.findings))


def _with(data: Any, steps: Sequence[str], value: Any, above: KeyPath = ()) -> Any:
    """Return plain data with another value at the end of the steps.

    Raises:
        ConfigError: A step cannot be taken.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(data, str) and above[:1] == ("losses",) and above[-1] != "name":
        data = {"name": data}  # a loss given by its name alone
    elif data is None:
        data = {}
    if isinstance(data, list):
        if not (step.isdecimal() and int(step) < len(data)):
            raise ConfigError(
                f"{dotted(above)} is a list of {len(data)}, which has no item {step!r}. Items count from 0"
            )
        index = int(step)
        return [*data[:index], _with(data[index], rest, value, (*above, index)), *data[index + 1 :]]
    if not isinstance(data, dict):
        raise ConfigError(f"{dotted(above)} is {found(above, data)}, which has no keys. Fix: override all of it")
    return {**data, step: _with(data.get(step), rest, value, (*above, step))}
