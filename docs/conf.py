"""How Sphinx builds the site: ``uv run --group docs sphinx-build -W docs build/site``, without network."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

from detloss import __version__

sys.path.insert(0, str(Path(__file__).resolve().parent))  # where the extensions of this site are
project = "detloss"
author = copyright = "The detloss authors"  # noqa: A001 - the name that Sphinx asks for
version = release = __version__
extensions = [
    "loss_pages",
    "mathml",
    "myst_parser",
    "plugin_directory",
    "site_links",
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
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "detloss", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": {"**": ["page-toc"], "losses": []},  # a wide table
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app: Sphinx) -> None:
    """Keep Napoleon from a mistake."""
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)


def _keep_colons(_app: Sphinx, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Begin the text of an attribute with an empty comment: Napoleon takes words before a colon for its type."""
    if lines and what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]
