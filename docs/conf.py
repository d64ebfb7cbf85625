"""How Sphinx builds the site: ``uv run --group docs sphinx-build -W docs build/site``, without network."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.application import Sphinx

from detloss import __version__

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
READMES = ("detloss-gaussian", "detloss-iou", "detloss-l1", "detloss-transformers", "detloss-ultralytics")
PAGES = {
    "README.md": "/index.md",
    "CHANGELOG.md": "/project/changelog.md",
    "CONTRIBUTING.md": "/project/contributing.md",
    "detloss/heads/README.md": "/project/heads.md",
    "docs/minimal-plugin": "/packages/minimal-plugin.md",
    **{f"plugins/{name}/README.md": f"/packages/{name}.md" for name in READMES},
}
"""Path in the repository that pages link to, as GitHub needs it -> page of the site that shows it."""

sys.path.insert(0, str(DOCS))  # where the extensions of this site are
project = "detloss"
author = copyright = "The detloss authors"  # noqa: A001 - the name that Sphinx asks for
version = release = __version__
extensions = [
    "myst_parser",
    "plugin_directory",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["evidence/*/runs", "losses/_*"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 6  # as on GitHub, so that links into a page work there and here
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

smartquotes = False  # would make one dash of the two of an option
default_role = "py:obj"
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_numpy_docstring = False
toc_object_entries_show_parents = "hide"

html_context = {"default_mode": "auto"}
html_theme = "pydata_sphinx_theme"
html_title = "detloss"
html_static_path = ["_static"]
html_css_files = ["detloss.css"]
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "detloss", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app: Sphinx) -> None:
    """Register what Markdown on GitHub and browsers without network need."""
    app.connect("source-read", lambda _app, docname, source: _links(DOCS / f"{docname}.md", source))
    app.connect("include-read", lambda _app, path, _docname, source: _links(DOCS / path, source))
    app.connect("doctree-resolved", _open_reports)
    app.connect("doctree-resolved", _open_images)
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    # Every browser of today shows MathML. So formulas need no script and no fonts, and screen readers read them.
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))


def _links(page: Path, source: list[str]) -> None:
    """Let links of a page, written for GitHub, lead to the pages of the site."""

    def of_site(match: re.Match[str]) -> str:
        path = os.path.relpath(page.parent / match["path"], ROOT)
        if path in PAGES:
            return f"]({PAGES[path]}{match['anchor']}"
        target = os.path.relpath(ROOT / path, DOCS)
        return f"](/{target}{match['anchor']}" if (ROOT / path).exists() else match[0]

    source[0] = re.sub(r"\]\((?P<path>[\w./-]+)(?P<anchor>(?:#[^)]*)?\))", of_site, source[0])


def _open_reports(_app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Open a report where it lies: Sphinx would offer a file that is not a page as a download only."""
    for node in doctree.findall(addnodes.download_reference):
        if node.get("filename", "").endswith(".html"):
            target = f"{_up(docname)}_downloads/{node['filename']}"
            node.replace_self(nodes.reference("", "", *node.children, refuri=target, internal=True))


def _open_images(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let an image lead to itself, as on GitHub: a wide one is too small to read on a phone."""
    for node in list(doctree.findall(nodes.image)):
        if node["uri"] in app.env.images and not isinstance(node.parent, nodes.reference):
            _, name = app.env.images[node["uri"]]
            target = f"{_up(docname)}_images/{name}"
            node.replace_self(nodes.reference("", "", node.deepcopy(), refuri=target, internal=True))


def _up(docname: str) -> str:
    return "../" * docname.count("/")


def _keep_colons(_app: Sphinx, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Begin the text of an attribute with an empty comment: Napoleon takes words before a colon for its type."""
    if lines and what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>\n')
    raise nodes.SkipNode
