from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import detloss

PACKAGE = Path(detloss.__file__).parent

LAYERS = (
    ("errors", "boxes", "metadata", "source"),
    ("loss", "entry_points", "findings", "allow_list"),
    ("discovery", "scanner", "heads", "pull"),
    ("loading", "locate"),
    ("registry",),
    ("validation",),
    ("config",),
    ("injection",),
    ("models", "calibration"),
    ("training", "testing", "scaffold", "doctor"),
    ("cli",),
    ("__main__",),
)
"""Who may import whom: a part imports itself and what stands in the lines above it."""

UPWARD = {("discovery", "loading"): "a plugin loads itself, inside the method that does it"}

ONLY_IN = {
    "torchvision": ("heads", "models", "training", "testing"),
    "rich": ("cli", "training"),
    "typer": ("cli",),
    "pytorch_lightning": ("training",),
    "hotcoco": ("training",),
    "copier": ("scaffold",),
    "entrypoints": ("entry_points",),
}


def imports() -> Iterator[tuple[str, str, bool]]:
    """Yield part of detloss, imported module, and whether it is imported with the file (not in a function)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        unused = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        typing_only = {id(node) for block in unused for node in ast.walk(block)}
        for node in ast.walk(tree):
            if id(node) in typing_only:
                continue
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            yield from ((part, module, id(node) not in inside) for module in modules)


def test_directions() -> None:
    """Every part of detloss imports only parts below it."""
    height = {part: level for level, parts in enumerate(LAYERS) for part in parts}
    for part, module, _ in imports():
        top, _, rest = module.partition(".")
        target = rest.partition(".")[0]
        if top == "detloss" and target not in ("", part) and (part, target) not in UPWARD:
            assert part in height, f"say in LAYERS where detloss.{part} stands"
            assert height[target] < height[part], f"detloss.{part} imports detloss.{target}"


def test_heads_know_losses_only() -> None:
    """A head adapter imports the interface of a loss and the errors, and nothing else of detloss."""
    known = {module for part, module, _ in imports() if part == "heads" and module.startswith("detloss.")}
    assert {module for module in known if not module.startswith("detloss.heads")} <= {"detloss.errors", "detloss.loss"}


def test_libraries_stay_in_their_place() -> None:
    """torchvision, rich, typer and the training libraries are imported only where they belong."""
    for part, module, _ in imports():
        top = module.partition(".")[0]
        if top in ONLY_IN:
            assert part in ONLY_IN[top], f"detloss.{part} imports {module}"


def test_the_core_names_no_plugin() -> None:
    """No plugin package is imported by detloss, not even its own."""
    assert not [module for _, module, _ in imports() if module.startswith("detloss_")]


def test_the_registry_is_light() -> None:
    """What finds plugins imports neither torch nor pydantic with the file."""
    light = ("errors", "metadata", "source", "entry_points", "allow_list", "discovery", "registry")
    heavy = {module for part, module, with_file in imports() if part in light and with_file}
    assert not {module.partition(".")[0] for module in heavy} & {"torch", "torchvision", "pydantic", "packaging"}


LIST = "import sys; sys.argv = ['detloss', 'list']; from detloss.cli import main; main()"
LOADED = "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import detloss", {"torch", "pydantic", "rich", "typer", "entrypoints"}),
        ("import detloss; detloss.find_plugins()", {"torch", "pydantic", "rich", "typer"}),
        ("import detloss; [(p.description, p.space) for p in detloss.find_plugins()]", {"torch", "pydantic", "rich"}),
        ("import detloss.cli", {"torch", "pydantic", "rich", "typer"}),
        (LIST, {"torch", "pydantic", "typer"}),
        (LIST.replace("'list'", "'list', '--json'"), {"torch", "pydantic", "typer", "rich"}),
        (LIST.replace("'list'", "'list', '--heads'"), {"torch", "pydantic", "typer"}),
        ("import detloss.cli.app, detloss.cli.list, detloss.cli.show", {"torch", "pydantic"}),
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


def test_every_public_name_is_there() -> None:
    """Each name in ``detloss.__all__`` can be imported, and a mistyped one cannot."""
    for name in detloss.__all__:
        assert getattr(detloss, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'injekt'"):
        _ = detloss.injekt  # type: ignore[attr-defined]


def test_commands_are_loaded_one_by_one(run_python: Callable[..., Any]) -> None:
    """Running one command imports the file of no other."""
    program = (
        "import sys; sys.argv = ['detloss', 'show', '--help']\n"
        "from detloss.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted(m for m in sys.modules if m.startswith('detloss.cli.')), file=sys.stderr)"
    )
    done = run_python("-c", program)
    assert set(done.stderr.split()) <= {"detloss.cli.app", "detloss.cli.show", "detloss.cli.output"}
    assert "detloss.cli.show" in done.stderr
