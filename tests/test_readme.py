"""What the README and the pages beside it say is so: commands, code, output, links."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from detloss import build_loss

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_is_short() -> None:
    """The README has 60 lines at most."""
    assert len(README.splitlines()) <= 60


def test_the_output_shown_is_the_real_one() -> None:
    """The console blocks marked as generated, here and in the docs, are what the commands print."""
    script = ROOT / "docs" / "generate_output.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}Run: python docs/generate_output.py"
    assert re.search(r"^\$ detloss list \| head -\d+\n(.*\n){5,}```$", README, flags=re.MULTILINE)


def test_the_example_in_user_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The first Python block builds, injects and backpropagates as written, and prints both heads."""
    namespace: dict[str, object] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "roi_heads: 10 * giou(" in printed
    assert "rpn: 1 * smooth_l1(" in printed
    gradients = [parameter.grad for parameter in namespace["model"].parameters() if parameter.requires_grad]
    assert sum(gradient is not None for gradient in gradients) > 50


def test_the_example_is_ten_lines() -> None:
    """The example in user code has ten lines at most, imports included."""
    assert len(blocks("python")[0].splitlines()) <= 10


def test_links_lead_somewhere() -> None:
    """Every relative link of the pages at the top and of the docs is a file of the repository."""
    generated = ROOT / "docs" / "losses"  # by the build of the site, for the site
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        if page.is_relative_to(generated):
            continue
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)  # code has brackets too
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_image_is_small() -> None:
    """The one image of the README has less than 150 kB, and says in words what it shows."""
    ((words, image),) = re.findall(r"!\[(.+)\]\((.+)\)", README)
    assert (ROOT / image).stat().st_size < 150_000
    assert len(words) > 30


def test_ci_runs_the_readmes_test_command() -> None:
    """The second command of the README is a line of `.ci/run`."""
    command = re.search(r"^\$ (\.uv/bin/uv run pytest)", blocks("console")[0], flags=re.MULTILINE)
    assert command[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_contributors_run_what_ci_runs() -> None:
    """The checks that CONTRIBUTING.md lists are those of `.ci/run`."""
    pattern = re.compile(r"^(?:\$ )?(\.uv/bin/uv run .+)$", flags=re.MULTILINE)
    page, script = (ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run")
    assert pattern.findall(page.read_text(encoding="utf-8")) == pattern.findall(script.read_text(encoding="utf-8"))


def test_the_folders_that_contributors_read_of_are_there() -> None:
    """Every path in code marks of CONTRIBUTING.md is there, apart from those to be written."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"`((?:detloss|docs|plugins|tests)/[^`]*)`", text) if "NAME" not in path]
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff names the version and the license of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_workflows_cover_what_is_promised() -> None:
    """GitHub tests each Python that pyproject.toml names, on three systems, and all losses at their lowest versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    matrix = jobs["systems"]["strategy"]["matrix"]
    assert [f"Programming Language :: Python :: {version}" for version in matrix["python"]] == [
        each for each in project["classifiers"] if re.search(r":: 3\.", each)
    ]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    lowest = " ".join(step.get("run", "") for step in jobs["lowest"]["steps"])
    # The packages of heads are pinned to one minor version of their library.
    for plugin in {each.name for each in (ROOT / "plugins").iterdir()} - {
        "detloss-transformers",
        "detloss-ultralytics",
    }:
        assert f"--editable plugins/{plugin}" in lowest


def test_nothing_is_installed_from_an_index_where_it_is_not() -> None:
    """No page says to install detloss or its losses by name but from wheels, as no index has them; extras are fine."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")]
    named = [
        (page.name, name)
        for page in pages
        for command in re.findall(r"pip install ([^`\n#&]*)", page.read_text(encoding="utf-8"))
        for name in re.findall(r"(?<![\w./-])detloss(?:-\w+|\[[^]]*losses|$|\s)", command)
        if "--find-links dist " not in command
    ]
    assert named == []


def test_the_first_command_is_one_that_is_tested() -> None:
    """The first command trains without a config, which `cli/test_train.py` runs in small."""
    assert ".uv/bin/uv run detloss train  " in blocks("console")[0]


def test_every_loss_of_the_readme_is_installed() -> None:
    """The names used in the README's code resolve."""
    for name in ("giou", "smooth_l1"):
        assert build_loss(name).config is not None
