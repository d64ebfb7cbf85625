"""Write the tables of keys in docs/config.md; ``--check`` only compares.

They come from the config's models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import markdown_table, rewrite
from pydantic import BaseModel

from detloss.compare.plan.compare_config import ArmConfig, CompareConfig, RayEngine, SlurmEngine
from detloss.training import TrainConfig

OUTPUT = Path(__file__).resolve().parent / "config.md"
MARKED = re.compile(r"(<!-- written by docs/generate_config\.py: (\w+) -->\n)\n(?:\|.*\|\n)*")
COMPARED: dict[str, type[BaseModel]] = {
    "compare": CompareConfig,
    "arm": ArmConfig,
    "slurm": SlurmEngine,
    "ray": RayEngine,
}
WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "object": "mapping",
}


def rows(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, values, default and meaning of each key, nested too."""
    for name, field in schema["properties"].items():
        inner = next((option["$ref"] for option in [field, *field.get("anyOf", ())] if "$ref" in option), None)
        key = f"{prefix}.{name}" if prefix else name
        meaning = " ".join(field.get("description", "").split())
        if inner is None:
            default = f"`{json.dumps(field['default'])}`".replace('"', "") if "default" in field else "required"
            yield f"`{key}`", values(field), default, meaning
        else:
            yield f"`{key}`", "a section", "its defaults" if field.get("default") else "none", meaning
            yield from rows(definitions[inner.rpartition("/")[2]], definitions, key)


def values(schema: dict[str, Any]) -> str:
    """Return what a key takes, from its JSON schema."""
    if "$ref" in schema:
        return "a mapping"
    if "oneOf" in schema:
        return ", ".join(f"`{name}`" for name in schema["discriminator"]["mapping"])
    if schema.get("type") == "array":
        item = values(schema["items"])
        return f"[{', '.join([item] * schema['minItems'])}]" if "maxItems" in schema else f"a list of {item}"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return ", or ".join(map(values, schema["anyOf"]))
    found = kind(schema) if "enum" in schema else kind(schema).replace(", ", " ")
    for word, plain in WORDS.items():
        found = re.sub(rf"^{word}\b", plain, found)
    return found


def kind(schema: dict[str, Any]) -> str:
    """Return type and bounds of one value, from its JSON schema."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "allOf" in schema:
        return "a loss"
    words = {"exclusiveMinimum": "> {:g}", "minimum": "≥ {:g}", "exclusiveMaximum": "< {:g}", "maximum": "≤ {:g}"}
    bounds = [words[key].format(schema[key]) for key in words if key in schema]
    return ", ".join([schema.get("type", "any"), *bounds])


def page(text: str) -> str:
    """Return the page with the keys that there are."""
    schema = TrainConfig.model_json_schema()
    definitions = schema["$defs"]

    def written(match: re.Match[str]) -> str:
        if match[2] in COMPARED:
            cells = rows(COMPARED[match[2]].model_json_schema(), {}, "")
        else:
            section = schema["properties"][match[2]]["$ref"].rpartition("/")[2]
            cells = rows(definitions[section], definitions, match[2])
        return f"{match[1]}\n{markdown_table(('key', 'takes', 'default', 'meaning'), cells)}"

    return MARKED.sub(written, text)


def main(arguments: list[str] | None = None) -> None:
    """Write the page; with ``--check`` fail if it is out of date."""
    rewrite(__file__, __doc__, OUTPUT, page, arguments)


if __name__ == "__main__":
    main()
