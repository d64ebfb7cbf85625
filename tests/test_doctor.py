"""Plugins that misbehave at import in every way, loaded by the real command, all in one run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from detloss.doctor import SLOW, load_apart
from detloss.doctor.isolated import Trial
from detloss.registry import LOSS_GROUP, Plugin

GOOD = """
from detloss.loss import BoxRegressionLoss
class Loss(BoxRegressionLoss):
    def forward(self, pred, target):
        return (pred - target).abs().sum(-1)
"""
"""A loss that loads; what is put before it happens at its import."""

WARD = {
    "well": GOOD,
    "raising": "def run():\n    {}['here']\nrun()\n",
    "leaving": "import sys\nsys.exit('bye')\n",
    "hanging": "import time\ntime.sleep(600)\n",
    "printing": "print('hel\\x1b[31mlo')\nprint('again')" + GOOD,
    "complaining": "import sys\nprint('careful', file=sys.stderr)" + GOOD,
    "flooding": "while True:\n    print('x' * 100_000)\n",
    "asking": "input('which?')\n",
    "vanishing": "import os\nos._exit(0)\n",
    "crashing": "import ctypes\nctypes.string_at(0)\n",
    "interrupting": "raise KeyboardInterrupt\n",
    "moving": "import os\nos.chdir('/')" + GOOD,
    "closing": "import os\nos.closerange(3, 1000)" + GOOD,
    "slow": "import time\ntime.sleep(1.3)" + GOOD,
    "babbling": "raise ValueError('x' * 10**6)\n",
    "forking": "import os\nif os.fork() == 0:\n    import time; time.sleep(600)\n" + GOOD,
}
"""Name of a plugin -> what its module does at import."""
TIMEOUT = 5


def add(folder: Path, name: str, entries: str, modules: Mapping[str, str] = {}, requires: str = "") -> Path:
    """Install a package as pip leaves it, and return its dist-info folder."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n{requires}", encoding="utf-8")
    (info / "entry_points.txt").write_text(entries, encoding="utf-8")
    for path, source in modules.items():
        (folder / path).write_text(source, encoding="utf-8")
    return info


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `detloss doctor` with a folder of packages on the path."""
    return subprocess.run(
        [sys.executable, "-m", "detloss", "doctor", *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8", **environment},
    )


class Ward:
    """What one run over all the misbehaving plugins said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        for name, source in WARD.items():
            add(self.folder, f"w-{name}", f"[detloss.losses]\nw_{name} = w_{name}:Loss\n", {f"w_{name}.py": source})
        self.spawned = folder / "pid"
        source = (
            "import subprocess\np = subprocess.Popen(['sleep', '600'])\n"
            f"open({str(self.spawned)!r}, 'w').write(str(p.pid))"
        )
        add(
            self.folder,
            "w-spawning",
            "[detloss.losses]\nw_spawning = w_spawning:Loss\n",
            {"w_spawning.py": source + GOOD},
        )
        self.escaped = folder / "escaped"
        source = (
            "import subprocess\np = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            f"open({str(self.escaped)!r}, 'w').write(str(p.pid))"
        )
        escaping = "[detloss.losses]\nw_escaping = w_escaping:Loss\n"
        add(self.folder, "w-escaping", escaping, {"w_escaping.py": source + GOOD})
        several = "[detloss.losses]\nw_one = w_absent:One\nw_two = w_absent:Two\n"
        add(self.folder, "w-several", several, {"w_absent.py": "import w_nowhere\n"})
        self.late = add(
            self.folder, "w-late", "[detloss.losses]\nw_late = w_well:Loss\n", requires="Requires-Dist: detloss>=99\n"
        )
        self.poor = add(
            self.folder, "w-poor", "[detloss.losses]\nw_poor = w_well:Loss\n", requires="Requires-Dist: w-rich>=2\n"
        )
        self.torn = add(self.folder, "w-torn", "[console_scripts]\ntorn\n")
        self.latin = add(self.folder, "w-latin", "")
        (self.latin / "entry_points.txt").write_bytes(b"[x]\n\xe9 = a:B\n")
        add(self.folder, "w-taker", "[detloss.losses]\nw_well = w_well:Loss\n")
        self.hidden = add(folder / "later", "w-well", "[detloss.losses]\nw_old = w_well:Loss\n")
        add(self.folder, "w-head", "[detloss.heads]\nw_head = w_well:Loss\n")
        start = time.monotonic()
        path = os.pathsep.join([str(self.folder), str(folder / "later")])
        self.done = run(self.folder, "--json", f"--timeout={TIMEOUT}", PYTHONPATH=path, CXX="no-such-compiler")
        self.seconds = time.monotonic() - start
        os.kill(int(self.escaped.read_text()), signal.SIGKILL)  # it is of a session of its own: nobody ended it
        self.data = json.loads(self.done.stdout)
        self.plugins = {plugin["name"]: plugin for plugin in self.data["plugins"] if plugin["package"] != "w-taker"}

    def find(self, subject: str, kind: str) -> dict[str, Any]:
        """Return the one finding of a kind about a package."""
        (found,) = [
            one for one in self.data["findings"] if one["kind"] == kind and one["subject"].split()[0] == subject
        ]
        return dict(found)

    def error(self, name: str) -> str:
        """Return why a plugin does not load, without the part that names it."""
        found = self.find(f"w-{name}", "load")
        assert self.plugins[f"w_{name}"]["loads"] is False
        start = f"The loss 'w_{name}' cannot be used: "
        assert found["message"].startswith(start)
        return str(found["message"]).removeprefix(start)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """Return what `detloss doctor --json` said of all of them at once."""
    return Ward(tmp_path_factory.mktemp("ward"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raising", "its import raised KeyError: 'here', at {folder}/w_raising.py:2 in run."),
        ("leaving", "its import ended the program with sys.exit('bye'), at {folder}/w_leaving.py:2 in <module>."),
        ("hanging", "its import did not end within 5 s, and was stopped, at {folder}/w_hanging.py:2 in <module>."),
        ("flooding", "its import printed more than 16 MiB, and was stopped, at {folder}/w_flooding.py:2 in <module>."),
        ("asking", "its import raised EOFError: EOF when reading a line, at {folder}/w_asking.py:1 in <module>."),
        ("vanishing", "its import ended the process with status 0."),
        ("crashing", "its import crashed the process with SIGSEGV, at {folder}/w_crashing.py:2 in <module>."),
        ("interrupting", "its import raised KeyboardInterrupt, at {folder}/w_interrupting.py:1 in <module>."),
        ("babbling", "its import raised ValueError: " + 500 * "x" + "..., at {folder}/w_babbling.py:1 in <module>."),
    ],
)
def test_row_04_a_plugin_that_fails_at_import(ward: Ward, name: str, says: str) -> None:
    """A plugin that fails, hangs, floods, reads stdin, leaves or crashes is explained with its own frame."""
    if name == "flooding":
        says = says.partition(",")[0]  # it is stopped from outside, wherever it is
    assert ward.error(name).startswith(says.format(folder=ward.folder))
    assert "ell its authors" in ward.error(name)


def test_row_04_the_finding_stands_at_the_frame(ward: Ward) -> None:
    """A load failure has the file and line of the plugin's own frame, and the metadata folder where there is none."""
    found = ward.find("w-raising", "load")
    assert (found["path"], found["line"], found["wrong"]) == (str(ward.folder / "w_raising.py"), 2, True)
    assert ward.find("w-vanishing", "load")["path"] == str(ward.folder / "w_vanishing-1.0.dist-info")


def test_row_04_a_plugin_that_prints(ward: Ward) -> None:
    """What a plugin prints at import is shown escaped, and never reaches the JSON; on stderr it is a note."""
    found = ward.find("w-printing", "prints")
    assert r"'hel\x1b[31mlo | again'" in found["message"]
    assert found["wrong"] is True
    assert ward.find("w-complaining", "prints")["message"].endswith("writes to stderr at import: 'careful'.")
    assert ward.find("w-complaining", "prints")["wrong"] is False


def test_row_04_a_plugin_that_is_slow(ward: Ward) -> None:
    """A plugin whose own import takes more than a second is found; torch's does not count."""
    assert re.search(r"takes \d+\.\d s to import, without torch", ward.find("w-slow", "slow")["message"])
    assert ward.plugins["w_slow"]["seconds"] >= 1.3  # it sleeps as long
    slow = {plugin["package"] for plugin in ward.data["plugins"] if (plugin["seconds"] or 0) > SLOW}
    assert {one["subject"].split()[0] for one in ward.data["findings"] if one["kind"] == "slow"} == slow


@pytest.mark.parametrize(
    "name", ["well", "moving", "closing", "slow", "printing", "forking", "spawning", "escaping", "poor"]
)
def test_row_04_the_others_load(ward: Ward, name: str) -> None:
    """Whatever the others do, a plugin that can be used loads."""
    plugin = ward.plugins[f"w_{name}"]
    assert (plugin["loads"], plugin["error"], plugin["package"]) == (True, None, f"w-{name}")
    assert plugin["seconds"] > 0


def test_row_04_what_a_plugin_starts_ends_with_it(ward: Ward) -> None:
    """A process that a plugin started at import does not outlive the run."""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ward.spawned.read_text()), signal.SIGTERM)


def test_row_04_the_run_is_short(ward: Ward) -> None:
    """Something that would sleep for ten minutes is not waited for, and nothing is said outside the JSON."""
    assert ward.seconds < 300
    assert (ward.done.returncode, ward.done.stderr) == (1, "")


def test_plugins_that_fail_alike(ward: Ward) -> None:
    """Two plugins of a package that fail for the same reason are one finding that names both."""
    message = ward.find("w-several", "load")["message"]
    assert message.startswith("The losses 'w_one', 'w_two' cannot be used: its import needs the module 'w_nowhere'")


def test_a_head_that_is_none(ward: Ward) -> None:
    """Heads are loaded as well: one whose class is no adapter is found."""
    assert "The head 'w_head' cannot be used: its target is the class Loss" in ward.find("w-head", "load")["message"]


def test_metadata_problems(ward: Ward) -> None:
    """Broken, unmet and shadowed metadata is found with file, line and the command that mends it."""
    torn = ward.find("w_torn", "metadata")
    assert (torn["path"], torn["line"]) == (str(ward.torn / "entry_points.txt"), 2)
    late = ward.find("w-late", "metadata")
    assert (late["path"], late["message"].partition(":")[0]) == (
        str(ward.late),
        "w-late 1.0 requires detloss>=99, but 0.1.0 is installed. Fix",
    )
    assert "`python -m pip install 'w-rich>=2'`" in ward.find("w-poor", "metadata")["message"]
    hidden = ward.find("w-well", "metadata")
    assert hidden["path"] == str(ward.hidden)
    assert "`python -m pip uninstall w-well`" in hidden["message"]


def test_built_for_another_detloss(ward: Ward) -> None:
    """A plugin that was built for another detloss is not imported, and is one finding, not two."""
    assert "It was not imported" in ward.plugins["w_late"]["error"]
    assert [one["kind"] for one in ward.data["findings"] if one["subject"].startswith("w-late")] == ["metadata"]


def test_conflicts(ward: Ward) -> None:
    """A name that two packages claim is found with what selects each."""
    message = ward.find("w_well", "conflict")["message"]
    assert "Fix: write 'w-taker:w_well' or 'w-well:w_well', or uninstall one of them." in message


def test_metadata_that_breaks_the_libraries(ward: Ward) -> None:
    """Files that make `import torch` and pydantic fail are named as the cause, and the plugins load nevertheless."""
    found = ward.find("pydantic", "library")  # one finding for all files
    files = [str(info / "entry_points.txt") for info in (ward.latin, ward.torn)]
    assert found["path"] == files[0]
    assert f"2 files are broken: {', '.join(files)}. Fix: repair or uninstall their packages." in found["message"]
    assert (
        "PYDANTIC_DISABLE_PLUGINS=__all__ TORCH_DEVICE_BACKEND_AUTOLOAD=0 TRITON_BACKENDS_IN_TREE=1" in found["message"]
    )
    assert ward.plugins["roi_heads"]["loads"] is True


def test_versions(ward: Ward) -> None:
    """The versions of Python, detloss, pydantic, torch and torchvision are those that run."""
    import platform

    import pydantic
    import torch
    import torchvision

    found = ward.data["environment"]
    assert found["python"] == f"{platform.python_version()} ({sys.executable})"
    versions = (pydantic.__version__, torch.__version__, torchvision.__version__)
    assert (found["pydantic"], found["torch"], found["torchvision"]) == versions


def test_no_compiler(ward: Ward) -> None:
    """Without a C++ compiler there is a note, which is nothing wrong."""
    assert ward.data["environment"]["C++ compiler"] == ""
    (note,) = [one for one in ward.data["findings"] if one["subject"] == "C++ compiler"]
    assert note["message"].startswith("CXX names 'no-such-compiler', which is not a program")
    assert note["wrong"] is False


def test_every_plugin_that_is_installed_loads(ward: Ward) -> None:
    """Every plugin outside the ward is loaded and well."""
    others = [plugin for plugin in ward.data["plugins"] if not plugin["package"].startswith("w-")]
    assert {"fcos", "retinanet", "roi_heads", "rpn", "ssd"} <= {plugin["name"] for plugin in others}
    assert [plugin for plugin in others if not plugin["loads"]] == []


BROKEN = [
    ("torch", "raise OSError('libtorch.so: undefined symbol')", "OSError: libtorch.so: undefined symbol"),
    pytest.param("pydantic", "import os; os._exit(3)", "it ended the process with status 3", marks=pytest.mark.slow),
    ("torch", "import ctypes; ctypes.string_at(0)", "it ended the process with SIGSEGV"),
    ("torch", "import os, time; os.closerange(3, 1000); time.sleep(600)", "it closed its output but did not end"),
]


@pytest.mark.parametrize(("name", "source", "error"), BROKEN, ids=["torch", "exit", "crash", "silence"])
def test_a_library_that_cannot_be_imported(tmp_path: Path, name: str, source: str, error: str) -> None:
    """Where torch or pydantic cannot be imported, in whatever way, that is found, and the rest is still reported."""
    (tmp_path / name).mkdir()
    file = tmp_path / name / "__init__.py"
    file.write_text(source, encoding="utf-8")
    torn = add(tmp_path, "torn", "[x]\ntorn\n")
    done = run(tmp_path, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    data = json.loads(done.stdout)
    message = next(one["message"] for one in data["findings"] if one["subject"] == name)
    assert message.startswith(f"cannot be imported: {error}")
    assert f"{file} hides the installed package" in message
    assert str(torn / "entry_points.txt") in {one["path"] for one in data["findings"]}
    assert {(plugin["loads"], plugin["tried"]) for plugin in data["plugins"]} == {(False, False)}
    assert data["environment"][name].endswith(" (cannot be imported)")


@pytest.mark.slow
def test_without_rich_and_pydantic(tmp_path: Path) -> None:
    """A missing library is named with the command that installs it; where rich is broken too, it is plain text."""
    source = "raise ModuleNotFoundError(\"No module named 'pydantic'\", name='pydantic')"
    (tmp_path / "pydantic.py").write_text(source, encoding="utf-8")
    for name in ("rich", "rich_click"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('broken')", encoding="utf-8")
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "wrong: pydantic (library)\n  is not installed. Fix: `python -m pip install pydantic`.\n" in done.stdout


@pytest.mark.slow
def test_torchvision_alone(tmp_path: Path) -> None:
    """Where only torchvision fails, as beside a torch that it was not built for, losses are still loaded."""
    (tmp_path / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')", encoding="utf-8"
    )
    data = json.loads(run(tmp_path, "--json").stdout)
    (found,) = [one for one in data["findings"] if one["wrong"]]
    assert found["subject"] == "torchvision"
    assert "do not match. Fix: install matching versions: `python -m pip install --upgrade torch" in found["message"]
    groups = {(plugin["group"], plugin["tried"]) for plugin in data["plugins"]}
    assert groups <= {("detloss.losses", True), ("detloss.heads", False)}


@pytest.mark.slow
def test_an_operator_that_does_not_work(tmp_path: Path) -> None:
    """A torchvision whose `nms` fails is found by trying it."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("__version__ = '0.0.1'", encoding="utf-8")
    ops = 'def nms(boxes, scores, threshold):\n    raise RuntimeError("Couldn\'t load custom C++ ops.")\n'
    (tmp_path / "torchvision" / "ops.py").write_text(ops, encoding="utf-8")
    data = json.loads(run(tmp_path, "--json").stdout)
    messages = [one["message"] for one in data["findings"] if one["subject"] == "torchvision"]
    assert any(
        "torchvision::nms does not work on cpu: RuntimeError: Couldn't load custom C++ ops." in message
        for message in messages
    )


@pytest.mark.slow
def test_a_plugin_that_ends_its_watcher(tmp_path: Path) -> None:
    """A plugin that kills the process that watches it is not the end of the command, which says what happened."""
    source = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    add(tmp_path, "killer", "[detloss.losses]\na_killer = a_killer:Loss\n", {"a_killer.py": source})
    done = run(tmp_path, "--json")
    data = json.loads(done.stdout)
    assert done.returncode == 1
    assert "its process was lost (it ended the process with SIGKILL)" in next(
        one["message"] for one in data["findings"] if one["subject"] == "killer 1.0"
    )


def plugin(name: str, module: str) -> Plugin:
    return Plugin(name, LOSS_GROUP, "p", "1.0", module, "Loss", "")


@pytest.mark.slow
def test_row_04_without_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes are not forked, each plugin has a new Python, with the same limits and the same outcome."""
    for name in ("hanging", "printing"):
        (tmp_path / f"n_{name}.py").write_text(WARD[name], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = [plugin(name, f"n_{name}") for name in ("hanging", "printing")]
    hanging, printing = load_apart(plugins, timeout=2, fork=False).outcomes
    assert "its import did not end within 2 s, and was stopped, at " in hanging.error
    assert (printing.loads, printing.stdout, printing.stderr) == (True, r"hel\x1b[31mlo | again", "")


class ForeignProcess:
    """A process that takes no signal from here, as one does that a plugin has given to another user."""

    def __init__(self, folder: Path) -> None:
        (folder / "started").touch()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.pid = self.process.pid

    @property
    def exitcode(self) -> int | None:
        return self.process.poll()

    def kill(self) -> None:
        raise PermissionError(1, "Operation not permitted")


@pytest.mark.slow
def test_row_04_a_plugin_that_cannot_be_stopped(tmp_path: Path) -> None:
    """A process that cannot be killed is not waited for: its plugin has an outcome, which says so."""
    foreign = ForeignProcess(tmp_path)
    trial = Trial(plugin("stubborn", "n_stubborn"), tmp_path, 0.1, 10, foreign)  # type: ignore[arg-type]
    while (outcome := trial.outcome()) is None:
        time.sleep(0.05)
    assert foreign.exitcode is None
    foreign.process.kill()
    foreign.process.wait()
    assert "its import did not end within 0.1 s, and could not be stopped" in outcome["error"]


@pytest.mark.slow
def test_what_is_imported_is_what_this_process_would_import(packages: Any, loss_source: str) -> None:
    """A plugin on this process's own path is found by the one that loads it; whoever waits is told what goes on."""
    packages.add("far-losses", losses={"far_d": "far_d:FarLoss"}, modules={"far_d.py": loss_source})
    from detloss.registry import find_plugins

    said: list[str] = []
    (outcome,) = load_apart([one for one in find_plugins() if one.name == "far_d"], progress=said.append).outcomes
    assert said[:2] == ["Importing pydantic", "Importing torch"]
    assert outcome.loads
    assert "far_d" not in sys.modules
