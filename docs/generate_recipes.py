"""Write the code for each model in docs/use-the-model.md; ``--check`` only compares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pages import rewrite

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


def page(text: str) -> str:
    """Return the page with the code for each model."""
    return RECIPES.sub(lambda _: "\n" + "\n".join(map(recipe, configs())) + "\n", text)


def main(arguments: list[str] | None = None) -> None:
    """Write the page; with ``--check`` fail if it is out of date."""
    rewrite(__file__, __doc__, OUTPUT, page, arguments)


if __name__ == "__main__":
    main()
