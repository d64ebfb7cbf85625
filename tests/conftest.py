"""Real packages for tests: folders with a real dist-info, and wheels built by a real backend."""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from far_loss import LOSS_SOURCE

ROOT = Path(__file__).resolve().parent.parent


class PackageFolder:
    """A folder of installed packages, as pip leaves them: a dist-info and the modules beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        *,
        version: str = "1.0",
        entry_points: str | bytes | None = None,
        losses: Mapping[str, str] | None = None,
        modules: Mapping[str, str] | None = None,
        requires: tuple[str, ...] = (),
        dist_info: str | None = None,
        metadata: bool = True,
    ) -> Path:
        """Write one package and return its dist-info folder.

        Args:
            name: As in METADATA.
            version: Likewise.
            entry_points: The whole text of ``entry_points.txt``.
            losses: Or name -> target of the group ``detloss.losses``.
            modules: Path -> source, beside the dist-info.
            requires: ``Requires-Dist`` lines.
            dist_info: The folder's name where it is not ``name-version.dist-info``.
            metadata: Whether to write METADATA.
        """
        info = self.folder / (dist_info or f"{name.replace('-', '_')}-{version}.dist-info")
        info.mkdir()
        if losses is not None:
            entry_points = "[detloss.losses]\n" + "".join(f"{key} = {target}\n" for key, target in losses.items())
        if entry_points is not None:
            data = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
            (info / "entry_points.txt").write_bytes(data)
        if metadata:
            required = "".join(f"Requires-Dist: {line}\n" for line in requires)
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: About {name}.\n{required}\n"
            (info / ("PKG-INFO" if info.suffix == ".egg-info" else "METADATA")).write_text(text, encoding="utf-8")
        for path, source in (modules or {}).items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return info


@pytest.fixture
def new_folder(tmp_path: Path) -> Callable[[str], PackageFolder]:
    """Return a function that makes a folder of packages, which is not on ``sys.path``."""
    return lambda name: PackageFolder(tmp_path / name)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageFolder]:
    """Return a folder of packages that is first on ``sys.path``; what was imported from it is forgotten afterwards."""
    folder = PackageFolder(tmp_path / "site")
    monkeypatch.syspath_prepend(folder.folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture(scope="session")
def build_wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that builds a real wheel of a plugin package, offline, with hatchling."""

    def build(
        name: str,
        losses: Mapping[str, str],
        modules: Mapping[str, str],
        version: str = "1.0",
        heads: Mapping[str, str] | None = None,
    ) -> Path:
        project = tmp_path_factory.mktemp(name)
        groups = {"detloss.losses": losses, "detloss.heads": heads or {}}
        entries = "".join(
            f'[project.entry-points."{group}"]\n' + "".join(f'{key} = "{target}"\n' for key, target in targets.items())
            for group, targets in groups.items()
        )
        tops = sorted({Path(path).parts[0] for path in modules})
        (project / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
            f'[project]\nname = "{name}"\nversion = "{version}"\ndescription = "About {name}."\n'
            f'dependencies = ["detloss"]\n\n{entries}\n'
            f"[tool.hatch.build.targets.wheel]\nonly-include = {tops}\n",
            encoding="utf-8",
        )
        for path, source in modules.items():
            file = project / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source), encoding="utf-8")
        return _wheel(project, project / "dist")

    return build


@pytest.fixture(scope="session")
def detloss_wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the wheels of detloss and its first-party loss packages, built from the sources, by package."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = {"detloss": ROOT} | {path.name: path for path in sorted(ROOT.glob("plugins/*")) if path.is_dir()}
    return {name: _wheel(path, folder / name) for name, path in projects.items()}


class FreshEnvironment:
    """A virtual environment with detloss installed by pip from its wheel, and no other plugin unless installed.

    What detloss depends on is not installed again: links to the running environment's packages, without any package
    of detloss and without the ``.pth`` files of editable installs, stand on its path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        links = folder / "dependencies"
        links.mkdir()
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(place).iterdir():
                if (
                    not re.match(r"detloss|_editable|__pycache__|pip\b|setuptools\b", entry.name)
                    and entry.suffix != ".pth"
                ):
                    (links / entry.name).symlink_to(entry)
        done = self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        self.site = Path(done.stdout.strip())
        (self.site / "dependencies.pth").write_text(f"{links}\n", encoding="utf-8")

    def install(self, *wheels: Path) -> None:
        """Install wheels with pip: nothing is fetched, nothing else is installed."""
        done = self.run("python", "-m", "pip", "install", "--no-deps", "--no-index", *map(str, wheels))
        assert done.returncode == 0, done.stderr

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, in a folder without modules, and return what it printed and how it ended.

        Args:
            program: A file in the environment's folder of programs: ``python``, ``detloss``.
            *arguments: Its arguments.
            **environment: More environment variables.
        """
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return subprocess.run(
            [str(self.bin / program), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=300,
            cwd=self.folder,
            env={**kept, "PYTHONIOENCODING": "utf-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        )


@pytest.fixture(scope="session")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory, detloss_wheels: dict[str, Path]) -> FreshEnvironment:
    """Return an environment of its own with the wheels of detloss and detloss-iou; tests install more into it."""
    environment = FreshEnvironment(tmp_path_factory.mktemp("fresh") / "environment")
    environment.install(detloss_wheels["detloss"], detloss_wheels["detloss-iou"])
    return environment


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run on COCO files, beside its data; a test that changes it takes a copy."""
    from runs import coco_run

    return coco_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def loss_source() -> str:
    """Return the source of a module with the complete loss ``FarLoss``."""
    return LOSS_SOURCE


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a config, by default as ``model.yaml``, and returns the file."""

    def write(text: str | bytes, name: str = "model.yaml") -> Path:
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


@pytest.fixture
def power_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the losses `power` and `around`, and no other class, for one test."""
    from power_losses import AroundLoss, PowerLoss

    from detloss import register, registry

    monkeypatch.setattr(registry, "_registered", {})
    register(PowerLoss)
    register(AroundLoss)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the user's home for this test."""
    folder = tmp_path / "home"
    folder.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(folder))
    return folder


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a fresh Python and returns what it printed and how it ended."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        )

    return run


@pytest.fixture
def run_detloss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """A function that runs the command line in this process and returns exit code, stdout and stderr."""
    from detloss.cli import main

    logger = logging.getLogger("detloss")
    before = logger.handlers, logger.propagate, logger.level

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["detloss", *arguments])
        capsys.readouterr()
        try:
            code: object = main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return int(str(code or 0)), out, err

    yield run
    # `train` writes its log to the stderr of its test, which ends here.
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


def _wheel(project: Path, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(project)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium; where it is not installed the test is skipped, but in CI it fails."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed. Fix: apt-get install chromium, as .ci/run does.")
        pytest.skip("Chromium is not installed: pages are looked at in it (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs a user namespace, which containers that run as root refuse; the pages are our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
