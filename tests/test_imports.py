"""Which part of detloss may import which, and what is imported when."""

from __future__ import annotations

import ast
import graphlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import detloss

PACKAGE = Path(detloss.__file__).parent

LAYERS = (
    ("_version", "text"),
    ("errors",),
    ("boxes", "registry"),
    ("loss",),
    ("heads",),
    ("config", "doctor", "scaffold"),
    ("injection",),
    ("models", "calibration", "plot", "testing"),
    ("training",),
    ("compare",),
    ("cli",),
    ("__main__",),
)
"""Who may import whom: a part imports itself and what stands in the lines above it."""

ONLY_IN = {
    "torchvision": ("heads", "models", "training", "testing", "doctor"),
    "rich": ("cli", "training"),
    "click": ("cli",),
    "rich_click": ("cli",),
    "pytorch_lightning": ("training",),
    "hotcoco": ("training", "compare"),
    "onnx": ("cli", "training"),
    "onnxruntime": ("cli", "training"),
    "entrypoints": ("registry",),
    "jinja2": ("scaffold", "compare"),
    "matplotlib": ("training", "compare", "plot"),
    "scipy": ("compare",),
}


class Import(NamedTuple):
    """One import of one file.

    Attributes:
        file: The module that imports.
        module: What it imports: a file of detloss where it is one, else as written.
        with_file: Whether it runs when the file is imported: it stands in no function.
        typing_only: Whether it is for type checkers alone.
    """

    file: str
    module: str
    with_file: bool
    typing_only: bool

    @property
    def part(self) -> str:
        return part_of(self.file)


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(file: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    typing_only = {id(node) for block in blocks for node in ast.walk(block)}
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            home = node.module or ""
            modules = [f"{home}.{alias.name}" if f"{home}.{alias.name}" in MODULES else home for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            modules = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        for module in dict.fromkeys(modules):
            yield Import(file, module, id(node) not in inside, id(node) in typing_only)


IMPORTS = [found for file, path in MODULES.items() for found in imports_of(file, path)]
INNER = [found for found in IMPORTS if found.module.partition(".")[0] == "detloss"]


def test_every_import_leads_down() -> None:
    """Every part of detloss imports only parts below it, in functions and for types as well."""
    height = {part: level for level, parts in enumerate(LAYERS) for part in parts}
    assert {part_of(module) for module in MODULES} - {"detloss"} <= height.keys(), "say in LAYERS where a part stands"
    upward = [
        f"{found.file} imports {found.module}"
        for found in INNER
        if part_of(found.module) != found.part
        and "detloss" not in (found.file, found.module)
        and (found.file, found.module) not in TYPES_OF_PLUGINS
        and not height[part_of(found.module)] < height[found.part]
    ]
    assert upward == []


TYPES_OF_PLUGINS = {
    ("detloss.registry", "detloss.loss"): "the type of what `get_plugin` returns and `register` takes",
    ("detloss.registry.plugin", "detloss.loss"): "as above",
}
"""The registry is told what a plugin derives from by `Group.interface`; only type checkers know it by name."""


def test_the_registry_knows_interfaces_by_type_only() -> None:
    """What the registry names of the layers above it is for type checkers, and is still in use."""
    for file, module in TYPES_OF_PLUGINS:
        found = [each for each in INNER if (each.file, each.module) == (file, module)]
        assert found
        assert all(each.typing_only for each in found)


def test_no_cycle() -> None:
    """No two files import each other, be it through others, in a function or for a type."""
    graph = {file: set[str]() for file in MODULES}
    for found in INNER:
        if found.file != found.module and (found.file, found.module) not in TYPES_OF_PLUGINS:
            graph[found.file].add(found.module)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def test_nobody_imports_the_front_door() -> None:
    """No file of detloss imports a name from ``detloss`` itself, which stands above all of them."""
    assert [f"{found.file}: {found.module}" for found in INNER if found.module == "detloss"] == []


def test_ten_modules_at_the_top() -> None:
    """At most ten modules lie flat in detloss; all else has a room."""
    assert len(list(PACKAGE.glob("*.py"))) <= 10


def test_heads_know_losses_only() -> None:
    """A head adapter imports the interface of a loss and the errors, and nothing else of detloss."""
    known = {found.module for found in INNER if found.part == "heads"}
    assert {module for module in known if not module.startswith("detloss.heads")} <= {"detloss.errors", "detloss.loss"}


def test_libraries_stay_in_their_place() -> None:
    """torchvision, rich, click and the training libraries are imported only where they belong."""
    for found in IMPORTS:
        top = found.module.partition(".")[0]
        if top in ONLY_IN:
            assert found.part in ONLY_IN[top], f"{found.file} imports {found.module}"


def test_the_core_names_no_plugin() -> None:
    """No plugin package is imported by detloss, not even its own."""
    assert not [found.module for found in IMPORTS if found.module.startswith("detloss_")]


def test_the_registry_is_light() -> None:
    """What finds plugins imports neither torch nor pydantic with the file."""
    light = ("_version", "text", "errors", "registry")
    heavy = {found.module for found in IMPORTS if found.part in light and found.with_file and not found.typing_only}
    assert not {module.partition(".")[0] for module in heavy} & {"torch", "torchvision", "pydantic", "packaging"}


def test_names_mean_one_thing() -> None:
    """Outside of ``cli``, whose files are named for their command, no two files have one name."""
    names = [module.rpartition(".")[2] for module in MODULES if part_of(module) not in ("cli", "__main__")]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == SHARED_NAMES.keys()


SHARED_NAMES = {
    "checks": "what torchvision refuses in a config (models), and the folder of the kit's checks (testing)",
    "report": "what the kit found (testing), and the page of a comparison (compare)",
}
"""Names that several files have, and why each of them is right."""


LIST = "import sys; sys.argv = ['detloss', 'list']; from detloss.cli import main; main()"
LOADED = "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import detloss", {"torch", "pydantic", "rich", "click", "entrypoints"}),
        ("import detloss; detloss.find_plugins()", {"torch", "pydantic", "rich", "click"}),
        ("import detloss; [(p.description, p.space) for p in detloss.find_plugins()]", {"torch", "pydantic", "rich"}),
        ("import detloss.cli", {"torch", "pydantic", "rich", "click"}),
        (LIST, {"torch", "pydantic", "rich_click"}),
        (LIST.replace("'list'", "'list', '--json'"), {"torch", "pydantic", "rich"}),
        (LIST.replace("'list'", "'list', '--heads'"), {"torch", "pydantic", "rich_click"}),
        ("import detloss.cli.app, detloss.cli.list, detloss.cli.show", {"torch", "pydantic", "rich"}),
    ],
    ids=["detloss", "find_plugins", "descriptions", "cli", "list", "list --json", "list --heads", "command files"],
)
def test_laziness(packages: Any, run_python: Callable[..., Any], program: str, absent: set[str]) -> None:
    """In a fresh process, finding, describing and listing plugins loads no torch, no pydantic and no plugin."""
    packages.add("bomb", losses={"bomb": "bomb_l:Bomb"}, modules={"bomb_l.py": "raise SystemExit('imported')"})
    done = run_python("-c", program + LOADED, PYTHONPATH=str(packages.folder))
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "sys" in loaded
    assert not loaded & absent
    assert not {name for name in loaded if name.startswith("detloss_")} | loaded & {"bomb_l"}


STARTED = """
import json, sys
from detloss.cli import main

for arguments in (["show", "giou"], ["validate", "model.yaml"], ["validate", "--no-data", "train.yaml"]):
    sys.argv = ["detloss", *arguments]
    assert main() == 0
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def test_show_and_validate_import_what_they_need(run_python: Callable[..., Any], tmp_path: Path) -> None:
    """`show` imports torch and no torchvision; `validate` imports Lightning only where it makes a trainer."""
    text = "model: fasterrcnn\nbackbone: tiny\nnum_classes: 4\nlosses: {roi_heads: giou}\n"
    (tmp_path / "model.yaml").write_text(text)
    (tmp_path / "train.yaml").write_text(text + "data: {shapes: {train: 8, val: 4}}\n")
    program = f"import os; os.chdir({str(tmp_path)!r})\n{STARTED}"
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    show, *validations = ({*json.loads(line)} for line in done.stderr.splitlines())
    assert {"torch", "pydantic", "rich", "detloss_iou"} <= show
    assert not show & {"torchvision", "sympy", "yaml", "PIL", "detloss_l1", "detloss_gaussian"}
    assert len(validations) == 2
    for loaded in validations:
        assert "torchvision" in loaded
        assert not loaded & HEAVY


HEAVY = {
    "filelock", "hotcoco", "lightning_fabric", "matplotlib", "onnx", "onnxruntime", "pandas", "pycocotools",
    "pytorch_lightning", "ray", "scipy", "tensorboard", "torchmetrics", "transformers",
}  # fmt: skip
"""What only training, evaluation, images and comparisons need."""


def test_every_public_name_is_there() -> None:
    """Each name in ``detloss.__all__`` can be imported, and a mistyped one cannot."""
    assert "inject" in detloss.__all__
    for name in {*detloss.__all__} - {"__version__"}:
        assert getattr(detloss, name).__name__ == name
    with pytest.raises(AttributeError, match="injekt"):
        _ = detloss.injekt  # type: ignore[attr-defined]


def test_commands_are_loaded_one_by_one(run_python: Callable[..., Any]) -> None:
    """Running one command imports the file of no other."""
    program = (
        "import sys; sys.argv = ['detloss', 'show', '--help']\n"
        "from detloss.cli import main; main()\n"
        "print(*sorted(m for m in sys.modules if m.startswith('detloss.cli.')), file=sys.stderr)"
    )
    done = run_python("-c", program)
    assert set(done.stderr.split()) <= {f"detloss.cli.{name}" for name in ("app", "command", "help", "show")}
    assert "detloss.cli.show" in done.stderr
