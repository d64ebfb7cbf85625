"""Formulas as MathML.

Every browser of today shows it. So formulas need no script and no fonts, and screen readers read them.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger


def setup(app: Sphinx) -> None:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{_mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


def _mathml(node: nodes.TextElement, display: str) -> str:
    formula = node.astext()
    try:
        written = convert(formula, display=display)
    except Exception as error:  # noqa: BLE001 - the library raises many kinds, most without a word
        written, wrong = f"<code>{escape(formula)}</code>", repr(error)
    else:
        wrong = "it has an unknown command" if "\\" in written else ""
    if wrong:
        getLogger(__name__).warning("the formula %r cannot be typeset: %s", formula, wrong, location=node)
    return written
