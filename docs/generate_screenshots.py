"""Take the screenshots of a report that the docs show: `docs/compare/`.

    python docs/generate_screenshots.py DIR/report.html

Needs Chromium (Debian: ``apt-get install chromium``). Each file stays below 300 kB.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).resolve().parent / "compare"
SHOTS = {
    "first-screen": ((1280, 800), "light", None),
    "phone-dark": ((390, 844), "dark", None),
    "thresholds": ((1280, 800), "light", "section:has(h2:has-text('Where boxes must fit better'))"),
    "images": ((1280, 800), "light", ".pair >> nth=0"),
}
"""File -> size of the window, colors, and the part of the page; by default what is seen without scrolling."""


def main(report: Path) -> None:
    """Take all of them."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, ((width, height), scheme, part) in SHOTS.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
            )
            page.goto(report.resolve().as_uri())
            png = page.locator(part).screenshot() if part else page.screenshot()
            path = FOLDER / f"{name}.webp"
            Image.open(io.BytesIO(png)).convert("RGB").save(path, quality=85, method=6)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
