"""The page on using a trained model: its code runs, and builds in plain torchvision what detloss builds."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_models import KINDS
from torch import nn

from detloss import ModelConfig, build_model
from detloss.models.recipe import torchvision_code
from detloss.training.data.synthetic import SHAPES
from detloss.training.export import export
from detloss.training.trained import open_trained

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "use-the-model.md").read_text(encoding="utf-8")
GENERATOR = runpy.run_path(str(DOCS / "generate_recipes.py"))
SHOWN = list(GENERATOR["configs"]())


def name_of(config: ModelConfig) -> str:
    return f"{config.model}-{config.backbone}" if config.backbone else config.model


def detections(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a model finds in a small image, whatever its score."""
    parts: Any = model.eval()
    parts.transform.min_size, parts.transform.max_size = (64,), 96
    parts = getattr(parts, "roi_heads", parts)
    parts.score_thresh, parts.detections_per_img = 0.0, 5
    with torch.inference_mode():
        (found,) = model([image])
    return found


def code_of(config: ModelConfig) -> str:
    return str(GENERATOR["recipe"](config))


@pytest.mark.parametrize("config", SHOWN, ids=name_of)
def test_the_page_shows_the_code_of_each_model(config: ModelConfig) -> None:
    """What the page shows for a `model:` is the code that an export writes."""
    with torch.device("meta"):
        assert f"\n{code_of(config)}\n" in PAGE, "run `python docs/generate_recipes.py`"


@pytest.mark.slow
@pytest.mark.parametrize("config", [each for each in SHOWN if each.model in KINDS or each.backbone], ids=name_of)
def test_the_code_on_the_page_builds_the_model(config: ModelConfig) -> None:
    """Of each kind of model, the code on the page takes its weights in plain torchvision, and finds the same."""
    compare(build_model(config), code_of(config).partition("```py\n")[2].removesuffix("```\n"))


def compare(model: nn.Module, code: str) -> None:
    """Run code that builds a model, give that the weights of another one, and compare what the two find."""
    namespace: dict[str, Any] = {}
    exec(compile(code, "model.py", "exec"), namespace)
    plain = namespace["model"]
    assert not [module for module in plain.modules() if type(module).__module__.startswith("detloss")]
    plain.load_state_dict(model.state_dict())
    image = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    expected, found = detections(model, image), detections(plain, image)
    assert len(expected["boxes"]) > 0
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)


OTHERS = [
    {"model": "maskrcnn", "backbone": "tiny", "options": {"box_score_thresh": 0.3}},
    {"model": "fasterrcnn", "backbone": "mobilenet_v3_small", "options": {"min_size": [64, 80], "rpn_nms_thresh": 0.5}},
]


@pytest.mark.slow
@pytest.mark.parametrize("config", OTHERS, ids=lambda config: f"{config['model']}-{config['backbone']}")
def test_other_models_are_built_likewise(config: dict[str, Any]) -> None:
    """So does the code for other backbones, and for a config with options."""
    model = build_model(config)
    compare(model, torchvision_code(ModelConfig(**config), model))


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [{"model": "fasterrcnn", "backbone": "tiny"}, {"model": "fasterrcnn_resnet50_fpn"}],
    ids=lambda config: config["model"],
)
def test_frozen_norms(config: dict[str, Any], tmp_path: Path) -> None:
    """A model that was begun from weights has frozen norms, of an eps of its own in some of torchvision's."""
    torch.save(build_model(config).state_dict(), tmp_path / "begun.pth")
    config = {**config, "weights": str(tmp_path / "begun.pth")}
    model = build_model(config)
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if type(part).__name__ == "FrozenBatchNorm2d":
            # As small as the eps that new norms have, and at a scale of about 1.
            part.running_var.uniform_(1e-5, 1e-4, generator=generator)
            part.weight.copy_(part.running_var.sqrt())
            if "backbone" not in config:
                part.eps = 0.0
    compare(model, torchvision_code(ModelConfig(**config), model))


def test_the_page_has_no_other_model() -> None:
    """Each code on the page is of a model that there is, once."""
    assert PAGE.count("```py\n") == len(SHOWN) == len({name_of(config) for config in SHOWN})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*is not supported")
@pytest.mark.filterwarnings("ignore:.*always returns a .Losses, Detections. tuple in scripting")
def test_the_code_on_the_page_runs(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the run's folder to detections: with detloss, from the files of an export, and from TorchScript."""
    run = Path(shutil.copytree(trained_run, tmp_path / "runs" / "shapes"))
    with Image.open(trained_run.parent / "images" / "00001.png") as image:
        image.save(tmp_path / "photo.jpg", quality=100)
    trained = open_trained(run)
    export(trained, "state_dict")
    export(trained, "onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(run)
    namespace: dict[str, Any] = {}
    found = []
    try:
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block.replace("score >= 0.5", "score >= 0"), "use-the-model.md", "exec"), namespace)
            found.append(namespace["found"])
    finally:
        sys.modules.pop("model", None)
    assert len(found) == 5
    first = found[0]
    assert len(first["boxes"]) > 0
    for other in (found[2], found[3], {key: torch.tensor(namespace[key]) for key in ("boxes", "labels", "scores")}):
        for key, value in first.items():
            torch.testing.assert_close(other[key], value, atol=1e-3, rtol=1e-4)
    printed = capsys.readouterr().out
    names = [SHAPES[label - 1] for label in first["labels"].tolist()]
    assert [line.split()[0] for line in printed.splitlines()[: len(names)]] == names
    assert printed.count(f"{names}\n") == 2
    assert "{'label': 1, 'id': 10, 'name': 'ellipse'}" in printed
