"""Take the image of the README, `docs/images/overview.webp`, from two runs of a comparison.

    python docs/generate_overview.py TEST.json IMAGES FILE_NAME RUN_OF_SMOOTH_L1 RUN_OF_GIOU

It shows what both runs predict in the test image FILE_NAME. Choose one on which they differ as on the median image.
Needs Chromium (Debian: ``apt-get install chromium``).
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from playwright.sync_api import sync_playwright
from torchvision.ops import box_convert, box_iou

OUTPUT = Path(__file__).resolve().parent / "images" / "overview.webp"
COLORS = {"smooth_l1": "#5b6470", "giou": "#0072b2"}
PAGE = """
<style>
  body { margin: 0; background: #f6f8fa; color: #1c1f24; font: 17px/1.45 "Liberation Sans", Arial, sans-serif }
  main { display: grid; grid-template-columns: 300px 1fr 1fr; gap: 28px; padding: 22px 28px 12px; align-items: start }
  h2 { margin: 0 0 10px; font-size: 19px } h2 b { padding: 1px 9px; border-radius: 6px; color: white }
  pre { margin: 0 0 14px; padding: 14px 16px; border-radius: 8px; background: #1c1f24; color: #e6e9ed;
        font: 16px/1.55 "Liberation Mono", monospace }
  pre b { padding: 1px 6px; border-radius: 5px; background: #0072b2; color: white }
  p { margin: 0 0 12px; color: #444b55 } svg { display: block; width: 100%; border-radius: 6px }
  code { font: 15px "Liberation Mono", monospace; color: #1c1f24 }
</style>
<main>
  <section>
    <h2>Name a loss</h2>
    <pre>model: fasterrcnn
backbone: mobilenet_v2
losses:
  roi_heads: <b>giou</b></pre>
    <p><code>smooth_l1</code>, <code>ciou</code>, <code>siou</code>, <code>wiou</code>, <code>nwd</code>, …
    or your own</p>
    <h2>Which one is better?</h2>
    <p>One image cannot say (dashed: its labels). <code>detloss&nbsp;compare</code> trains each loss several times,
    judges all images, and says how sure it is.</p>
  </section>
  {panels}
</main>
"""


def panel(name: str, image: Path, truth: list[list[float]], found: list[list[float]]) -> str:
    """The image with the labeled boxes, dashed, and for each the prediction that fits best."""
    width, height = Image.open(image).size
    ious = box_iou(*(box_convert(torch.tensor(boxes), "xywh", "xyxy") for boxes in (truth, found)))
    best, places = ious.max(dim=1)
    shown = [found[place] for place, iou in zip(places.tolist(), best.tolist(), strict=True) if iou >= 0.5]
    data = base64.b64encode(image.read_bytes()).decode()
    size = f'width="{width}" height="{height}"'
    return f"""<section><h2><b style="background: {COLORS[name]}">{name}</b> mean IoU {best.mean():.2f}</h2>
      <svg viewBox="0 0 {width} {height}"><image href="data:image/jpeg;base64,{data}" {size}/>
      {"".join(rectangle(box, "white", 4) + rectangle(box, "black", 2, "8 6") for box in truth)}
      {"".join(rectangle(box, COLORS[name], 5) for box in shown)}</svg></section>"""


def rectangle(box: list[float], color: str, width: int, dashes: str = "none") -> str:
    """One box."""
    x, y, w, h = box
    style = f'fill="none" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"'
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" {style}/>'


def main(annotations: Path, images: Path, name: str, *runs: Path) -> None:
    """Take the image."""
    coco = json.loads(annotations.read_text(encoding="utf-8"))
    (number,) = [image["id"] for image in coco["images"] if image["file_name"] == name]

    def boxes(entries: list[dict[str, Any]]) -> list[list[float]]:
        return [each["bbox"] for each in entries if each["image_id"] == number and each.get("score", 1) >= 0.5]

    truth = boxes(coco["annotations"])
    predicted = [json.loads((run / "predictions-test.json").read_text(encoding="utf-8")) for run in runs]
    pairs = zip(COLORS, predicted, strict=True)
    panels = "".join(panel(loss, images / name, truth, boxes(found)) for loss, found in pairs)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 100}, device_scale_factor=1.5)
        page.set_content(PAGE.replace("{panels}", panels))
        png = page.screenshot(full_page=True)
        browser.close()
    Image.open(io.BytesIO(png)).convert("RGB").save(OUTPUT, quality=82, method=6)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    annotations, images, name, *runs = sys.argv[1:]
    main(Path(annotations), Path(images), name, *map(Path, runs))
