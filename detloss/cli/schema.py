"""`detloss schema`: the JSON schema of a config, for an editor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detloss.cli.command import Command, stdout_to_stderr
from detloss.cli.options import PATH
from detloss.errors import PluginError

if TYPE_CHECKING:
    from detloss.config import ModelConfig
    from detloss.registry import Plugin


@click.command("schema", cls=Command)
@click.option("--output", "-o", type=PATH, metavar="FILE", help="Write it to a file instead of printing it.")
def command(output: Path | None) -> None:
    """Print the JSON schema of a config with the installed losses.

    With it an editor completes names, parameters and sections. In YAML, name it in the first line:
    `# yaml-language-server: $schema=detloss.json`. A loss that cannot be loaded is skipped, and stderr says why.
    """
    with stdout_to_stderr():
        schema, left_out = config_schema()
    text = json.dumps(schema, indent=2)
    if output is None:
        print(text)
    else:
        try:
            output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise click.BadParameter(f"{output} cannot be written: {error.strerror}.") from error
    if left_out:
        from detloss.cli.output import stderr

        for reason in left_out.values():
            stderr().print(f"Skipped: {reason}")


def config_schema() -> tuple[dict[str, Any], dict[Plugin, str]]:
    """Return the schema, and why some losses are not in it.

    The union of all losses exists only here: a config is never validated against it.
    """
    from detloss.models.architecture import backbones, detectors
    from detloss.registry import HEAD_GROUP, find_plugins

    definitions, left_out = _losses()
    schema = _config_class().model_json_schema()
    properties = schema["properties"]
    schema["required"] = ["model"]  # `data` is optional: a model config has none
    properties["model"]["enum"] = detectors()
    properties["backbone"]["anyOf"] = [{"enum": backbones()}, {"type": "null"}]
    heads = {plugin.name: {"$ref": "#/$defs/losses"} for plugin in find_plugins(HEAD_GROUP)}
    section = {"type": "object", "properties": heads, "additionalProperties": False}
    properties["losses"] = {
        "description": properties["losses"].get("description", ""),
        "anyOf": [section, {"type": "null"}],
    }
    properties["$schema"] = {"type": "string", "description": "Where this schema is, for an editor."}
    del schema["$defs"]["LossSpec"]
    schema["$defs"] |= definitions
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "detloss config"}, left_out


def _config_class() -> type[ModelConfig]:
    from detloss.config import ModelConfig

    try:
        from detloss.training.settings import TrainConfig
    except ImportError:  # without the extra `train` there are no such sections
        return ModelConfig
    return TrainConfig


def _losses() -> tuple[dict[str, Any], dict[Plugin, str]]:
    """Return the definitions of all losses.

    `loss` has the envelope, `nested` has not, `losses` is one or several.
    """
    from detloss.loss import LossSpec
    from detloss.registry import find_plugins
    from detloss.registry.loading import blamed

    plugins = find_plugins()
    names = [plugin.name for plugin in plugins]
    envelope = LossSpec.model_json_schema()["properties"]
    definitions: dict[str, Any] = {}
    left_out: dict[Plugin, str] = {}
    offered: dict[str, str] = {}
    for plugin in plugins:
        name = plugin.full_name if names.count(plugin.name) > 1 else plugin.name
        try:
            with blamed(plugin, "its schema", PluginError):
                definitions |= _loss(plugin, name, envelope)
        except PluginError as error:  # one broken plugin must not take the others' completion away
            left_out[plugin] = str(error)
        else:
            offered[name] = plugin.description
    by_name = {"oneOf": [{"const": name, "description": about} for name, about in offered.items()]}
    for kind in ("loss", "nested"):
        specs = [{"$ref": f"#/$defs/{kind}.{_pointer(name)}"} for name in offered]
        definitions[kind] = {"anyOf": [by_name, *specs]} if offered else {"not": {}}
    loss = {"$ref": "#/$defs/loss"}
    definitions["losses"] = {"anyOf": [loss, {"type": "array", "items": loss, "minItems": 1}]}
    return definitions, left_out


def _loss(plugin: Plugin, name: str, envelope: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of one loss.

    Its spec with the envelope and without, and what its Config refers to.
    """
    from detloss.registry import load

    own = load(plugin).cls.Config.model_json_schema(ref_template=f"#/$defs/{_pointer(name)}.{{model}}")
    own = json.loads(json.dumps(own))
    inner = own.pop("$defs", {})
    # A loss within a loss may be any of them.
    inner |= {key: {"$ref": f"#/$defs/{to}"} for key, to in _SPECS.items() if key in inner}
    spec = {
        "title": name,
        "description": plugin.description,
        "type": "object",
        "required": ["name", *own.get("required", ())],
        "additionalProperties": False,
    }
    properties = {"name": {"const": name}, **own.get("properties", {})}
    rest = {key: value for key, value in envelope.items() if key != "name"}
    return {
        f"loss.{name}": {**spec, "properties": {**properties, **rest}},
        f"nested.{name}": {**spec, "properties": properties},
        **{f"{name}.{key}": value for key, value in inner.items()},
    }


def _pointer(name: str) -> str:
    """Write a name for a JSON pointer in a reference (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


_SPECS = {"NestedSpec": "nested", "LossSpec": "loss"}
