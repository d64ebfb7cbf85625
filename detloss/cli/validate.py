"""`detloss validate CONFIG`: every error of a config with its line, or what the config comes to."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detloss.cli.extras import needs as needs_extra
from detloss.cli.options import Overrides
from detloss.errors import ConfigError, DetlossError, Finding

if TYPE_CHECKING:
    from rich.console import Console

    from detloss.config import ModelConfig


def command(
    config: Annotated[Path, typer.Argument(help="A .yaml, .toml or .json file.", metavar="CONFIG")],
    overrides: Overrides = None,
    no_data: Annotated[
        bool, typer.Option("--no-data", help="Check the text alone: no data and no weights are read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result or the errors as JSON.")] = False,
) -> None:
    """Check a config, and whether all is there that it needs.

    Prints what the config comes to, or every error with file, line and column (exit 1). The model is built, with its
    weights. A file with a `data` or `train` section is checked as a training config: its data are read, too, and the
    trainer is made. The packages of the losses are imported for this.
    """
    # What a plugin prints at import must not end up in the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            found = resolve(config, overrides or [], needs=not no_data)
        except DetlossError as error:
            if not as_json:
                raise
            errors = error.findings if isinstance(error, ConfigError) else [Finding(str(error))]
            found = {"valid": False, "file": str(config), "errors": [asdict(each) for each in errors]}
    if not as_json:
        from detloss.cli.output import stdout  # noqa: PLC0415 - `--json` has no use for rich

        _print(stdout(), found)
        return
    print(json.dumps(found, indent=2))
    if not found["valid"]:
        raise typer.Exit(1)


def resolve(file: Path, overrides: list[str], *, needs: bool = True) -> dict[str, Any]:
    """Return what a config comes to, as data that JSON can hold, and try what it `needs`: weights, and data.

    Raises:
        ConfigError: The config is wrong, or weights are missing or do not fit.
        DataError: The data cannot be trained on.
    """
    from detloss.config import resolve_config  # noqa: PLC0415 - help needs none of it
    from detloss.models import build_model, check_model  # noqa: PLC0415
    from detloss.registry import one_scan  # noqa: PLC0415
    from detloss.registry.loading import blamed  # noqa: PLC0415

    with one_scan():
        schema = _schema(file, overrides)
        config, found = resolve_config(file, schema, overrides, check=check_model)
        if needs and schema.__name__ == "ModelConfig":
            build_model(config)
        elif needs:
            with needs_extra("train", "Checking what a run needs"):
                from detloss.training.run import check_run  # noqa: PLC0415 - it brings Lightning

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


def _schema(file: Path, overrides: list[str]) -> type[ModelConfig]:
    from detloss.config import TRAIN_SECTIONS, ModelConfig  # noqa: PLC0415 - as in `resolve`
    from detloss.config.files import read_document  # noqa: PLC0415

    data = read_document(file).data
    keys = {
        *(data if isinstance(data, dict) else ()),
        *(override.partition("=")[0].split(".")[0] for override in overrides),
    }
    if keys.isdisjoint(TRAIN_SECTIONS):
        return ModelConfig
    from detloss.training.settings import TrainConfig  # noqa: PLC0415 - most configs of a model need none of it

    return TrainConfig


def _print(out: Console, found: dict[str, Any]) -> None:
    import yaml  # noqa: PLC0415 - as in `command`

    from detloss.cli.output import new_table  # noqa: PLC0415

    config = found["config"]
    on = f" on {config['backbone']}" if config["backbone"] else ""
    classes = f", {config['num_classes']} classes" if config["num_classes"] else ""
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
