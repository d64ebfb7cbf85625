"""Which folders are searched, and which of several copies of a package counts."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detloss.registry import Scan, load, scan


def names(found: Scan) -> list[str]:
    return [plugin.name for plugin in found.plugins]


def test_row_11_shadowed_copy(new_folder: Callable[..., Any]) -> None:
    """Of two copies on the path the first one wins, whatever its name's spelling, and the other one is reported."""
    first, second = new_folder("first"), new_folder("second")
    first.add("My.Plug", version="2.0", dist_info="My.Plug-2.0.dist-info", losses={"new": "m:C"})
    old = second.add("my-plug", version="1.0", losses={"old": "m:C"})
    found = scan(path=[str(first.folder), str(second.folder)])
    assert names(found) == ["new"]
    (problem,) = found.problems
    assert problem.path == str(old)
    assert "my-plug 1.0 is hidden by My.Plug 2.0" in problem.message
    assert "pip uninstall" in problem.message


def test_row_11_copy_without_entries_shadows(new_folder: Callable[..., Any]) -> None:
    """A first copy that offers nothing hides a later copy that does: its code would never be imported."""
    first, second = new_folder("first"), new_folder("second")
    first.add("plug", version="2.0")
    second.add("plug", version="1.0", losses={"ghost": "m:C"})
    found = scan(path=[str(first.folder), str(second.folder)])
    assert names(found) == []
    assert "plug 1.0 is hidden by plug 2.0" in found.problems[0].message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.9", "1.10"),
        ("1.9", "2.0"),
        ("9.0", "10.0"),
        ("1.0", "1.0.1"),
        ("1.0rc2", "1.0"),
        ("1.0rc1", "1.0rc2"),
        ("1.0.dev3", "1.0"),
        ("1.0", "1.0.post1"),
        ("1.0.post1", "1.0.post2"),
    ],
)
def test_row_12_two_dist_infos(new_folder: Callable[..., Any], old: str, new: str) -> None:
    """Of two dist-info of one package in one folder the newest counts (1.10 is newer than 1.9), and it is reported."""
    folder = new_folder("site")
    folder.add("plug", version=old, losses={"old": "m:C"})
    folder.add("plug", version=new, losses={"new": "m:C"})
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["new"]
    assert f"plug {old} is hidden by plug {new}" in found.problems[0].message


def test_row_12_leftover_egg_info(new_folder: Callable[..., Any]) -> None:
    """An egg-info of another version beside a dist-info is reported and lists nothing twice."""
    folder = new_folder("site")
    folder.add("plug", version="2.0", losses={"one": "m:C"})
    folder.add("plug", version="1.0", losses={"one": "m:C"}, dist_info="plug-1.0-py3.11.egg-info")
    found = scan(path=[str(folder.folder)])
    assert [plugin.version for plugin in found.plugins] == ["2.0"]
    (problem,) = found.problems
    assert "plug 1.0 is hidden by plug 2.0" in problem.message
    assert "`python -m pip uninstall plug` until none is left, then install it again" in problem.message


def test_row_12_leftover_of_the_same_version(new_folder: Callable[..., Any]) -> None:
    """An egg-info beside the dist-info of the same version is a leftover too: one uninstall leaves it there."""
    folder = new_folder("site")
    folder.add("plug", losses={"one": "m:C"})
    left = folder.add("plug", losses={"one": "m:C"}, dist_info="plug-1.0-py3.11.egg-info")
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["one"]
    assert [problem.path for problem in found.problems] == [str(left)]


def test_row_12_egg_info_file(new_folder: Callable[..., Any]) -> None:
    """An egg-info that is a file, as distutils wrote it, offers nothing and breaks nothing."""
    folder = new_folder("site")
    folder.add("plug", version="2.0", losses={"one": "m:C"})
    (folder.folder / "plug-1.0.egg-info").write_text("Name: plug\nVersion: 1.0\n", encoding="utf-8")
    (folder.folder / "other-1.0.dist-info").write_text("no folder", encoding="utf-8")
    found = scan(path=[str(folder.folder)])
    assert (names(found), found.problems) == (["one"], ())


def test_row_12_editable_install_is_no_leftover(new_folder: Callable[..., Any]) -> None:
    """An egg-info beside the source and a dist-info that say the same are one editable install, and no problem."""
    site, source = new_folder("site"), new_folder("source")
    site.add("plug", losses={"one": "m:C"})
    source.add("plug", losses={"one": "m:C"}, dist_info="plug.egg-info")
    found = scan(path=[str(site.folder), str(source.folder)])
    assert (names(found), found.problems) == (["one"], ())


def test_row_11_equal_copy_later_on_the_path(new_folder: Callable[..., Any]) -> None:
    """A second dist-info is reported even where it says the same: two copies of the code are installed."""
    first, second = new_folder("first"), new_folder("second")
    first.add("plug", losses={"one": "m:C"})
    second.add("plug", losses={"one": "m:C"})
    found = scan(path=[str(first.folder), str(second.folder)])
    assert names(found) == ["one"]
    assert "plug 1.0 is hidden by plug 1.0" in found.problems[0].message


def test_row_12_interrupted_pip(new_folder: Callable[..., Any]) -> None:
    """What an interrupted pip leaves behind (~lug) lists nothing, and the way to mend it is given."""
    folder = new_folder("site")
    folder.add("plug", losses={"ghost": "m:C"}, dist_info="~lug-1.0.dist-info")
    found = scan(path=[str(folder.folder)])
    assert names(found) == []
    (problem,) = found.problems
    assert problem.path.endswith("~lug-1.0.dist-info")
    assert "Fix: delete this folder, then `python -m pip install --force-reinstall`" in problem.message


def test_row_13_folder_names_not_normalised(new_folder: Callable[..., Any]) -> None:
    """Packages whose folders share the part before the first dash are two packages."""
    folder = new_folder("site")
    folder.add("my-plug", losses={"one": "m:C"}, dist_info="my-plug-1.0.dist-info")
    folder.add("my-other", losses={"two": "m:C"}, dist_info="my-other-1.0.dist-info")
    found = scan(path=[str(folder.folder)])
    assert [(plugin.name, plugin.package) for plugin in found.plugins] == [("one", "my-plug"), ("two", "my-other")]
    assert found.problems == ()


def test_no_metadata(new_folder: Callable[..., Any]) -> None:
    """A package without METADATA is named and numbered after its folder."""
    folder = new_folder("site")
    folder.add("my-plug", losses={"one": "m:C"}, metadata=False, dist_info="my-plug-1.5.dist-info")
    (plugin,) = scan(path=[str(folder.folder)]).plugins
    assert (plugin.package, plugin.version) == ("my-plug", "1.5")


def test_row_26_path_object(new_folder: Callable[..., Any]) -> None:
    """A Path object on sys.path is searched, and said to be none that Python imports from."""
    folder = new_folder("site")
    folder.add("plug", losses={"one": "m:C"})
    found = scan(path=[folder.folder, 7, None, b"bytes"])
    assert names(found) == ["one"]
    assert "Python ignores it" in found.problems[0].message


def test_row_26_symlink_twin(new_folder: Callable[..., Any], tmp_path: Path) -> None:
    """A folder that is on the path a second time, through a link, is read once."""
    folder = new_folder("site")
    folder.add("plug", losses={"one": "m:C"})
    (tmp_path / "twin").symlink_to(folder.folder)
    found = scan(path=[str(folder.folder), str(tmp_path / "twin")])
    assert (names(found), found.problems) == (["one"], ())


def test_row_26_wheel_on_path(
    build_wheel: Callable[..., Path], loss_source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel on sys.path, which Python imports from, is listed with its description and loads."""
    wheel = build_wheel("zipped-losses", {"zipped": "zipped_losses:FarLoss"}, {"zipped_losses.py": loss_source})
    monkeypatch.syspath_prepend(wheel)
    (plugin,) = scan(path=[str(wheel)]).plugins
    assert (plugin.name, plugin.package, plugin.version) == ("zipped", "zipped-losses", "1.0")
    assert plugin.description == "Sum of the coordinates' distances (Doe, 2024, arXiv 2401.00001)."
    assert plugin.space == "deltas"
    assert load(plugin).cls.__name__ == "FarLoss"
    del sys.modules["zipped_losses"]


def test_row_26_zip_on_path(tmp_path: Path, loss_source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip archive of packages on sys.path is listed like a folder, and its loss loads."""
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("bundled-1.5.dist-info/METADATA", "Name: bundled\nVersion: 1.5\n")
        zipped.writestr("bundled-1.5.dist-info/entry_points.txt", "[detloss.losses]\nzip_far = bundled:FarLoss\n")
        zipped.writestr("bundled.py", loss_source)
    monkeypatch.syspath_prepend(archive)
    (plugin,) = scan(path=[str(archive)]).plugins
    assert (plugin.name, plugin.package, plugin.version, plugin.space) == ("zip_far", "bundled", "1.5", "deltas")
    assert load(plugin).cls.__module__ == "bundled"
    del sys.modules["bundled"]


def test_row_26_egg(tmp_path: Path) -> None:
    """An egg on the path is listed, as a folder and as an archive."""
    texts = {
        "EGG-INFO/PKG-INFO": "Name: egg-plug\nVersion: 3.0\n",
        "EGG-INFO/entry_points.txt": "[detloss.losses]\none = m:C\n",
    }
    folder, archive = tmp_path / "egg_plug-3.0-py3.11.egg", tmp_path / "zip" / "egg_plug-3.0-py3.11.egg"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as zipped:
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
            zipped.writestr(path, text)
    for path in (folder, archive):
        (plugin,) = scan(path=[str(path)]).plugins
        assert (plugin.package, plugin.version) == ("egg-plug", "3.0")


def test_row_26_broken_archive(new_folder: Callable[..., Any], tmp_path: Path) -> None:
    """A file, a missing folder and an archive cut short on the path cost no other folder's plugins."""
    folder = new_folder("site")
    folder.add("good-one", losses={"good": "good_pkg:Good"})
    with zipfile.ZipFile(tmp_path / "cut.whl", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("p-1.dist-info/entry_points.txt", "[detloss.losses]\none = m:C\n" * 200)
    data = (tmp_path / "cut.whl").read_bytes()
    # The deflated bytes of the first member begin after its header (30 bytes) and its name.
    start = 30 + len("p-1.dist-info/entry_points.txt")
    (tmp_path / "cut.whl").write_bytes(data[:start] + b"\xff" * 20 + data[start + 20 :])
    (tmp_path / "text.whl").write_text("no archive", encoding="utf-8")
    path = [str(tmp_path / name) for name in ("cut.whl", "text.whl", "absent")]
    found = scan(path=[*path, str(folder.folder), "a\0b"])
    assert names(found) == ["good"]
    assert any("cut.whl" in problem.path for problem in found.problems)


def test_row_26_ascii_locale_and_warnings_as_errors(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    """Under LC_ALL=C, with warnings as errors, names and files that are no ASCII cost nothing and are printable."""
    info = os.fsencode(tmp_path) + b"/bad\xff-1.0.dist-info"
    folder = Path(os.fsdecode(info))
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[x]\nbare é\n", encoding="utf-8")
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    text = "[x]\né = ö:Ü\n[detloss.losses]\nbad = no target é\ngood = modül:Größe\n"
    (other / "entry_points.txt").write_text(text, encoding="utf-8")
    program = (
        f"from detloss.registry import scan\nfound = scan(path=[{str(tmp_path)!r}])\n"
        "for one in (*found.problems, *found.plugins): print(one)"
    )
    done = run_python("-W", "error", "-c", program, LC_ALL="C", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bad\\udcff-1.0.dist-info" in done.stdout
    assert "other-1.0.dist-info/entry_points.txt:4: bad = 'no target é' is not a target" in done.stdout
    assert "name='good'" in done.stdout


def test_row_26_relative_and_missing_folders(packages: Any, tmp_path: Path, run_python: Callable[..., Any]) -> None:
    """A relative entry of sys.path, the empty one (the working folder) and missing ones are searched as Python does."""
    packages.add("plug", losses={"one": "m:C"})
    program = (
        "from detloss.registry import scan\nprint([p.name for p in scan(path=['', 'absent', '.', 'a/../']).plugins])"
    )
    done = run_python("-W", "error", "-c", f"import os; os.chdir({str(packages.folder)!r})\n{program}")
    assert (done.stdout, done.stderr) == ("['one']\n", "")


def test_row_26_unpacked_wheel(
    build_wheel: Callable[..., Path], loss_source: str, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    """A real wheel unpacked as pip unpacks it is listed by a fresh process, with name, package and version."""
    wheel = build_wheel(
        "wheel-losses", {"far": "wheel_losses:FarLoss"}, {"wheel_losses.py": loss_source}, version="2.1"
    )
    with zipfile.ZipFile(wheel) as zipped:
        zipped.extractall(tmp_path / "site")
    done = run_python("-m", "detloss", "list", "--json", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert '"wheel-losses"' in done.stdout
    assert '"2.1"' in done.stdout
