"""The documentation site: built once, without network and without a warning, and looked at in Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
KINDS = {
    "start": "index.html",
    "section": "how-to.html",
    "how-to": "fine-tune.html",
    "included": "packages/detloss-transformers.html",
    "evidence": "evidence/README.html",
    "tables": "config.html",
    "commands": "api/commands.html",
    "python": "api/loss.html",
    "plugins": "plugins.html",
    "losses": "losses.html",
    "loss": "losses/siou.html",
    "third party's": "losses/cubic_iou.html",
    "broken": "losses/broken_iou.html",
    "search": "search.html?q=giou",
}
"""A page of each kind."""


@pytest.fixture(scope="session")
def third_parties(tmp_path_factory: pytest.TempPathFactory, build_wheel: Callable[..., Path]) -> Path:
    """A folder in which two packages are installed from wheels: that of docs/minimal-plugin, and a broken one."""
    folder = tmp_path_factory.mktemp("third-parties")
    project = folder / "project"
    shutil.copytree(ROOT / "docs" / "minimal-plugin", project)
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", str(project)]
    subprocess.run(build, check=True, capture_output=True)
    broken = build_wheel("broken-iou", {"broken_iou": "broken_iou:Loss"}, {"broken_iou.py": "raise OSError('no disk')"})
    for wheel in (*(project / "dist").glob("*.whl"), broken):
        zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, third_parties: Path) -> Path:
    """The site, built as CONTRIBUTING.md says, where every warning is an error and no proxy leads outside."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "home").mkdir()
    nowhere = {f"{protocol}_proxy": "http://127.0.0.1:9" for protocol in ("http", "https")}
    homes = {name: str(folder / "home") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder / "site")],
        capture_output=True,
        check=False,
        cwd=ROOT,
        encoding="utf-8",
        env=os.environ | nowhere | homes | {"PYTHONPATH": str(third_parties)},
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are looked at in the browser."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where this machine serves the site, in a subfolder like that of a project on GitHub Pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site.parent))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/site/"
        server.shutdown()
        thread.join()


class Visit:
    """A visitor's window, and what went wrong in it."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.address = address
        self.wrong: list[str] = []
        self.window = browser.new_context(**settings).new_page()
        self.window.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.window.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.window.on("request", lambda asked: self._asked(asked.url))
        self.window.on("response", lambda got: self.wrong.append(got.url) if got.status >= 400 else None)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.address, "data:")):
            self.wrong.append(f"asked for {url}")

    def open(self, page: str) -> Any:
        self.window.goto(self.address + page, wait_until="networkidle")
        return self.window


@pytest.mark.parametrize("page", KINDS.values(), ids=KINDS)
def test_a_page_loads_by_itself(chromium: Any, address: str, page: str) -> None:
    """A page of each kind asks for files of the site only, reports no error, and never scrolls sideways."""
    visit = Visit(chromium, address, viewport=DESKTOP)
    window = visit.open(page)
    assert window.locator("h1").count() == 1
    for size in (DESKTOP, PHONE):
        window.set_viewport_size(size)
        assert window.evaluate("document.documentElement.scrollWidth") <= size["width"]
    window.context.close()
    assert visit.wrong == []


def test_the_theme_follows_the_system_and_the_button(chromium: Any, address: str) -> None:
    """A visitor with a dark system sees a dark page, and the button changes it."""
    window = Visit(chromium, address, viewport=DESKTOP, color_scheme="dark").open("index.html")
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, part) => sum + +part, 0)"
    assert window.evaluate(ground) < 200
    window.locator(".theme-switch-button:visible").click()
    window.locator("[data-bs-theme-value=light]:visible, .theme-switch-container [data-mode=light]:visible").click()
    assert window.evaluate(ground) > 600
    window.context.close()


def test_the_search_finds_a_loss(chromium: Any, address: str) -> None:
    """A search for the name of a loss leads to a page that has it."""
    window = Visit(chromium, address, viewport=DESKTOP).open("search.html?q=giou")
    window.locator("#search-results li a").first.wait_for()
    links = window.locator("#search-results li a").evaluate_all("links => links.map(link => link.pathname)")
    assert [link for link in links if "/losses" in link]
    window.context.close()


def test_a_report_opens_in_the_site(chromium: Any, address: str) -> None:
    """The link of the evidence leads to the report itself, which is not a download."""
    window = Visit(chromium, address, viewport=DESKTOP).open("evidence/README.html")
    window.locator("a[href$='report.html']").first.click()
    window.wait_for_url("**/report.html")
    assert "Which" in window.locator("body").inner_text()
    window.context.close()


def test_an_image_leads_to_itself(chromium: Any, address: str) -> None:
    """A click on an image opens it in its own size, also from a page in a folder."""
    window = Visit(chromium, address, viewport=PHONE).open("evidence/README.html")
    window.locator("article a > img").first.click()
    window.wait_for_url("**/_images/answer.webp")
    assert window.evaluate("document.images[0].naturalWidth") > PHONE["width"]
    window.context.close()


@pytest.mark.parametrize(("name", "math"), [("giou", True), ("cubic_iou", False)])
def test_a_loss_has_a_page(chromium: Any, address: str, name: str, math: bool) -> None:
    """A page has the formula, seven images that the installed code gave, and the measured properties.

    A loss of detloss and a third party's have it, of which the site knows nothing.
    """
    visit = Visit(chromium, address, viewport=PHONE, color_scheme="dark")
    window = visit.open(f"losses/{name}.html")
    assert (window.locator("article math[display=block]").count() > 0) is math
    images = window.locator(".loss-figures img")
    assert images.evaluate_all("images => images.map(image => image.naturalWidth > 100)") == [True] * 7
    text = window.locator("article").inner_text()
    assert math or "1 - IoU**power" in text
    assert re.search(rf"pulls disjoint boxes \(measured\)\s+{'yes' if math else 'no'}", text)
    assert ("as a multiple of torchvision giou" in text) is math, "as docs/speed.json says"
    assert ("minus the reference" in text) is math, "as docs/evidence says"
    window.context.close()
    assert visit.wrong == []


def test_a_broken_loss_has_a_page_that_says_so(site: Path) -> None:
    """A package that cannot be imported breaks no build: the page of its loss names it and the error."""
    page = (site / "losses" / "broken_iou.html").read_text(encoding="utf-8")
    assert "cannot be used" in page
    assert "broken-iou 1.0" in page
    assert "no disk" in page


def test_the_table_is_sorted_and_filtered(chromium: Any, address: str) -> None:
    """A heading sorts by its column, with the keyboard too; a text and a choice of values filter the rows."""
    window = Visit(chromium, address, viewport=DESKTOP).open("losses.html")
    visible = "rows => rows.filter(row => !row.hidden).map(row => row.cells[COLUMN].textContent.trim())"

    def column(number: int) -> list[str]:
        found: list[str] = window.locator(".losses tbody tr").evaluate_all(visible.replace("COLUMN", str(number)))
        return found

    names = column(0)
    assert len(names) == 30
    heading = window.get_by_role("button", name="simulation")
    heading.focus()
    window.keyboard.press("Enter")
    errors = [float(error) for error in column(5) if error]
    assert errors == sorted(errors)
    assert column(0)[-1] == "broken_iou"  # nothing is known of it
    heading.click()
    assert [float(error) for error in column(5) if error] == errors[::-1]
    window.get_by_label("input").select_option("deltas")
    assert sorted(column(0)) == ["balanced_l1", "huber", "l1", "smooth_l1"]
    window.get_by_label("Filter the losses").fill("huber")
    assert column(0) == ["huber"]
    assert window.locator(".losses output").inner_text() == "1 of 30"
    window.context.close()


def test_the_workflow_builds_as_the_docs_say() -> None:
    """GitHub publishes what the command of CONTRIBUTING.md builds, and follows outer links on a schedule."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
    (command,) = re.findall(r"^\$ (sphinx-build .*)$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    runs = {name: [step.get("run", "") for step in job["steps"]] for name, job in workflow["jobs"].items()}
    assert f"uv run --group docs {command}" in runs["build"]
    assert any("-b linkcheck" in run for run in runs["links"])
    assert workflow[True]["schedule"]  # YAML 1.1 reads the key `on` as a truth value
