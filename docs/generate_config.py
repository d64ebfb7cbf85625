"""Write the tables of keys in docs/config.md from the config's models; ``--check`` only compares."""

from __future__ import annotations

import argparse
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detloss.training import TrainConfig

OUTPUT = Path(__file__).resolve().parent / "config.md"
MARKED = re.compile(r"(<!-- written by docs/generate_config\.py: (data|train) -->\n)\n(?:\|.*\|\n)*")
WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true` or `false`",
    "null": "`null`",
}
SHARED = runpy.run_path(str(Path(__file__).with_name("generate_losses.py")))


def rows(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, values, default and meaning of each key of a section and of the sections within it."""
    for name, field in schema["properties"].items():
        inner = next((option["$ref"] for option in [field, *field.get("anyOf", ())] if "$ref" in option), None)
        key = f"{prefix}.{name}"
        meaning = " ".join(field.get("description", "").split())
        if inner is None:
            default = f"`{json.dumps(field['default'])}`".replace('"', "") if "default" in field else "required"
            yield f"`{key}`", values(field), default, meaning
        else:
            yield f"`{key}`", "a section", "its defaults" if field.get("default") else "none", meaning
            yield from rows(definitions[inner.rpartition("/")[2]], definitions, key)


def values(schema: dict[str, Any]) -> str:
    """Return what a key takes, from its JSON schema."""
    if schema.get("type") == "array":
        item = values(schema["items"])
        return f"[{', '.join([item] * schema['minItems'])}]" if "maxItems" in schema else f"a list of {item}"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return ", or ".join(map(values, schema["anyOf"]))
    found: str = SHARED["kind"](schema).replace(", ", " ") if "enum" not in schema else SHARED["kind"](schema)
    for word, plain in WORDS.items():
        found = re.sub(rf"^{word}\b", plain, found)
    return found


def page(text: str) -> str:
    """Return the page with the keys that there are."""
    schema = TrainConfig.model_json_schema()
    definitions = schema["$defs"]

    def table(match: re.Match[str]) -> str:
        section = schema["properties"][match[2]]["$ref"].rpartition("/")[2]
        cells = rows(definitions[section], definitions, match[2])
        written: str = SHARED["table"](("key", "takes", "default", "meaning"), cells)
        return f"{match[1]}\n{written}"

    return MARKED.sub(table, text)


def main(arguments: list[str] | None = None) -> None:
    """Write the page, or with ``--check`` end with an error where it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page")
    options = parser.parse_args(arguments)
    old = options.output.read_text(encoding="utf-8")
    new = page(old)
    if options.check and new != old:
        raise SystemExit(f"{options.output.name} is out of date: run `python docs/generate_config.py`.")
    if not options.check:
        options.output.write_text(new, encoding="utf-8")
        print(f"wrote {options.output.name}")


if __name__ == "__main__":
    main()
