"""A Sphinx extension: a page for each installed loss, a third party's too, and the table of all in ``losses.md``."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from generate_evidence import difference
from loss_measurements import FIGURES, measure_all
from pages import markdown_table
from sphinx.application import Sphinx
from sphinx.util.display import status_iterator

from detloss import find_plugins
from detloss.compare.result import Comparison
from detloss.compare.result_file import RESULT, read_comparison
from detloss.registry import Plugin
from detloss.registry.docstring import sections
from detloss.text import printable

DOCS = Path(__file__).resolve().parent
COLUMNS = ("loss", "published", "input", "disjoint", "nested")
"""Of the table, on GitHub and on the site; others follow."""
MEASURED = {"error at the end": "simulation"}
"""What the table of the site has besides: key of what is known of a loss -> heading."""
INVARIANCES = {"translation": "translation", "scale": "scale", "axis_scale": "axis", "symmetry": "symmetry"}
Known = Mapping[str, Any]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", _with_table)
    app.add_css_file("loss_pages.css")
    app.add_js_file("loss_table.js", loading_method="defer")
    return {"parallel_read_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write ``losses/NAME.md`` for each installed loss, and the table; a file that would not change is left alone."""
    folder = Path(app.srcdir, "losses")
    plugins = pages_of(find_plugins())

    def progress(jobs: Iterable[Any], length: int) -> Iterable[Any]:
        return status_iterator(jobs, "measuring losses... ", length=length, stringify_func=lambda _: "")

    known = measure_all(plugins, folder / "_measured", progress)
    pages = {f"{page}.md": render(page, plugin, known[page]) for page, plugin in plugins.items()}
    links = {page: f"/losses/{page}.md" for page in plugins}
    pages["_table.md"] = f"````{{container}} losses\n{table(known, plugins, links, MEASURED)}````\n"
    for old in {file.name for file in folder.glob("*.md")} - set(pages):
        (folder / old).unlink()
    for name, text in pages.items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _with_table(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the table of ``losses.md``, which GitHub shows, by that of all installed losses."""
    if docname == "losses":
        new = "```{include} losses/_table.md\n```\n\n```{toctree}\n:hidden:\n:glob:\nlosses/*\n```\n"
        source[0] = re.sub(r"<!-- table -->.*<!-- end of table -->\n", lambda _: new, source[0], flags=re.DOTALL)


def pages_of(plugins: Sequence[Plugin]) -> dict[str, Plugin]:
    """Return name of a page -> loss; that of a name that several packages claim has the package in it."""
    claims = Counter(plugin.name.casefold() for plugin in plugins)
    return {
        plugin.name if claims[plugin.name.casefold()] == 1 else f"{plugin.package}.{plugin.name}": plugin
        for plugin in plugins
    }


def table(
    known: Mapping[str, Known],
    plugins: Mapping[str, Plugin],
    links: Mapping[str, str],
    measured: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the table of losses as Markdown.

    Args:
        known: Name of a page -> what is known of its loss.
        plugins: Name of a page -> its loss.
        links: Name of a page -> where its name leads.
        measured: Keys of what is shown besides -> headings.
    """
    rows = []
    for page, plugin in sorted(plugins.items(), key=lambda item: (item[1].package, item[1].name)):
        name, one = f"[`{page}`]({links[page]})", known[page]
        if "failed" in one:
            rows.append([name, *[""] * (len(COLUMNS) + len(measured)), plugin.package])
            continue
        where, _, year = _title(one)[1].rpartition(" ")
        pulls = one["pulls"] or {"disjoint": "?", "nested": "?"}
        cells = [f"{year} {where}".strip(), one["space"], pulls["disjoint"], pulls["nested"]]
        rows.append([name, *map(escaped, cells), *(one[key] for key in measured), _invariances(one), plugin.package])
    return markdown_table((*COLUMNS, *measured.values(), "invariant to", "package"), rows)


def render(page: str, plugin: Plugin, known: Known) -> str:
    """Return the page of a loss."""
    if "failed" in known:
        return f"# {page}\n\nThis loss is installed, but it cannot be used:\n\n```text\n{known['failed']}\n```\n"
    parts = sections(known["docstring"])
    lead, _, prose = known["docstring"].partition("\n")
    lines = [f"# {page}: {escaped(_title(known)[0])}\n", f"{_origin(parts, known)}\n"]
    if formula := FORMULAS.get(plugin.package, {}).get(plugin.name):
        lines += [f"$$\n{line}\n$$\n" for line in formula.strip().split("\n\n")]
        lines.append(f"{'; '.join(symbols(formula))}.\n" if symbols(formula) else "")
    else:
        lines += markdown(lead, formula=True)
    lines += markdown(re.split(r"\n\n(?=[A-Z][\w ]*:\n {4})", prose)[0].strip("\n"), formula=not formula)
    lines += [f"In a config it is `{{name: {plugin.full_name if '.' in page else page}}}`.\n", *_figures(page, known)]
    lines += ["## Properties\n", markdown_table(("property", "value"), _properties(plugin, known, parts))]
    lines += ["## Parameters\n", _parameters(known)]
    weights = [[f"`{head}`", f"{weight:g}"] for head, weight in known["recommended_weights"].items()]
    lines += ["## Weights\n", markdown_table(("head", "default weight"), weights) if weights else "1 in every head.\n"]
    lines.append(escaped(parts.get("Recommended weights", "")) + "\n")
    lines.append("A weight that is not published is a start: [weights](/weights.md) says how to find yours.\n")
    if evidence := list(_evidence(plugin.name)):
        heading = ("data", "loss", "AP", "minus the reference", "95 %, all together", "verdict")
        lines += ["## Evidence\n", markdown_table(heading, evidence)]
        lines.append("[Evidence](/evidence/README.md) says how these were compared, and what is not decided.\n")
    return "\n".join(lines)


def symbols(formula: str) -> list[str]:
    """Return what the shared symbols of a formula mean."""
    tokens = set(re.findall(r"\\?[A-Za-z]+(?:_[a-z](?![A-Za-z]))?", formula))
    return [one["meaning"] for one in SYMBOLS if tokens & set(one["tokens"])]


def markdown(docstring: str, *, formula: bool) -> Iterator[str]:
    """Yield the paragraphs of a docstring; its block ``Formula::`` only if asked for."""
    literal = ""
    for block in re.split(r"\n\n(?=\S)|(?<=::)\n\n", docstring):
        if literal and (formula or literal != "Formula::"):
            yield f"```text\n{textwrap.dedent(block)}\n```\n"
        elif not literal and block and block != "Formula::":
            yield escaped(block.removesuffix(":") if block.endswith("::") else block) + "\n"
        literal = block if block.endswith("::") and not literal else ""


def escaped(text: str) -> str:
    """Return text of a docstring as Markdown: its code stays code, all else means only itself."""
    parts = re.split(r"``(.+?)``|`(.+?)`", printable(" ".join(text.split())))
    plain = [re.sub(r"([\\`*_{}\[\]<>#$|~])", r"\\\1", part or "") for part in parts[::3]]
    code = [f"`{one or two}`" for one, two in zip(parts[1::3], parts[2::3], strict=True)]
    linked = re.sub(r"arXiv[: ]\s*(\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", "\0".join(plain))
    return "".join(piece for pair in zip(linked.split("\0"), [*code, ""], strict=True) for piece in pair)


def _title(known: Known) -> tuple[str, str]:
    """Return title, and venue and year if they are known."""
    title, _, published = known["title"].removesuffix(")").rpartition(" (")
    return (title, published) if title else (known["title"], "")


def _origin(parts: Mapping[str, str], known: Known) -> str:
    return f"{escaped(parts.get('References', ''))} From the package `{known['package']}` {known['version']}.".strip()


def _figures(page: str, known: Known) -> Iterator[str]:
    name = known["name"]
    alt = {
        "slide": f"The value of {name} while a prediction slides past its target",
        "grow": f"The value of {name} while a prediction grows around the center of its target",
        "stretch": f"The value of {name} while a prediction is stretched",
        "center": f"Where {name} moves the center of a prediction",
        "sides": f"How {name} changes the sides of a prediction",
        "error": f"Error of boxes that go down the gradient of {name}",
        "end": f"Error at the end, by where the boxes began, with {name}",
    }
    groups = {
        "Values": (FIGURES[:3], "Next to losses that you may know."),
        "Directions": (FIGURES[3:5], "The way down the gradient; a red cross is a place without one."),
        "Simulation": (FIGURES[5:], "Boxes go down the gradient from many places, without a network."),
    }
    yield "## What it does\n"
    yield "[How to read these images](/plot.md), and how to draw others.\n"
    for figures, caption in groups.values():
        images = "\n".join(f"![{alt[one]}](_measured/{known['folder']}/{page}-{one}.svg)" for one in figures)
        yield f"{caption}\n"
        yield f"```{{container}} loss-figures\n{images}\n```\n"


def _properties(plugin: Plugin, known: Known, parts: Mapping[str, str]) -> Iterator[list[str]]:
    space = {"boxes": "decoded boxes, in pixels of the network input", "deltas": "the head's own encoded deltas"}
    low, high = ("inf" if bound is None else f"{bound:.4g}" for bound in known["range"])
    pulls = known["pulls"] or {}
    yield ["input", f"{known['space']}: {space[known['space']]}"]
    yield ["range", escaped(parts.get("Range", f"[{low}, {high}]").removesuffix("."))]
    if known["minimum"] is not None:
        yield ["value at identical boxes", f"{known['minimum']:g}"]
    yield ["invariant to", _invariances(known) or "nothing that is declared"]
    yield from ([f"pulls {boxes} boxes (measured)", word] for boxes, word in pulls.items())
    yield [
        "no gradient (measured)",
        f"{known['no gradient, center']} of centers, {known['no gradient, sides']} of sides",
    ]
    yield ["error after the simulation", known["error at the end"]]
    if "Degenerate boxes" in parts:
        yield ["degenerate boxes", escaped(parts["Degenerate boxes"])]
    if known["extras"]:
        yield ["also takes", ", ".join(f"`{extra}`" for extra in known["extras"])]
    if known["batch_dependent"]:
        yield ["depends on", "the other pairs of the batch"]
    if speed := _SPEED["losses"].get(plugin.name):
        times = ", ".join(f"{ratio:.2g} with {int(n):,} boxes" for n, ratio in speed["eager"].items())
        yield [f"[time](/performance.md), as a multiple of {speed['against']} (measured)", times]


def _parameters(known: Known) -> str:
    if not known["parameters"]:
        return "It has none.\n"
    rows = [
        [
            f"`{one['name']}`",
            escaped(", ".join(filter(None, (one["type"], one["bounds"].replace(">=", "≥").replace("<=", "≤"))))),
            "required" if one["required"] else f"`{_plain(one['default'])}`",
            escaped(one["description"]),
        ]
        for one in known["parameters"]
    ]
    return markdown_table(("parameter", "type", "default", "meaning"), rows)


@cache
def _comparisons() -> list[tuple[str, Comparison]]:
    return [(file.parent.name, read_comparison(file)) for file in sorted(DOCS.glob(f"evidence/*/{RESULT}"))]


def _evidence(name: str) -> Iterator[list[str]]:
    for data, found in _comparisons():
        differences = {one.arm: one for one in found.differences}
        for arm in found.arms:
            if [spec["name"] for spec in arm.losses[found.question.head]] != [name] or arm.mean is None:
                continue
            link = f"[{data.replace('-', ' ')}](/evidence/README.md)"
            yield [link, f"`{arm.label}`", f"{arm.mean:.3f}", *difference(differences.get(arm.label))]


def _invariances(known: Known) -> str:
    return ", ".join(word for key, word in INVARIANCES.items() if key in known["invariances"])


def _plain(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


FORMULAS: dict[str, Any] = tomllib.loads((DOCS / "formulas.toml").read_text(encoding="utf-8"))
"""Package -> loss -> LaTeX, a blank line between two formulas."""
SYMBOLS: list[dict[str, Any]] = FORMULAS.pop("symbols")
_SPEED = json.loads((DOCS / "speed.json").read_text(encoding="utf-8"))
