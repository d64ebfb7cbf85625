"""`detloss validate CONFIG`: every error of a config, or what it means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import FAILED, Command, Result
from detloss.cli.command import needs as needs_extra
from detloss.cli.options import PATH, overrides
from detloss.errors import ConfigError, DetlossError, Finding
from detloss.text import counted

if TYPE_CHECKING:
    from detloss.config import ModelConfig


@click.command("validate", cls=Command, json="Print the result or the errors as JSON.")
@click.argument("config", type=PATH, help="A .yaml, .toml or .json file.")
@overrides
@click.option("--no-data", is_flag=True, help="Check the text alone: no data and no weights are read.")
def command(config: Path, overrides: tuple[str, ...], no_data: bool) -> Result:
    """Check a config, and that everything it needs is there.

    Prints the losses that the config selects, or every error with file, line and column (exit 1). The model is built
    with its weights. If the file has a `data` or `train` section, the data is read and the trainer is made. The
    packages of the losses are imported.
    """
    try:
        found = resolve(config, overrides, needs=not no_data)
    except DetlossError as error:
        errors = error.findings if isinstance(error, ConfigError) else [Finding(str(error))]
        data = {"valid": False, "file": str(config), "errors": [asdict(each) for each in errors]}
        return Result(data, partial(_raise, error), FAILED)
    return Result(found, lambda: _print(found))


def resolve(file: Path, overrides: Sequence[str], *, needs: bool = True) -> dict[str, Any]:
    """Return what a config means, as data for JSON.

    With ``needs`` its weights and data are tried.

    Raises:
        ConfigError: The config is wrong, or weights are missing or do not match.
        DataError: The data cannot be trained on.
    """
    from detloss.config import resolve_config
    from detloss.models import build_model, check_model
    from detloss.registry import one_scan
    from detloss.registry.loading import blamed

    with one_scan():
        schema = _schema(file, overrides)
        config, found = resolve_config(file, schema, overrides, check=check_model)
        if needs and schema.__name__ == "ModelConfig":
            build_model(config)
        elif needs:
            with needs_extra("train", "Checking what a run needs"):
                from detloss.training.run import check_run

            check_run(file, overrides)
    losses = []
    for head, specs in config.losses.items():
        for spec, resolved in zip(specs, found[head], strict=True):
            with blamed(resolved.plugin, "its recommended weights or its Config"):
                recommended = resolved.cls.recommended_weights.get(head.rpartition(":")[2])
                parameters = resolved.config.model_dump(mode="json")
            weight, source = spec.weight, "config"
            if weight is None:
                weight, source = (1.0, "default") if recommended is None else (recommended, "recommended")
            losses.append(
                {
                    "head": head,
                    "name": resolved.plugin.name,
                    "parameters": parameters,
                    "weight": weight,
                    "weight_from": source,
                    "normalizer": spec.normalizer,
                    "compile": spec.compile,
                    "package": resolved.plugin.package,
                    "version": resolved.plugin.version,
                }
            )
    return {
        "valid": True,
        "file": str(file),
        "kind": schema.__name__,
        "config": config.model_dump(mode="json"),
        "losses": losses,
        "needs_checked": needs,
        "errors": [],
    }


def _schema(file: Path, overrides: Sequence[str]) -> type[ModelConfig]:
    from detloss.config import TRAIN_SECTIONS, ModelConfig
    from detloss.config.files import read_document

    data = read_document(file).data
    keys = {
        *(data if isinstance(data, dict) else ()),
        *(override.partition("=")[0].split(".")[0] for override in overrides),
    }
    if keys.isdisjoint(TRAIN_SECTIONS):
        return ModelConfig
    from detloss.training.settings import TrainConfig

    return TrainConfig


def _raise(error: DetlossError) -> None:
    raise error


def _print(found: dict[str, Any]) -> None:
    import yaml

    from detloss.cli.output import new_table, stdout

    out = stdout()
    config = found["config"]
    on = f" on {config['backbone']}" if config["backbone"] else ""
    classes = f", {counted(config['num_classes'], 'class')}" if config["num_classes"] else ""
    kind = "a training config" if found["kind"] == "TrainConfig" else "a model config"
    out.print(f"{found['file']} is valid: {kind}, {config['model']}{on}{classes}.")
    for key in ("weights", "weights_backbone"):
        if config[key]:
            out.print(f"{key}: {config[key]}")
    if not found["needs_checked"]:
        out.print("Not checked (--no-data): weights, data and trainer.")
    if not found["losses"]:
        out.print("It names no loss: every head keeps torchvision's own.")
        return
    table = new_table("head", "loss", "parameters", "weight", "normalizer", "package")
    for loss in found["losses"]:
        # As a config would have to write them: 1.0e-07, where JSON has 1e-07.
        parameters = yaml.safe_dump(loss["parameters"], default_flow_style=True, width=math.inf).strip()[1:-1]
        origin = {"config": "", "recommended": " (recommended)", "default": " (none recommended)"}[loss["weight_from"]]
        package = f"{loss['package']} {loss['version']}".strip()
        cells = (loss["head"], loss["name"], parameters, f"{loss['weight']:g}{origin}", loss["normalizer"], package)
        table.add_row(*cells)
    out.print()
    out.print(table)
