"""Write a plugin package from the template."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from detloss._version import __version__
from detloss.errors import ScaffoldError
from detloss.registry import find_plugins
from detloss.registry.distributions import normalized
from detloss.scaffold.fields import parsed
from detloss.scaffold.questions import NAME, QUESTIONS, Question, module_of

TEMPLATE = Path(__file__).parent / "template"


def write_plugin(
    name: str,
    folder: Path | str | None = None,
    answers: Mapping[str, str] | None = None,
    *,
    ask: Callable[[Question, str], str] | None = None,
) -> tuple[Path, tuple[str, ...]]:
    """Write a complete plugin package of one loss.

    Args:
        name: What configs call the loss.
        folder: The new folder; by default in the current one, with the name of the distribution.
        answers: To `QUESTIONS`: distribution, title, class_name, paper, space, parameters
            (``"alpha=3.0:ge=1,le=10 beta=1"``), author, license.
        ask: Takes an unanswered question and its default, and returns the answer. By default the default is used.

    Returns:
        The folder and the files in it, as paths relative to it.

    Raises:
        ScaffoldError: The folder is not empty or cannot be written, an installed package has the name, or an answer is
            wrong. Then nothing is written.
    """
    given = {key: value.strip() for key, value in (answers or {}).items()}
    _check(NAME, name)
    for question in QUESTIONS:
        if question.key in given:
            _check(question, given[question.key])
    complete = {"loss": name, "year": str(date.today().year)}
    for question in QUESTIONS:
        default = question.default(complete)
        if question.key == "distribution":
            # Name and folder depend on it, and are checked before any question.
            complete[question.key] = given.get(question.key, default)
            target = Path(complete[question.key] if folder is None else folder)
            _check_free(name, complete[question.key])
            _check_empty(target)
        elif question.key in given:
            complete[question.key] = given[question.key]
        else:
            complete[question.key] = (ask(question, default) if ask else default).strip()
        _check(question, complete[question.key])
    files = _rendered(complete)
    try:
        for path, content in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            with (target / path).open("xb") as file:
                file.write(content)
    except OSError as error:
        raise ScaffoldError(f"{target} cannot be written: {error}") from error
    return target, tuple(sorted(files))


def _check(question: Question, answer: str) -> None:
    if problem := question.problem(answer):
        raise ScaffoldError(f"{question.key}: {problem} Nothing was written.")


def _check_free(name: str, distribution: str) -> None:
    for plugin in find_plugins():
        if plugin.name == name and normalized(plugin.package) != normalized(distribution):
            raise ScaffoldError(
                f"The installed package {plugin.package} {plugin.version} already has a loss {name!r}. With both "
                "installed, configs with this name would be refused. Fix: choose another name."
            )


def _check_empty(folder: Path) -> None:
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ScaffoldError(f"{nearest} is a file. Nothing was written. Fix: choose another folder (--output).")
    # A new or cloned repository counts as empty.
    found = sorted(path.name for path in folder.iterdir() if path.name != ".git") if folder.exists() else []
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ScaffoldError(
            f"The folder {folder} is not empty (found {', '.join(found[:3])}{more}). Nothing was written. Fix: choose "
            "another folder (--output)."
        )


def _rendered(answers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of every file of the package, by its path."""
    module, fields = module_of(answers["distribution"]), parsed(answers["parameters"])
    loss = "|pred - target|" if answers["space"] == "deltas" else "(1 - IoU)" if fields else "1 - IoU"
    major, minor = __version__.split(".")[:2]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE, encoding="utf-8"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    # Text in JSON is valid text in TOML too.
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    values = {
        **answers,
        "module": module,
        "fields": fields,
        "formula": "".join(f"(1 + |{field.distance}|) * " for field in fields) + loss,
        "version": f"{major}.{minor}",
        "next_version": f"{major}.{int(minor) + 1}",
    }
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "LICENSE": f"LICENSE-{answers['license']}",
        ".gitignore": "gitignore",
        ".github/workflows/test.yml": "workflow.yml",
        f"src/{module}/__init__.py": "loss.py",
        f"tests/test_{answers['loss'].lower().replace('-', '_')}.py": "test_loss.py",
    }
    files = {
        path: environment.get_template(f"{template}.jinja").render(values).encode()
        for path, template in templates.items()
    }
    return {**files, f"src/{module}/py.typed": b""}
