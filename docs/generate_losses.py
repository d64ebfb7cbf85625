"""Write docs/losses.md from the loss classes; ``--check`` only compares."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from detloss import find_plugins
from detloss.loss import BoxRegressionLoss
from detloss.plot.pull import measure_pull
from detloss.registry import load

PACKAGES = ("detloss-l1", "detloss-iou", "detloss-gaussian")
OUTPUT = Path(__file__).with_name("losses.md")
HEADS = ("roi_heads", "rpn", "retinanet", "fcos", "ssd")

INTRODUCTION = """\
<!-- Written by docs/generate_losses.py from the classes: change a loss's docstring and run it again. -->

# Losses

[Which loss, in 30 seconds](which-loss.md) says which one to start with.

"""

OVERVIEW = """\
## Overview

`space` is the input of the loss: decoded boxes in network-input pixels, or the head's encoded deltas. The last columns
are the default weights. The text of a loss says which of them are published; the others are detloss's own starting
point, the scale of GIoU (10 in the box head, 2 in others) or of smooth L1 (1). A loss is invariant to *translation*,
to the *scale* of both boxes, to separate scales of each *axis*, or to an exchange of prediction and target
(*symmetry*). It *pulls* boxes if its gradient moves the prediction towards the target. `disjoint` boxes do not
overlap; *near only* means that the gradient fades within five sides of the target. Of `nested` boxes, one is inside
the other. Both are measured with the default parameters. A loss that does not pull disjoint boxes is for matches that
already overlap, as in an R-CNN box head.

"""

SYMBOLS = """\

In the formulas, `I`, `U` and `C` are the areas of the intersection, of the union and of the smallest box that encloses
both, and `IoU = I / U`; `w, h` and `W, H` are the sides of prediction and target, `cw, ch` those of the enclosing box
and `c` is its diagonal; `dx, dy` is the center of the prediction minus that of the target, and `rho` its length. An
inverted box (x2 < x1 or y2 < y1) counts as a box without area, and costs more than any other.

Boxes are in pixels, and so is `eps`: it is absolute. If you call a loss with normalized boxes (0 to 1), scale them up
first, for example by the size of the image. With `eps = 1e-7`, two identical boxes of 0.001 x 0.001 have a GIoU loss of
0.09 instead of 0, because eps is a tenth of their area. In the heads, boxes are always in pixels.

"""

INVARIANCES = {"translation": "translation", "scale": "scale", "axis_scale": "axis", "symmetry": "symmetry"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page; with ``--check``, fail if it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    page = render()
    if not options.check:
        options.output.write_text(page, encoding="utf-8")
    elif not options.output.exists() or options.output.read_text(encoding="utf-8") != page:
        raise SystemExit(f"{options.output} is out of date: run `python docs/generate_losses.py`.")


def render() -> str:
    """Return the page."""
    plugins = sorted(
        (plugin for plugin in find_plugins() if plugin.package in PACKAGES),
        key=lambda plugin: (PACKAGES.index(plugin.package), plugin.name),
    )
    losses = [(plugin.package, plugin.name, load(plugin).cls) for plugin in plugins]
    overview = table(("loss", "space", "invariant to", "disjoint", "nested", "package", *HEADS), map(row, losses))
    parts = [INTRODUCTION, OVERVIEW + overview + SYMBOLS]
    for package, members in groupby(losses, key=lambda loss: loss[0]):
        parts.append(f"## {package}\n")
        parts.extend(section(name, cls) for _, name, cls in members)
    return "\n".join(parts)


def row(loss: tuple[str, str, type[BoxRegressionLoss]]) -> list[str]:
    """Return the line of a loss in the overview."""
    package, name, cls = loss
    weights = [f"{cls.recommended_weights[head]:g}" if head in cls.recommended_weights else "1" for head in HEADS]
    return [f"[`{name}`](#{name})", cls.space, invariances(cls), *measure_pull(cls()), package, *weights]


def section(name: str, cls: type[BoxRegressionLoss]) -> str:
    """Return what there is to know about one loss."""
    lines = [f"### `{name}`\n", *markdown(inspect.getdoc(cls) or "")]
    low, high = cls.value_range
    facts = [f"values in [{low:.4g}, {high:.4g}] over all parameters", f"invariant to {invariances(cls) or 'nothing'}"]
    if cls.minimum is not None:
        facts.append(f"{cls.minimum:g} at identical boxes")
    if cls.batch_dependent:
        facts.append("a pair's value depends on the batch")
    if cls().iou_term:
        facts.append("`inner` and `focaler` can replace its IoU")
    if cls.extras:
        facts.append(f"takes {' and '.join(f'`{extra}`' for extra in sorted(cls.extras))} from the head")
    lines.append(f"Declared: {'; '.join(facts)}.\n")
    if cls.Config.model_fields:
        lines.append(table(("parameter", "type", "default", "meaning"), parameters(cls)))
    else:
        lines.append("It has no parameters.\n")
    return "\n".join(lines)


def markdown(docstring: str) -> Iterator[str]:
    """Yield the paragraphs and sections of a docstring as Markdown."""
    literal = False
    for block in re.split(r"\n\n(?=\S)|(?<=::)\n\n", docstring):
        if literal:
            yield f"```text\n{textwrap.dedent(block)}\n```\n"
        elif block != "Formula::":
            heading, _, body = block.partition(":\n    ")
            text = f"**{heading}.** {textwrap.dedent(f'    {body}')}" if body else block
            text = re.sub(r"``(.+?)``", r"`\1`", re.sub("::$", ":", text))
            yield re.sub(r"arXiv\s(\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text) + "\n"
        literal = not literal and block.endswith("::")


def parameters(cls: type[BoxRegressionLoss]) -> Iterator[list[str]]:
    """Yield the line of each parameter."""
    schema = cls.Config.model_json_schema()
    for name, field in cls.Config.model_fields.items():
        default = field.default.model_dump() if isinstance(field.default, BaseModel) else field.default
        default = default["name"] if isinstance(default, dict) and len(default) == 1 else default
        meaning = (field.description or "").replace("\n", " ")
        yield [f"`{name}`", kind(schema["properties"][name]), f"`{plain(default)}`", meaning]


def plain(value: Any) -> str:
    """Return a default as YAML writes it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))


def kind(schema: dict[str, Any]) -> str:
    """Return type and bounds of a parameter, from its JSON schema."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"])
    if "$ref" in schema or "allOf" in schema:
        return "a loss"
    words = {"exclusiveMinimum": "> {:g}", "minimum": "≥ {:g}", "exclusiveMaximum": "< {:g}", "maximum": "≤ {:g}"}
    bounds = [words[key].format(schema[key]) for key in words if key in schema]
    if "prefixItems" in schema:
        return f"[{', '.join(kind(item) for item in schema['prefixItems'])}]"
    return ", ".join([schema.get("type", "any"), *bounds])


def invariances(cls: type[BoxRegressionLoss]) -> str:
    """Return the declared invariances in a fixed order."""
    return ", ".join(word for key, word in INVARIANCES.items() if key in cls.invariances)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
