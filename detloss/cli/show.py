"""`detloss show NAME`: everything about one loss, which is imported for it."""

from __future__ import annotations

import inspect
import json
import math
import re
import textwrap
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import click

from detloss.cli.command import Command, Result
from detloss.errors import UnknownPluginError
from detloss.registry.docstring import sections, title
from detloss.text import clipped, nearest

if TYPE_CHECKING:
    from detloss.loss import BoxRegressionLoss
    from detloss.registry import LoadedPlugin


@click.command("show", cls=Command, json="Print all of it as JSON, nothing else.")
@click.argument("name", help="A loss: its name in any case, package:name, or words of its title.")
def command(name: str) -> Result:
    """Show one loss: its paper, parameters, weights and package.

    The loss's package is imported.
    """
    from detloss.registry import get_plugin
    from detloss.registry.loading import blamed

    loaded = get_plugin(_name_of(name))
    with blamed(loaded.plugin, "its description"):  # a property or a default factory may do anything
        found = json.dumps(describe(loaded), indent=2) + "\n"
    return Result(found, lambda: _print(json.loads(found)))


def describe(loaded: LoadedPlugin) -> dict[str, Any]:
    """Return everything about a loss as data for JSON.

    An open bound is None.
    """
    plugin, cls = loaded.plugin, loaded.cls
    docstring = inspect.cleandoc(cls.__doc__ or "")
    low, high = cls.value_range
    return {
        "name": plugin.name,
        "package": plugin.package,
        "version": plugin.version,
        "title": title(docstring),
        "description": docstring.partition("\n")[0],
        "docstring": docstring,
        "papers": papers(docstring),
        "space": cls.space,
        "parameters": parameters(cls.Config),
        "recommended_weights": dict(cls.recommended_weights),
        "range": [_finite(low), _finite(high)],
        "minimum": cls.minimum,
        "invariances": sorted(cls.invariances),
        "pulls": pulls(cls),
        "extras": sorted(cls.extras),
        "batch_dependent": cls.batch_dependent,
        "compiles": cls.compile_pays and not cls.batch_dependent,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "file": inspect.getsourcefile(cls) or "",
    }


def papers(docstring: str) -> list[str]:
    """Return the addresses of the papers that a docstring cites.

    They are found by arXiv id or DOI.
    """
    arxiv = r"arXiv[:\s]\s*(?P<arxiv>\d{4}\.\d{4,5})"
    doi = r"doi[:\s]\s*(?P<doi>10\.\d{4,9}/[^\s,;)\]]*[^\s,;.)\]])"
    found = (
        f"https://arxiv.org/abs/{match['arxiv']}" if match["arxiv"] else f"https://doi.org/{match['doi']}"
        for match in re.finditer(f"{arxiv}|{doi}", docstring, re.IGNORECASE)
    )
    return list(dict.fromkeys(found))


def pulls(cls: type[BoxRegressionLoss]) -> dict[str, str] | None:
    """Return whether a loss pulls disjoint and nested boxes.

    With its default parameters; None if that cannot be measured.
    """
    from detloss.plot.pull import measure_pull

    try:
        return measure_pull(cls())._asdict()
    except (Exception, SystemExit):  # noqa: BLE001 - it has no defaults, or raises: all else is shown nevertheless
        return None


def parameters(config: Any) -> list[dict[str, Any]]:
    """Return name, type, bounds, default and description of each field."""
    from pydantic_core import to_jsonable_python

    return [
        {
            "name": name,
            "type": _type_name(field.annotation),
            "bounds": _bounds(field.metadata),
            "required": field.is_required(),
            "default": None
            if field.is_required()
            else to_jsonable_python(field.get_default(call_default_factory=True), fallback=str),
            "description": field.description or "",
        }
        for name, field in config.model_fields.items()
    ]


def _name_of(asked: str) -> str:
    """Return the name of the loss that is meant.

    It is meant by its name in any case, or by words of its title.

    Raises:
        UnknownPluginError: The words are in several titles, or in none and near to some.
    """
    from detloss.registry import find_plugins

    plugins = find_plugins()
    if asked in {name for plugin in plugins for name in (plugin.name, plugin.full_name)}:
        return asked
    titles = {plugin.full_name: _words(plugin.title.partition(" (")[0]) for plugin in plugins}
    wanted = _words(asked)
    found = (
        [plugin.full_name for plugin in plugins if asked.lower() in (plugin.name.lower(), plugin.full_name.lower())]
        or [name for name, words in titles.items() if words == wanted]
        or [name for name, words in titles.items() if wanted and f" {wanted} " in f" {words} "]
    )
    if len(found) == 1:
        return found[0]
    close = nearest(wanted, titles.values()) if " " in asked else []
    if meant := found or [name for name, words in titles.items() if words in close]:
        names = " or ".join(repr(name.rpartition(":")[2]) for name in meant)
        raise UnknownPluginError(f"There is no loss {clipped(asked)!r}. Did you mean {names}?", name=clipped(asked))
    return asked  # the lookup suggests similar names


def _words(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _print(found: dict[str, Any]) -> None:
    from rich.text import Text

    from detloss.cli.output import new_table, plain, prose, stdout

    out = stdout()
    about = sections(found["docstring"])
    details = [about.pop("").partition("\n")[2].strip()]
    details += [f"{heading}: {text}" for heading, text in about.items() if heading not in {*_ROWS, *_FOR_DEVELOPERS}]
    out.print(Text.assemble((found["name"], "bold cyan"), f"  {plain(found['description'])}"))
    for paragraph in filter(None, details):
        out.print(f"\n{prose(paragraph)}")
    out.print()
    weights = ", ".join(f"{weight:g} in {head}" for head, weight in found["recommended_weights"].items())
    space = {"boxes": "decoded x1, y1, x2, y2 in network-input pixels", "deltas": "the head's own encoded regression"}
    cited, about_weights, own_range = (plain(about.get(heading, "")) for heading in _ROWS)
    rows = {
        "paper": [cited, *found["papers"]],
        "space": [f"{found['space']} ({space[found['space']]})"],
        "weight": [weights or "1 (none is recommended)", about_weights],
        "range": [own_range or _range(found["range"])],
        "unchanged by": [", ".join(_INVARIANCES.get(word, word) for word in found["invariances"])],
        "pulls": [", ".join(f"{boxes} boxes: {word}" for boxes, word in (found["pulls"] or {}).items())],
        "also takes": [", ".join(found["extras"])],
        "depends on": ["the other pairs of the batch" if found["batch_dependent"] else ""],
        "compile": [
            "compile: true makes it faster; the first step takes 5 to 20 s longer"
            if found["compiles"]
            else "compile: true changes nothing: it would not make it faster"
        ],
        "package": [f"{found['package']} {found['version']}".strip()],
        "file": [found["file"]],
    }
    for key, values in rows.items():
        heading = key
        for value in filter(None, values):
            # An address or a path is to be copied: it is left to the terminal to wrap.
            copied = value in found["papers"] or key == "file"
            for line in [value] if copied else textwrap.wrap(value, max(out.width - _INDENT, 20)):
                out.print(Text.assemble((f"{heading:<{_INDENT}}", "bold"), line), soft_wrap=True)
                heading = ""
    if not found["parameters"]:
        out.print("\nIt has no parameters.")
        return
    out.print()
    table = new_table("parameter", "type", "bounds", "default", "description", whole=True)
    for parameter in found["parameters"]:
        default = "required" if parameter["required"] else _yaml(parameter["default"])
        table.add_row(
            parameter["name"], parameter["type"], parameter["bounds"], default, plain(parameter["description"])
        )
    out.print(table)


def _type_name(annotation: Any) -> str:
    """Return a type as a reader writes it: ``list[int]``, ``linear | log``."""
    if annotation is None or annotation is type(None):
        return "null"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(_yaml, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_type_name, arguments))
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is not None:
        inner = ", ".join("..." if one is ... else _type_name(one) for one in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    # In a config a spec of another loss is written as its name or a mapping, so its class name would tell nothing.
    name = getattr(annotation, "__name__", str(annotation))
    return "a loss" if name in ("NestedSpec", "LossSpec") else name


def _bounds(metadata: list[Any]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of", "min_length": "length >=",
             "max_length": "length <=", "pattern": "matches"}  # fmt: skip
    found = (
        f"{sign} {value}"
        for one in metadata
        for key, sign in signs.items()
        if (value := getattr(one, key, None)) is not None
    )
    return ", ".join(found)


def _range(bounds: list[float | None]) -> str:
    low, high = bounds
    left = "(-inf" if low is None else f"[{low:g}"
    return f"{left}, {'inf)' if high is None else f'{high:g}]'}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _yaml(value: object) -> str:
    """Return a value as a config writes it.

    YAML 1.1 reads ``1e-7`` as text and ``1.0e-7`` as a number.
    """
    if isinstance(value, float):
        mantissa, exponent, power = f"{value:.6g}".partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent}{power}"
    return value if isinstance(value, str) else json.dumps(value)


_ROWS = ("References", "Recommended weights", "Range")
"""Sections of a docstring whose text stands in a row of the page."""
_FOR_DEVELOPERS = ("Args", "Attributes", "Degenerate boxes", "Example", "Examples", "Raises", "Returns", "Yields")
_INVARIANCES = {"axis_scale": "scale of each axis", "symmetry": "exchange of the two boxes"}
_INDENT = len("unchanged by  ")
"""Columns of the longest heading of `_print`, and of the space behind it."""
