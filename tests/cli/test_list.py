from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from terminal import in_terminal

from detloss.cli.app import COMMANDS

Run = Callable[..., tuple[int, str, str]]


def rows(out: str) -> dict[str, list[str]]:
    """The words of each line of a plugin, by its first one."""
    return {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("  ")}


def test_lines(packages: Any, loss_source: str, run_detloss: Run) -> None:
    """Below its package and version each loss is a line: name, space, and title with the year."""
    packages.add("far-losses", version="2.1", losses={"far": "far_l:FarLoss"}, modules={"far_l.py": loss_source})
    code, out, err = run_detloss("list")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[lines.index("far-losses 2.1") + 1] == "far deltas Sum of the coordinates' distances (arXiv 2024)"
    assert "giou boxes Generalized IoU (CVPR 2019)" in lines[lines.index("detloss-iou 0.1.0") :]
    assert max(map(len, out.splitlines())) <= 80


def test_long(packages: Any, loss_source: str, run_detloss: Run) -> None:
    """``--long`` shows the whole first line of the docstring, with the formula."""
    packages.add("far-losses", version="2.1", losses={"far": "far_o:FarLoss"}, modules={"far_o.py": loss_source})
    out = run_detloss("list", "--long")[1]
    assert "  Sum of the coordinates' distances (Doe, 2024, arXiv 2401.00001).\n" in out
    assert "  Generalized IoU: 1 - IoU + (C - U) / C.\n" in out


def test_space(run_detloss: Run) -> None:
    """``--space`` shows the losses of one space, also as JSON; heads have none."""
    code, out, _ = run_detloss("list", "--space", "deltas")
    assert code == 0
    assert {"smooth_l1", "huber"} <= rows(out).keys()
    assert {row[1] for row in rows(out).values()} == {"deltas"}
    found = json.loads(run_detloss("list", "--space", "boxes", "--json")[1])["plugins"]
    assert {plugin["space"] for plugin in found} == {"boxes"}
    code, _, err = run_detloss("list", "--heads", "--space", "boxes")
    assert code == 2
    assert "a head has no space" in err


def test_markup_is_text(packages: Any, run_detloss: Run) -> None:
    """Square brackets in a third party's docstring are shown as they are, and backticks are left out."""
    source = 'class A:\n    """In ``[0, 1]`` and [bold]loud[/bold]."""\n'
    packages.add("plug", losses={"loud": "loud_m:A"}, modules={"loud_m.py": source})
    assert "In [0, 1] and [bold]loud[/bold]\n" in run_detloss("list")[1]
    assert "In [0, 1] and [bold]loud[/bold].\n" in run_detloss("list", "--long")[1]


def test_row_05_listed_with_both_packages(packages: Any, run_detloss: Run) -> None:
    """A name that two packages claim is listed as what selects each, with the way to go on."""
    aa, bb = (packages.add(name, losses={"same": "m:C"}) for name in ("aa", "bb"))
    code, out, _ = run_detloss("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if ":same " in line.split("Conflict")[0]] == [
        "aa:same",
        "bb:same",
    ]
    assert f"Conflict: 'same' is claimed by aa 1.0 ({aa}) and bb 1.0 ({bb}). Fix: write 'aa:same' or 'bb:same'" in out


def test_row_07_listed_with_file_and_line(packages: Any, run_detloss: Run) -> None:
    """What is wrong with a package is shown with its file and line, and everything else is still listed."""
    info = packages.add("torn", entry_points="[x]\ntorn\n")
    packages.add("plug", losses={"whole": "m:C"})
    code, out, _ = run_detloss("list")
    assert code == 0
    assert f"Problem: {info / 'entry_points.txt'}:2: has a line that is not `name = module:Class`." in out
    assert "whole" in out


def test_row_18_listed_with_the_pip_line(packages: Any, run_detloss: Run) -> None:
    """A loss whose package lacks a requirement is listed, with the requirement and the line that installs it."""
    packages.add("plug", losses={"needy": "m:C"}, requires=("absent-thing>=2",))
    code, out, _ = run_detloss("list")
    assert code == 0
    assert any(line.split()[:1] == ["needy"] for line in out.splitlines())
    assert "plug 1.0 requires absent-thing>=2, but it is not installed" in out
    assert "`python -m pip install 'absent-thing>=2'`" in out


def test_row_01_listed_without_its_import(packages: Any, run_python: Callable[..., Any]) -> None:
    """`list` shows a plugin whose import fails like any other, and never imports it."""
    packages.add("bomb", losses={"bomb": "bomb_i:B"}, modules={"bomb_i.py": "open('imported', 'w')\nraise OSError"})
    done = run_python("-m", "detloss", "list", PYTHONPATH=str(packages.folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert any(line.split()[:1] == ["bomb"] for line in done.stdout.splitlines())
    assert not list(packages.folder.rglob("imported"))


def test_row_20_output_is_escaped(packages: Any, run_detloss: Run) -> None:
    """Control characters in names, versions, summaries, requirements and targets never reach the terminal."""
    info = packages.add(
        "plug",
        entry_points="[detloss.losses]\nfine = m:C\nred\x1b[31m = m:C\nother = m\x1b]0;title\x07:C\n",
    )
    (info / "METADATA").write_text(
        "Name: plug\x1b[31m\nVersion: 1\x1b[2J\nSummary: clear\x1b[2J \u202e\nRequires-Dist: a\x1b[31m\n"
        "Requires-Dist: absent; os_name != '\x1b'\n",
        encoding="utf-8",
    )
    for options in ([], ["--json"]):
        code, out, err = run_detloss("list", *options)
        assert (code, err) == (0, "")
        assert "fine" in out
        assert "is refused" in out
        assert all(line.isprintable() for line in out.splitlines())


def test_json(packages: Any, loss_source: str, run_detloss: Run) -> None:
    """``--json`` prints plugins and problems, and nothing else."""
    far = packages.add("far-losses", losses={"far": "far_j:FarLoss"}, modules={"far_j.py": loss_source})
    torn = packages.add("torn", entry_points="torn")
    packages.add("aa", losses={"same": "m:C"})
    packages.add("bb", losses={"same": "m:C"})
    code, out, err = run_detloss("list", "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert [plugin for plugin in data["plugins"] if plugin["name"] == "far"] == [
        {
            "name": "far",
            "package": "far-losses",
            "version": "1.0",
            "space": "deltas",
            "title": "Sum of the coordinates' distances (arXiv 2024)",
            "description": "Sum of the coordinates' distances (Doe, 2024, arXiv 2401.00001).",
            "module": "far_j",
            "attribute": "FarLoss",
            "location": str(far),
            "conflict": False,
        }
    ]
    assert [plugin["package"] for plugin in data["plugins"] if plugin["conflict"]] == ["aa", "bb"]
    (problem,) = data["problems"]
    assert (problem["path"], problem["line"], problem["package"]) == (str(torn / "entry_points.txt"), 1, "torn")


HEAD_ENTRY = "[detloss.heads]\nfar_head = far_h:FarHeadAdapter\n"
HEAD_SOURCE = 'raise SystemExit("imported")\nclass FarHeadAdapter:\n    """`far_head`: replaces ``box`` of FarNet."""\n'


def test_heads(packages: Any, run_detloss: Run) -> None:
    """``--heads`` lists heads instead of losses, from their sources: nothing of their packages is imported."""
    packages.add("far-heads", version="2.1", entry_points=HEAD_ENTRY, modules={"far_h.py": HEAD_SOURCE})
    code, out, err = run_detloss("list", "--heads")
    assert (code, err) == (0, "")
    found = rows(out)
    assert {"far_head", "fcos", "retinanet", "roi_heads", "rpn", "ssd"} <= found.keys()
    assert found["far_head"] == ["far_head", "replaces", "box", "of", "FarNet."]
    assert "far-heads 2.1\n" in out
    assert "giou" not in found


def test_heads_as_json(packages: Any, run_detloss: Run) -> None:
    """``--heads --json``, in either order, prints the heads as data; a head has no space."""
    location = packages.add("far-heads", entry_points=HEAD_ENTRY, modules={"far_h.py": HEAD_SOURCE})
    code, out, err = run_detloss("list", "--heads", "--json")
    assert (code, err) == (0, "")
    assert run_detloss("list", "--json", "--heads") == (code, out, err)
    assert [plugin for plugin in json.loads(out)["plugins"] if plugin["name"] == "far_head"] == [
        {
            "name": "far_head",
            "package": "far-heads",
            "version": "1.0",
            "host": None,
            "description": "`far_head`: replaces ``box`` of FarNet.",
            "module": "far_h",
            "attribute": "FarHeadAdapter",
            "location": str(location),
            "conflict": False,
        }
    ]


def test_heads_say_what_they_are_for(packages: Any, run_detloss: Run) -> None:
    """Each package of heads shows its library, the versions that it requires, and the one that is installed."""
    packages.add("far-net", version="3.1")
    source = HEAD_SOURCE + '    host = "far-net"\n'
    packages.add("far-heads", entry_points=HEAD_ENTRY, modules={"far_h.py": source}, requires=("far-net>=3,<4",))
    _, out, _ = run_detloss("list", "--heads")
    assert "far-heads 1.0, for far-net>=3,<4 (3.1 installed)\n" in out
    (torchvision,) = (line for line in out.splitlines() if line.startswith("detloss 0."))
    assert re.search(r", for torchvision>=0\.\d+ \(\d+\.\d+\S* installed\)$", torchvision)
    _, out, _ = run_detloss("list", "--heads", "--json")
    (far,) = (plugin for plugin in json.loads(out)["plugins"] if plugin["name"] == "far_head")
    assert far["host"] == {"name": "far-net", "requirement": "far-net>=3,<4", "installed": "3.1", "supported": True}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "No loss is installed. Fix: install a package of losses, such as detloss-iou.\n"),
        (", '--heads'", "No head is installed: the metadata of detloss is missing. Install detloss again.\n"),
    ],
)
def test_nothing_installed(run_python: Callable[..., Any], options: str, says: str) -> None:
    """Where no loss or no head is installed, the command says how to get some."""
    program = (
        f"import sys; sys.argv = ['detloss', 'list'{options}]\n"
        "import detloss.cli.app, detloss.cli.list, detloss.cli.output\n"
        "sys.path.clear()\n"
        "from detloss.cli import main; main()"
    )
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == says


@pytest.mark.parametrize(("columns", "options"), [(80, ()), (60, ("--long",)), (120, ("--long",))], ids=str)
def test_terminal(columns: int, options: tuple[str, ...]) -> None:
    """No line is longer than the terminal is wide, and no word of a title, or with ``--long`` of a formula, is lost."""
    from detloss.registry import find_plugins

    done = in_terminal("list", *options, columns=columns, TERM="dumb", NO_COLOR="1")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.replace("\r", "").splitlines()
    assert max(map(len, lines)) <= columns
    words = set("\n".join(lines).split())
    for plugin in find_plugins():
        assert plugin.name in words
        assert set((plugin.description if options else plugin.title).replace("`", "").split()) <= words


def test_a_long_title_is_cut(packages: Any, run_detloss: Run) -> None:
    """A title that does not fit 80 columns is cut in the list, a pipe included; JSON has the whole."""
    title = "A loss that took very many words of its authors to be told apart from all others"
    packages.add("plug", losses={"wordy": "wo_m:A"}, modules={"wo_m.py": f'class A:\n    """{title}: 1."""\n'})
    (line,) = (line for line in run_detloss("list")[1].splitlines() if line.startswith("  wordy "))
    assert len(line) <= 80
    assert line.endswith("...")
    data = json.loads(run_detloss("list", "--json")[1])
    assert [plugin["title"] for plugin in data["plugins"] if plugin["name"] == "wordy"] == [title]


def test_row_26_ascii_only_output(run_python: Callable[..., Any], packages: Any) -> None:
    """Where stdout cannot hold a character, its escape is printed, not a traceback."""
    packages.add("plug", losses={"square": "sq_m:A"}, modules={"sq_m.py": 'class A:\n    """d² √."""\n'})
    done = run_python(
        "-m", "detloss", "list", PYTHONPATH=str(packages.folder), LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0, done.stderr
    assert "d\\xb2 \\u221a\n" in done.stdout


def test_help_and_usage(run_detloss: Run) -> None:
    """``list --help`` explains the options; an unknown option ends with exit code 2."""
    code, out, _ = run_detloss("list", "--help")
    assert code == 0
    assert "--json" in out
    assert run_detloss("list", "--jsn")[0] == 2


def test_version(run_detloss: Run) -> None:
    """``--version`` prints the version of detloss."""
    from detloss import __version__

    assert run_detloss("--version") == (0, f"detloss {__version__}\n", "")


def test_unknown_command(run_detloss: Run) -> None:
    """An unknown command ends with exit code 2 and the near name."""
    code, _, err = run_detloss("lsit")
    assert code == 2
    assert "Did you mean 'list'?" in err


def test_help(run_detloss: Run) -> None:
    """``detloss --help`` names every command and shows examples."""
    code, out, _ = run_detloss("--help")
    assert code == 0
    for word in ("list", "show", "validate", "schema", "train", "calibrate", "Examples", "detloss show giou"):
        assert word in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_as_wide_as_the_terminal(name: str, run_detloss: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command's help has each paragraph of the docstring as one, where the source breaks it into lines."""
    monkeypatch.setenv("COLUMNS", "1000")
    code, out, _ = run_detloss(name, "--help")
    assert code == 0
    written = inspect.getdoc(import_module(f"detloss.cli.{name}").command)
    shown = {line.strip() for line in out.splitlines()}
    assert written is not None
    for paragraph in re.sub(r"\[/?bold\]", "", written).split("\n\n"):
        assert " ".join(paragraph.split()) in shown
