"""`detloss export`: files that need no detloss and find what the trained detector finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import killed
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from detloss.training import load_trained
from detloss.training.data.images import read_image
from detloss.training.data.synthetic import SHAPES

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.slow  # the first one of a process trains a tiny run

NAMES = dict(enumerate(SHAPES, start=1))
PROGRAM = """
import json, sys
sys.modules["detloss"] = None  # whatever imports it fails
sys.path.insert(0, sys.argv[1])
import numpy, torch
from PIL import Image
from model import CLASS_NAMES, model

pixels = torch.tensor(numpy.asarray(Image.open(sys.argv[2]).convert("RGB"))).permute(2, 0, 1) / 255
with torch.inference_mode():
    (found,) = model([pixels])
print(json.dumps([CLASS_NAMES, found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist()]))
"""


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the run that may be changed."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def detected(run: Path, image: Path) -> dict[str, np.ndarray]:
    """What the run's best weights find in an image."""
    with torch.inference_mode():
        (found,) = load_trained(run)([read_image(image) / 255])
    assert len(found["boxes"]) > 0
    return {key: value.numpy() for key, value in found.items()}


def test_a_state_dict_and_the_code_that_loads_it(run_detloss: Run, run: Path, trained_run: Path) -> None:
    """Where detloss cannot be imported, the two files give torchvision's detector that finds the same, with names."""
    image = trained_run.parent / "images" / "00002.png"
    code, out, err = run_detloss("export", str(run))
    assert (code, err) == (0, "")
    assert f"{run / 'model.pth'}  " in out
    assert "of the validation data: 5 detections, exactly those of best.ckpt." in out
    assert "To use it: from model import CLASS_NAMES, model" in out
    done = killed.python("-W", "error", "-c", PROGRAM, str(run), str(image))
    assert done.returncode == 0, done.stderr
    names, boxes, scores, labels = json.loads(done.stdout)
    assert names == {str(label): name for label, name in NAMES.items()}
    expected = detected(run, image)
    np.testing.assert_allclose(boxes, expected["boxes"], atol=1e-3)
    np.testing.assert_allclose(scores, expected["scores"], atol=1e-5)
    assert labels == expected["labels"].tolist()


def test_an_onnx_file(run_detloss: Run, run: Path, trained_run: Path, tmp_path: Path) -> None:
    """The runtime finds what the detector finds, in images of other sizes too, and the file has the class names."""
    file = tmp_path / "detector.onnx"
    code, out, err = run_detloss("export", str(run), "--format", "onnx", "--output", str(file))
    assert (code, err) == (0, "")
    assert f"{file}  " in out
    session = onnxruntime.InferenceSession(file)
    assert [each.name for each in session.get_outputs()] == ["boxes", "labels", "scores"]
    image = trained_run.parent / "images" / "00002.png"
    with Image.open(image) as stored:
        stored.resize((100, 50)).save(tmp_path / "wide.png")
    for path in (image, tmp_path / "wide.png"):
        boxes, labels, scores = session.run(None, {"image": (read_image(path) / 255).numpy()})
        expected = detected(run, path)
        np.testing.assert_allclose(boxes, expected["boxes"], atol=1e-2)
        np.testing.assert_allclose(scores, expected["scores"], atol=1e-4)
        assert labels.tolist() == expected["labels"].tolist()
    properties = {each.key: json.loads(each.value) for each in onnx.load(file).metadata_props}
    assert {each["label"]: each["name"] for each in properties["categories"]} == NAMES
    assert properties["preprocessing"]["color"] == "RGB"


def test_an_image_of_ones_own(run_detloss: Run, run: Path, trained_run: Path, tmp_path: Path) -> None:
    """Without the run's data an image is asked for, and with one the export is checked on that."""
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(trained_run.parent), str(tmp_path / "gone")))
    code, _, err = run_detloss("export", str(run))
    assert code == 1
    assert "does not exist" in err
    assert "To check the export on another image, name it (--image)." in err
    image = trained_run.parent / "images" / "00001.png"
    code, out, _ = run_detloss("export", str(run), "--image", str(image), "--checkpoint", "last")
    assert code == 0
    assert f"Checked on {image}: " in out


def test_what_cannot_be_checked_is_not_written(run_detloss: Run, run: Path) -> None:
    """A detector that finds nothing leaves no file, and the error asks for an image."""
    saved = torch.load(run / "best.ckpt", weights_only=True)
    bias = saved["state_dict"]["model.roi_heads.box_predictor.cls_score.bias"]
    bias[0] = 100.0  # all is background
    torch.save(saved, run / "best.ckpt")
    code, _, err = run_detloss("export", str(run))
    assert code == 1
    assert "finds nothing in 12 images of the run's data" in err
    assert not list(run.glob("model.*"))


def test_an_output_of_another_kind(run_detloss: Run, run: Path) -> None:
    """A name that does not end as such a file does is refused, before anything is overwritten."""
    code, _, err = run_detloss("export", str(run), "--output", str(run / "config.yaml"))
    assert code == 1
    assert "config.yaml: wrong suffix (expected .pth). Fix: choose another output." in err


def test_a_file_that_cannot_be_written(run_detloss: Run, run: Path) -> None:
    """A place that cannot be written to is named."""
    for kind, suffix in (("state_dict", "pth"), ("onnx", "onnx")):
        file = run / "config.yaml" / f"a.{suffix}"
        code, _, err = run_detloss("export", str(run), "--format", kind, "--output", str(file))
        assert code == 1
        assert "cannot be written" in err
        assert "Traceback" not in err
