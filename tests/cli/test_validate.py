from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]

GOOD = """\
model: fasterrcnn
backbone: mobilenet_v2
num_classes: 4
losses:
  roi_heads:
    - giou
    - {name: smooth_l1, beta: 0.5, weight: 2, normalizer: positives}
"""
BAD = """\
model: fasterrcnn_resnet50_fnp
num_clases: 4
losses: {roi_heads: {name: giou, esp: 1}, rpn: smoth_l1}
"""


@pytest.fixture
def validate(run_detloss: Run) -> Run:
    """Run `detloss validate` and return exit code, stdout and stderr."""
    return lambda *arguments: run_detloss("validate", *map(str, arguments))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "model.yaml"
        file.write_text(text)
        return file

    return write


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_valid(validate: Run, write: Callable[[str], Path]) -> None:
    """A valid config prints the model and each loss with parameters, the weight that will be used, and its package."""
    file = write(GOOD)
    code, out, err = validate(file)
    assert (code, err) == (0, "")
    printed = rows(out)
    assert out.startswith(f"{file} is valid: a model config, fasterrcnn on mobilenet_v2, 4 classes.")
    giou = next(row for row in printed if "giou" in row)
    # 10 is what giou recommends for roi_heads.
    assert giou[:2] + giou[-5:] == ["roi_heads", "giou", "10", "(recommended)", "stock", "detloss-iou", giou[-1]]
    assert ["roi_heads", "smooth_l1", "beta:", "0.5", "2", "positives", "detloss-l1"] in [row[:-1] for row in printed]


def test_json(validate: Run, write: Callable[[str], Path]) -> None:
    """`--json` prints the same as data, after overrides."""
    code, out, _ = validate(write(GOOD), "--json", "--set", "losses.roi_heads.1.beta=0.25", "--set", "num_classes=7")
    assert code == 0
    found = json.loads(out)
    assert found["valid"]
    assert found["config"]["num_classes"] == 7
    assert [(loss["name"], loss["weight"], loss["weight_from"]) for loss in found["losses"]] == [
        ("giou", 10, "recommended"),
        ("smooth_l1", 2, "config"),
    ]
    assert found["losses"][1]["parameters"] == {"beta": 0.25}


def test_invalid(validate: Run, write: Callable[[str], Path]) -> None:
    """A wrong config exits with 1 and prints every error with its place on stderr, nothing on stdout."""
    file = write(BAD)
    code, out, err = validate(file)
    assert (code, out) == (1, "")
    model = "'fasterrcnn_resnet50_fnp' is not a detector of torchvision; did you mean 'fasterrcnn_resnet50_fpn'?"
    for line in (
        f"{file}:1:8: model: {model}",
        f"{file}:2:1: num_clases: unknown key; did you mean 'num_classes'?",
        f"{file}:3:34: losses.roi_heads.esp: unknown key; did you mean 'eps'?",
        f"{file}:3:48: losses.rpn: There is no loss 'smoth_l1'.",
    ):
        assert line in err


def test_invalid_json(validate: Run, write: Callable[[str], Path]) -> None:
    """`--json` prints the errors as data, and exits with 1 all the same."""
    code, out, _ = validate(write(BAD), "--json")
    assert code == 1
    found = json.loads(out)
    assert not found["valid"]
    assert [(error["line"], error["column"], error["near"]) for error in found["errors"]] == [
        (1, 8, "fasterrcnn_resnet50_fpn"),
        (2, 1, "num_classes"),
        (3, 34, "eps"),
        (3, 48, "smooth_l1"),
    ]


def test_train_config(validate: Run, write: Callable[[str], Path]) -> None:
    """A file with `data` or `train` is checked as a training config, an override of these sections included."""
    text = GOOD + "data: {shapes: {train: 8, val: 4}}\n"
    assert "a training config" in validate(write(text))[1]
    code, _, err = validate(write(text + "train: {epocs: 2}\n"))
    assert code == 1
    assert "9:9: train.epocs: unknown key; did you mean 'epochs'?" in err
    _, _, err = validate(write(text), "--set", "train.epochs=0")
    assert "override: train.epochs: should be greater than or equal to 1, found 0" in err
    assert "data: is missing" in validate(write(GOOD), "--set", "train.epochs=3")[2]


NEEDS = {
    "data": (
        GOOD + "data: {train: {images: a, annotations: a.json}, val: {images: b, annotations: b.json}}\n",
        "a.json does not exist",
    ),
    "weights": (GOOD + "weights_backbone: DEFAULT\n", "building a model downloads nothing"),
    "weights of a run": (
        GOOD + "weights_backbone: DEFAULT\ndata: {shapes: {train: 8, val: 4}}\n",
        "building a model downloads nothing",
    ),
    "classes": (
        GOOD.replace("num_classes: 4", "num_classes: 9") + "data: {shapes: {train: 8, val: 4}}\n",
        "num_classes",
    ),
    "trainer": (
        GOOD + "data: {shapes: {train: 8, val: 4}}\ntrain: {accelerator: abacus}\n",
        "Lightning refuses the section `train`",
    ),
}


@pytest.mark.parametrize(("text", "message"), NEEDS.values(), ids=NEEDS)
def test_what_a_run_needs(
    validate: Run, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    """What would end `detloss train` at once is an error; `--no-data` looks at the text alone, and says so."""
    file = write(text)
    monkeypatch.setenv("TORCH_HOME", str(file.parent))
    code, out, err = validate(file)
    assert (code, out) == (1, "")
    assert message in err
    code, out, _ = validate(file, "--json")
    assert code == 1
    assert message in json.loads(out)["errors"][0]["message"]
    code, out, _ = validate(file, "--no-data")
    assert code == 0
    assert "Not checked (--no-data): weights, data and trainer." in out
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.yaml"]


def test_no_losses(validate: Run, write: Callable[[str], Path]) -> None:
    """A config without losses is valid and says that the heads keep torchvision's own."""
    code, out, _ = validate(write("model: ssd300_vgg16\n"))
    assert code == 0
    assert "every head keeps torchvision's own" in out


def test_row_07_libraries_that_give_up(packages: Any, write: Callable[[str], Path], run_python: Any) -> None:
    """Where a package's metadata makes pydantic or torch give up, the command names its file and line, not a frame."""
    info = packages.add("latin", entry_points=b"[x]\n\xe9 = m:C\n")
    config = write("model: ssd300_vgg16\nlosses: {ssd: giou}\n")
    done = run_python("-m", "detloss", "validate", str(config), PYTHONPATH=str(packages.folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Problem: {info / 'entry_points.txt'}:2: is not UTF-8." in done.stderr
    assert "Traceback" not in done.stderr
    listed = run_python("-W", "error", "-m", "detloss", "list", PYTHONPATH=str(packages.folder))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "giou" in listed.stdout
    assert f"Problem: {info / 'entry_points.txt'}:2: is not UTF-8." in listed.stdout


def test_missing_file(validate: Run, tmp_path: Path) -> None:
    """A file that is not there is an error in one line, and in JSON too."""
    code, _, err = validate(tmp_path / "nowhere.yaml")
    assert code == 1
    assert "nowhere.yaml: cannot be read" in err
    found: dict[str, Any] = json.loads(validate(tmp_path / "nowhere.yaml", "--json")[1])
    assert found["errors"][0]["file"].endswith("nowhere.yaml")


def test_noisy_plugin(validate: Run, write: Callable[[str], Path], packages: Any, loss_source: str) -> None:
    """What a plugin prints when it is imported goes to stderr, so that the JSON stays JSON."""
    packages.add("loud", losses={"loud": "loud_v:FarLoss"}, modules={"loud_v.py": f"{loss_source}\nprint('hello')"})
    _, out, err = validate(write("model: ssd300_vgg16\nlosses: {ssd: loud}\n"), "--json")
    assert json.loads(out)["losses"][0]["package"] == "loud"
    assert "hello" in err
