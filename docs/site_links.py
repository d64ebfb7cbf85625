"""What Markdown that is written for GitHub needs to be a site: links, reports and images."""

from __future__ import annotations

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

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


def setup(app: Sphinx) -> None:
    """Register what is done to pages."""
    app.connect("source-read", lambda _app, docname, source: _links(DOCS / f"{docname}.md", source))
    app.connect("include-read", lambda _app, path, _docname, source: _links(DOCS / path, source))
    app.connect("doctree-read", _no_mail)
    app.connect("doctree-resolved", _open_reports)
    app.connect("doctree-resolved", _open_images)


def _links(page: Path, source: list[str]) -> None:
    """Let links of a page, written for GitHub, lead to the pages of the site."""

    def of_site(match: re.Match[str]) -> str:
        path = Path(os.path.relpath(page.parent / match["path"], ROOT)).as_posix()
        if path in PAGES:
            return f"]({PAGES[path]}{match['anchor']}"
        target = Path(os.path.relpath(ROOT / path, DOCS)).as_posix()
        return f"](/{target}{match['anchor']}" if (ROOT / path).exists() else match[0]

    source[0] = re.sub(r"\]\((?P<path>[\w./-]+)(?P<anchor>(?:#[^)]*)?\))", of_site, source[0])


def _no_mail(_app: Sphinx, doctree: nodes.document) -> None:
    """Undo the mail addresses that reStructuredText sees in the help of a command, as in `name@equal`."""
    for node in list(doctree.findall(nodes.reference)):
        if node.get("refuri", "").startswith("mailto:"):
            node.replace_self(node.children)


def _open_reports(_app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Open a report where it lies: Sphinx would offer a file that is not a page as a download only."""
    for node in list(doctree.findall(addnodes.download_reference)):
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
