from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from detloss.cli.schema import config_schema
from detloss.registry import find_plugins

Run = Callable[..., tuple[int, str, str]]

LOSSES = '''
"""Losses with every kind of schema."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor

from detloss.loss import BoxRegressionLoss, LossConfig, NestedSpec


class Curve(BaseModel):
    steps: list[int] = []


class Abstract(BoxRegressionLoss):
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return (pred - target).abs().sum(dim=-1)


class AroundLoss(Abstract):
    """Around another."""

    class Config(LossConfig):
        inner: NestedSpec
        curve: Curve = Curve()
        alpha: float = Field(3.0, gt=0)
        """Power of the IoU."""

    config: Config


class Strange:
    pass


class NoSchemaLoss(Abstract):
    """Its Config has no JSON schema."""

    class Config(LossConfig):
        model_config = {"arbitrary_types_allowed": True}
        strange: Strange = Strange()

    config: Config
'''


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema over what is installed."""
    return config_schema()[0]


def errors(schema: dict[str, Any], config: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(config)]


def test_schema_is_a_schema(schema: dict[str, Any]) -> None:
    """What is exported is valid JSON schema, and every reference in it leads somewhere."""
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(schema)
    references = {part.partition('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert references <= set(schema["$defs"])


@pytest.mark.parametrize(
    "losses",
    [
        "giou",
        {"name": "smooth_l1", "beta": 0.1, "weight": 2},
        ["giou", {"name": "smooth_l1", "normalizer": "positives", "compile": True}],
    ],
)
def test_right_configs_pass(schema: dict[str, Any], losses: Any) -> None:
    """Names, specs and lists of installed losses pass, in a model config and in a training config."""
    config = {"model": "fasterrcnn", "backbone": "resnet18", "losses": {"roi_heads": losses}, "weights": None}
    assert errors(schema, config) == []
    assert errors(schema, {**config, "data": {"shapes": {"train": 3}}, "train": {"epochs": 3}}) == []


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model": "nonsense"},
        {"model": "ssd300_vgg16", "modle": 3},
        {"model": "ssd300_vgg16", "losses": {"roi_heads": "nonsense"}},
        {"model": "ssd300_vgg16", "losses": {"nonsense": "giou"}},
        {"model": "ssd300_vgg16", "losses": {"roi_heads": {"name": "smooth_l1", "btea": 1}}},
        {"model": "ssd300_vgg16", "losses": {"roi_heads": {"name": "smooth_l1", "beta": -1}}},
        {"model": "ssd300_vgg16", "losses": {"roi_heads": []}},
        {"model": "ssd300_vgg16", "train": {"epocs": 1}},
    ],
)
def test_wrong_configs_fail(schema: dict[str, Any], config: Any) -> None:
    """Unknown keys, names and heads, and values out of bounds, fail."""
    assert errors(schema, config)


def test_every_installed_loss_is_offered(schema: dict[str, Any]) -> None:
    """Each installed loss is offered by name with its description, and as a spec with its parameters."""
    offered = {entry["const"]: entry["description"] for entry in schema["$defs"]["loss"]["anyOf"][0]["oneOf"]}
    assert offered == {plugin.name: plugin.description for plugin in find_plugins()}
    spec = schema["$defs"]["loss.smooth_l1"]
    assert set(spec["properties"]) == {"name", "weight", "normalizer", "compile", "beta"}
    assert set(schema["$defs"]["nested.smooth_l1"]["properties"]) == {"name", "beta"}


def test_row_24_broken_schema_is_left_out(packages: Any) -> None:
    """A loss whose import or schema fails is left out with the reason; the others are there, nested ones included."""
    packages.add(
        "mixed",
        losses={"around": "mixed_g:AroundLoss", "ill": "mixed_ill:X", "strange": "mixed_g:NoSchemaLoss"},
        modules={"mixed_g.py": LOSSES, "mixed_ill.py": "raise SystemExit(3)"},
    )
    schema, left_out = config_schema()
    assert {plugin.name for plugin in left_out} == {"ill", "strange"}
    assert "mixed" in next(reason for plugin, reason in left_out.items() if plugin.name == "ill")
    config = {"model": "ssd300_vgg16"}
    jsonschema.Draft202012Validator.check_schema(schema)
    for inner in ("giou", {"name": "around", "inner": "giou", "curve": {"steps": [1]}}):
        assert errors(schema, {**config, "losses": {"rpn": {"name": "around", "inner": inner, "alpha": 2}}}) == []
    for wrong in (
        {"name": "around"},
        {"name": "around", "inner": "nonsense"},
        {"name": "around", "inner": {"name": "giou", "weight": 2}},
        {"name": "around", "inner": "giou", "curve": {"steps": ["x"]}},
        {"name": "ill"},
    ):
        assert errors(schema, {**config, "losses": {"rpn": wrong}})


def test_conflicting_names(packages: Any, loss_source: str) -> None:
    """A name that two packages claim is offered as `package:name` of each."""
    for name in ("one", "two"):
        packages.add(name, losses={"same": f"{name}_g:FarLoss"}, modules={f"{name}_g.py": loss_source})
    schema, left_out = config_schema()
    assert left_out == {}
    for name, right in (("one:same", True), ("two:same", True), ("same", False)):
        config = {"model": "ssd300_vgg16", "losses": {"rpn": {"name": name, "scale": 2}}}
        assert (errors(schema, config) == []) is right


def test_command(run_detloss: Run, tmp_path: Path) -> None:
    """`detloss schema` prints the schema and nothing else; `--output` writes the same to a file."""
    code, printed, err = run_detloss("schema")
    assert (code, err) == (0, "")
    assert json.loads(printed)["title"] == "detloss config"
    file = tmp_path / "detloss.json"
    assert run_detloss("schema", "--output", str(file)) == (0, "", "")
    assert file.read_text() == printed


def test_command_reports_what_is_left_out(packages: Any, run_detloss: Run) -> None:
    """On stderr the command names each loss that it left out, its package and the reason; stdout stays JSON."""
    packages.add(
        "loud", losses={"ill": "loud_ill:X"}, modules={"loud_ill.py": "print('hello')\nraise OSError('no disk')"}
    )
    code, out, err = run_detloss("schema")
    assert code == 0
    assert "giou" in json.dumps(json.loads(out))
    assert "Skipped: The loss 'ill' of loud 1.0 cannot be used: its import raised OSError" in err
    assert "no disk" in err


def test_unwritable_output(run_detloss: Run, tmp_path: Path) -> None:
    """A file that cannot be written is an error in one line."""
    code, out, err = run_detloss("schema", "--output", str(tmp_path / "nowhere" / "x.json"))
    assert (code, out) == (2, "")
    assert "cannot be written: No such file or directory" in " ".join(err.replace("│", " ").split())
