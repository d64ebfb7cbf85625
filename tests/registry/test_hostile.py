"""Packages whose metadata is damaged, endless, forged or enormous: each is a problem, and every other package works."""

from __future__ import annotations

import gc
import os
import re
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detloss.registry import HEAD_GROUP, Scan, find_plugins, get_plugin, scan
from detloss.registry.source import ClassSource, read_class

GOOD = {"good": "good_pkg:Good"}
ENTRIES = "[detloss.losses]\nbad = bad_pkg:Bad\n"


def with_good(folder: Any) -> Scan:
    """Scan the folder with one more package in it, whose plugin must be found."""
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(folder.folder)])
    assert "good" in [plugin.name for plugin in found.plugins]
    return found


def damaged(archive: Path, members: dict[str, str], damage: str) -> None:
    """Write an archive in which the compressed bytes of one member are damaged."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in members.items():
            zipped.writestr(name, text)
        info = zipped.getinfo(damage)
    start = info.header_offset + 30 + len(damage)  # the header of a member, and its name
    data = archive.read_bytes()
    archive.write_bytes(data[:start] + b"\xff" * 10 + data[start + 10 :])


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ("nope; 'x' in extras", "extras"),
        ("nope; python_version", "InvalidRequirement"),
        ("=>1", "InvalidRequirement"),
        ("nope; " + "(" * 900, "RecursionError|InvalidRequirement"),  # as old or as new as packaging is
        (f"nope>={'1' * 5000}", "it has more than 1000 characters"),
    ],
    ids=["unknown variable", "half a marker", "no name", "nested", "long"],
)
def test_row_31_unreadable_requirement(new_folder: Callable[..., Any], requirement: str, says: str) -> None:
    """A requirement that packaging fails on, in whatever way, is a problem of its package, which stays listed."""
    folder = new_folder("site")
    info = folder.add("bad", entry_points=ENTRIES, requires=(requirement, "absent-thing"))
    found = with_good(folder)
    assert [plugin.name for plugin in found.plugins] == ["bad", "good"]
    unreadable, absent = sorted(found.problems, key=lambda problem: "absent-thing" in problem.message)
    assert (unreadable.who, unreadable.path) == ("bad", str(info))
    assert "which is unreadable" in unreadable.message
    assert re.search(says, unreadable.message)
    assert "requires absent-thing, but it is not installed" in absent.message


def test_row_31_version_of_5000_digits(new_folder: Callable[..., Any]) -> None:
    """Versions that int() refuses to read affect no plugin, and are cut where they are shown."""
    folder = new_folder("site")
    info = folder.add("bad", entry_points=ENTRIES)
    text = f"Name: bad\nVersion: {'1' * 5000}\nRequires-Dist: good-one>={'1' * 5000}\nRequires-Dist: good-one>=2\n"
    (info / "METADATA").write_text(text, encoding="utf-8")
    found = with_good(folder)
    assert len(found.plugins[0].version) < 100
    assert sorted("which is unreadable" in problem.message for problem in found.problems) == [False, True]


@pytest.mark.parametrize("member", ["p-1.dist-info/entry_points.txt", "p-1.dist-info/METADATA"])
def test_row_31_damaged_member_of_an_archive(new_folder: Callable[..., Any], tmp_path: Path, member: str) -> None:
    """A member whose compressed bytes are damaged is a problem that names it, and costs its own package only."""
    archive = tmp_path / "cut.whl"
    texts = {"p-1.dist-info/entry_points.txt": ENTRIES, "p-1.dist-info/METADATA": "Name: p\n" * 9}
    damaged(archive, texts | {"q-1.dist-info/entry_points.txt": ENTRIES.replace("bad =", "other =")}, member)
    folder = new_folder("site")
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(archive), str(folder.folder)])
    assert [plugin.name for plugin in found.plugins] == ["good", "other"]
    (problem,) = found.problems
    assert problem.path == str(zipfile.Path(archive, member))
    assert "cannot be read" in problem.message


@pytest.mark.parametrize("name", ["entry_points.txt", "METADATA", "bad_pkg.py"])
@pytest.mark.parametrize("kind", ["fifo", "device", "huge"])
def test_row_32_only_regular_files_are_read(new_folder: Callable[..., Any], name: str, kind: str) -> None:
    """A fifo, a link to an endless device and a huge file do not hang a scan; in metadata they are a problem."""
    folder = new_folder("site")
    info = folder.add("bad", entry_points=ENTRIES, modules={"bad_pkg.py": "class Bad:\n    '''Fine.'''\n"})
    file = folder.folder / name if name.endswith(".py") else info / name
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as sparse:
            sparse.truncate(2 * 2**30)
    found = with_good(folder)
    if name == "bad_pkg.py":
        assert next((one.name, one.description, one.space) for one in found.plugins) == ("bad", "About bad.", "?")
        assert found.problems == ()
    else:
        assert [plugin.name for plugin in found.plugins] == ["good"]
        (problem,) = found.problems
        assert problem.path == str(file)
        assert ("it has more than" if kind == "huge" else "it is not a regular file.") in problem.message


def test_row_32_no_device_is_opened(new_folder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not a regular file is not even opened: to open a device may do something."""
    folder = new_folder("site")
    info = folder.add("bad", entry_points=ENTRIES)
    (info / "METADATA").unlink()
    (info / "METADATA").symlink_to("/dev/zero")
    opened: list[Path] = []
    original = os.open

    def noted(name: Any, *rest: Any, **more: Any) -> int:
        opened.append(Path(os.fsdecode(name)))
        return original(name, *rest, **more)

    monkeypatch.setattr(os, "open", noted)
    with_good(folder)
    assert info / "entry_points.txt" in opened
    assert not [path for path in opened if stat.S_ISCHR(path.stat().st_mode)]


@pytest.mark.parametrize("name", ["p-1.dist-info/entry_points.txt", "p-1.dist-info/METADATA", "bad_pkg.py"])
def test_row_32_zip_bomb(new_folder: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """A member of an archive is read up to its bound, however much it unpacks to."""
    archive = tmp_path / "bomb.zip"
    members = {"p-1.dist-info/entry_points.txt": ENTRIES, "p-1.dist-info/METADATA": "Name: p\nSummary: Short.\n"}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for member, text in (members | {name: "\n" * 2**26}).items():
            zipped.writestr(member, text)
    folder = new_folder("site")
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(archive), str(folder.folder)])
    if name == "bad_pkg.py":
        assert next((plugin.name, plugin.description) for plugin in found.plugins) == ("bad", "Short.")
    else:
        assert [plugin.name for plugin in found.plugins] == ["good"]
        assert [problem.path for problem in found.problems] == [str(zipfile.Path(archive, name))]


def test_row_32_long_names_in_an_archive(new_folder: Callable[..., Any], tmp_path: Path) -> None:
    """An archive with a name of thousands of folders, whose listing takes the square of that, is a problem."""
    archive = tmp_path / "deep.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a/" * 30_000, "")
    folder = new_folder("site")
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(archive), str(folder.folder)])
    assert [plugin.name for plugin in found.plugins] == ["good"]
    assert [problem.path for problem in found.problems] == [str(archive)]


def test_row_31_damaged_source_in_an_archive(tmp_path: Path) -> None:
    """A module that cannot be unpacked says nothing of its class."""
    archive = tmp_path / "cut.zip"
    damaged(archive, {"m.py": "class A:\n    'Doc.'\n" * 20}, "m.py")
    assert read_class("m", "A", zipfile.Path(archive)) == ClassSource()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "plugins", "problems"),
    [
        ("".join(f"loss_{number} = m:C\n" for number in range(10_000)), 10_000, 0),
        ("".join(f"loss.{number} = m:C\n" for number in range(10_000)), 0, 10_000),
        ("".join(f"loss_{number} = m\n" for number in range(10_000)), 0, 10_000),
        ("a = m:C\n" * 10_000, 0, 1),
        ("a\n" * 100_000, 0, 1),
        ("".join(f"loss_{number} = m:C\n" for number in range(100_000)), 0, 1),
        (f"a{' ' * 100_000}x\n", 0, 1),
        (f"a = m:C{' ' * 100_000}x\n", 0, 1),
    ],
    ids=["good", "bad names", "bad targets", "one name", "bare", "100000 good", "blanks", "blanks after"],
)
def test_row_33_many_entries(new_folder: Callable[..., Any], text: str, plugins: int, problems: int) -> None:
    """Ten thousand entries take under a second of work, faulty or not; a file of over 20 000 lines is refused."""
    folder = new_folder("site")
    folder.add("many", entry_points=f"[detloss.losses]\n{text}")
    gc.freeze()  # what other tests have left is none of this work
    before = time.process_time()
    found = with_good(folder)
    work = time.process_time() - before
    gc.unfreeze()
    assert work < 1
    assert (len(found.plugins) - 1, len(found.problems)) == (plugins, problems)


@pytest.mark.parametrize(
    "requires",
    [
        (f"nope{' ' * 100_000}>=1{' ' * 100_000}x",),
        (f"nope {'<1 ' * 300}x",),
        tuple(f"nope; {'(' * 900}" for _ in range(900)),
    ],
    ids=["blanks", "bounds", "many"],
)
def test_row_33_long_requirements(new_folder: Callable[..., Any], requires: tuple[str, ...]) -> None:
    """Long runs of blanks, many bounds and many unreadable lines take under a second of work."""
    folder = new_folder("site")
    folder.add("bad", entry_points=ENTRIES, requires=requires)
    before = time.process_time()
    found = with_good(folder)
    assert time.process_time() - before < 1
    assert 1 <= len(found.problems) <= 10


def test_row_33_one_module_of_many_classes(new_folder: Callable[..., Any]) -> None:
    """The sources of thousands of losses in one module are described in time that grows with their number alone."""
    folder = new_folder("site")
    count = 3000
    source = "".join(f"class L{number}:\n  'Loss {number}.'\n" for number in range(count))
    losses = {f"l{number}": f"many_m:L{number}" for number in range(count)}
    folder.add("many", losses=losses, modules={"many_m.py": source})
    found = scan(path=[str(folder.folder)])
    before = time.process_time()
    assert {plugin.description for plugin in found.plugins} == {f"Loss {number}." for number in range(count)}
    assert time.process_time() - before < 2


def test_row_33_the_list_of_problems_is_cut(packages: Any, run_detloss: Callable[..., tuple[int, str, str]]) -> None:
    """`detloss list` prints the first hundred problems, and says where all of them are."""
    packages.add("bad", entry_points="[detloss.losses]\n" + "".join(f"loss.{number} = m:C\n" for number in range(150)))
    out = run_detloss("list")[1]
    assert out.count("Problem: ") == 100
    assert "... and 50 more problems: `detloss list --json`." in out


def test_row_34_metadata_that_names_another_package(
    packages: Any, monkeypatch: pytest.MonkeyPatch, loss_source: str
) -> None:
    """A folder whose METADATA names another package offers nothing, hides nothing, and is a problem."""
    packages.add("far-losses", losses={"far": "far_34:FarLoss"}, modules={"far_34.py": loss_source})
    for number, name in enumerate(("detloss", "far-losses")):
        packages.add(name, losses={"evil": "evil_m:Evil"}, dist_info=f"evil{number}-1.0.dist-info")
    assert [str(problem) for problem in scan().problems if problem.who.startswith("evil")] == [
        f"{packages.folder}/evil{number}-1.0.dist-info: names the package {name}, but its folder is evil{number}. "
        f"The package offers nothing until this is fixed. Fix: reinstall evil{number}, or tell its authors."
        for number, name in enumerate(("detloss", "far-losses"))
    ]
    assert "evil" not in [plugin.name for plugin in find_plugins()]
    assert get_plugin("far").plugin.package == "far-losses"
    monkeypatch.setenv("DETLOSS_PLUGINS", "none")
    assert find_plugins() == ()
    assert get_plugin("rpn", HEAD_GROUP).plugin.package == "detloss"


def test_row_34_only_detloss_itself_is_always_allowed(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is called detloss in folder and METADATA is not ours: `DETLOSS_PLUGINS=none` leaves it out."""
    entries = "[detloss.losses]\nevil = evil_m:Evil\n[detloss.heads]\nevil_head = evil_m:Evil\n"
    packages.add("detloss", version="9.9", entry_points=entries)
    monkeypatch.setenv("DETLOSS_PLUGINS", "none")
    assert find_plugins() == ()
    assert "evil_head" not in [plugin.name for plugin in find_plugins(HEAD_GROUP)]
