"""Write the code for each model in docs/use-the-model.md; ``--check`` only compares."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from detloss import ModelConfig, build_model
from detloss.models.architecture import FPN_MODELS, detectors
from detloss.models.recipe import torchvision_code

OUTPUT = Path(__file__).resolve().parent / "use-the-model.md"
RECIPES = re.compile(r"(?<=<!-- recipes -->\n).*(?=<!-- end of recipes -->)", re.DOTALL)
BACKBONES = ("tiny", "mobilenet_v2", "resnet18")
"""One of each kind: the code for the others has another name in it, and `tiny` is long."""
CLASSES = 4


def configs() -> Iterator[ModelConfig]:
    """Each model that the page shows."""
    for model in detectors():
        for backbone in BACKBONES[model == "maskrcnn" :] if model in FPN_MODELS else (None,):
            yield ModelConfig(model=model, backbone=backbone, num_classes=CLASSES)


def recipe(config: ModelConfig) -> str:
    """Return a model's part of the page."""
    backbone = f", `backbone: {config.backbone}`" if config.backbone else ""
    code = torchvision_code(config, build_model(config))
    return f"`model: {config.model}`{backbone}\n\n```py\n{code}```\n"


def main(arguments: list[str] | None = None) -> None:
    """Write the page, or with ``--check`` end with an error where it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    options = parser.parse_args(arguments)
    old = OUTPUT.read_text(encoding="utf-8")
    new = RECIPES.sub(lambda _: "\n" + "\n".join(map(recipe, configs())) + "\n", old)
    if options.check and new != old:
        raise SystemExit(f"{OUTPUT.name} is out of date: run `python docs/generate_recipes.py`.")
    if not options.check:
        OUTPUT.write_text(new, encoding="utf-8")
        print(f"wrote {OUTPUT.name}")


if __name__ == "__main__":
    main()
