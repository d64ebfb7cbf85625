from __future__ import annotations

import ast
import random
import shutil
from collections.abc import Callable
from importlib import metadata
from typing import Any

import entrypoints
import pytest

from detloss.registry import LOSS_GROUP, Scan, scan

GOOD = {"good": "good_pkg:Good"}


def names(found: Scan) -> list[str]:
    return [plugin.name for plugin in found.plugins]


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"a = b:C\n", 1, "before its first [section]"),
        (b"[x]\na = b:C\n\n[x]\n", 4, "section [x] twice"),
        (b"[x]\na = b:C\na = b:D\n", 3, "name 'a' twice"),
        (b"[x]\nbare\n", 2, "not `name = module:Class`"),
    ],
    ids=["no section", "section twice", "name twice", "bare name"],
)
def test_row_07_malformed_file(new_folder: Callable[..., Any], data: bytes, line: int, says: str) -> None:
    """A malformed file of an unrelated package costs no other package's plugin; its file and line are reported."""
    assert_only_the_bad_one_is_lost(new_folder("site"), data, line, says)


def assert_only_the_bad_one_is_lost(folder: Any, data: bytes, line: int, says: str) -> None:
    # The names sort on both sides of the bad package's, so that it stands first, in the middle or last.
    folder.add("a-good-one", losses={"before": "good_pkg:Good"})
    bad = folder.add("bad-one", entry_points=data)
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["before", "good"]
    (problem,) = found.problems
    assert (problem.path, problem.line, problem.who) == (str(bad / "entry_points.txt"), line, "bad_one")
    assert says in problem.message
    assert str(problem).startswith(f"{bad / 'entry_points.txt'}:{line}: ")


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"[x]\na = b:C\n\xe9 = b:D\n", 3, "not UTF-8"),
        ("[x]\na = b:C\n".encode("utf-16"), 1, "NUL"),
        (b"[x]\n\na = b:C\0\n", 3, "NUL"),
    ],
    ids=["latin-1", "utf-16", "nul"],
)
def test_row_08_no_utf_8(new_folder: Callable[..., Any], data: bytes, line: int, says: str) -> None:
    """A file in another encoding, or with a NUL in it, is flagged with its line and costs no other package's plugin."""
    assert_only_the_bad_one_is_lost(new_folder("site"), data, line, says)


def test_row_08_byte_order_mark(new_folder: Callable[..., Any]) -> None:
    """A file that begins with a byte order mark is read like any other."""
    folder = new_folder("site")
    folder.add("marked", entry_points=b"\xef\xbb\xbf[detloss.losses]\ngood = good_pkg:Good\n")
    found = scan(path=[str(folder.folder)])
    assert (names(found), found.problems) == (["good"], ())


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends(new_folder: Callable[..., Any], end: str) -> None:
    """The line ends of other systems are line ends."""
    folder = new_folder("site")
    folder.add("ends", entry_points=f"[x]{end}a = b:C{end}[detloss.losses]{end}good = good_pkg:Good{end}".encode())
    found = scan(path=[str(folder.folder)])
    assert (names(found), found.problems) == (["good"], ())


def test_a_folder_in_place_of_the_file(new_folder: Callable[..., Any]) -> None:
    """What cannot be opened at all is reported once by its path, with the system's reason."""
    folder = new_folder("site")
    (folder.add("strange") / "entry_points.txt").mkdir()
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["good"]
    (problem,) = found.problems
    assert problem.message.startswith("cannot be read: it is not a regular file. The package offers nothing until")


@pytest.mark.parametrize("target", ["m:%(good)s", "%(good)s", "100%", "m:C %", "m:%%"])
def test_row_09_percent_signs(new_folder: Callable[..., Any], target: str) -> None:
    """A % in a target stands for itself: it is neither filled in from another entry nor an error, but a bad target."""
    assert_only_that_entry_is_lost(new_folder("site"), target)


@pytest.mark.parametrize("target", ["m", "m:", ":C", "m:C:D", "m.1a:C", "m:C()", "../m:C", "a b:C", ""])
def test_row_14_bad_target(new_folder: Callable[..., Any], target: str) -> None:
    """A target that is no module:Class is refused literally as it is written, and its neighbours stay."""
    assert_only_that_entry_is_lost(new_folder("site"), target)


def assert_only_that_entry_is_lost(folder: Any, target: str) -> None:
    info = folder.add("mixed", losses={"bad": target, "good": "good_pkg:Good"})
    found = scan(path=[str(folder.folder)])
    assert [(plugin.name, plugin.module, plugin.attribute) for plugin in found.plugins] == [
        ("good", "good_pkg", "Good")
    ]
    (problem,) = found.problems
    assert problem.line == 2
    assert problem.path == str(info / "entry_points.txt")
    assert repr(target) in problem.message


@pytest.mark.parametrize(
    "name", ["os.system", "../x", "a:b", "a b", "1st", "-x", "é", "x\x1b[31m", "x" * 10_000], ids=lambda name: name[:9]
)
def test_row_20_bad_name(new_folder: Callable[..., Any], name: str) -> None:
    """A name that is no plain word is refused, and its message is short and cannot steer the terminal."""
    folder = new_folder("site")
    folder.add("mixed", losses={name: "m:C", "good": "good_pkg:Good"})
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["good"]
    (problem,) = found.problems
    assert problem.message.isprintable()
    assert len(problem.message) < 300


def test_row_10_default_section(new_folder: Callable[..., Any]) -> None:
    """A [DEFAULT] section puts nothing into the group and is reported."""
    folder = new_folder("site")
    folder.add("sly", entry_points="[DEFAULT]\nsly = sly:Sly\n\n[detloss.losses]\nown = sly:Own\n")
    folder.add("good-one", losses=GOOD)
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["good", "own"]
    (problem,) = found.problems
    assert "[DEFAULT]" in problem.message
    assert problem.line == 1


def test_row_10_default_section_of_an_unrelated_package(new_folder: Callable[..., Any]) -> None:
    """A [DEFAULT] section is reported in a package that offers nothing to detloss, too."""
    folder = new_folder("site")
    folder.add("sly", entry_points="[x]\na = b:C\n[DEFAULT]\nsly = sly:Sly\n")
    (problem,) = scan(path=[str(folder.folder)]).problems
    assert "[DEFAULT]" in problem.message
    assert problem.line == 3


def test_row_18_unmet_requirement(new_folder: Callable[..., Any]) -> None:
    """A requirement that is missing or too old is reported with the pip line; met and optional ones are not."""
    folder = new_folder("site")
    folder.add("numbers-pkg", version="1.26.4")
    folder.add(
        "plug",
        losses={"one": "m:C"},
        requires=(
            "numbers-pkg<2.0,>=2",
            "absent",
            "numbers-pkg>=1.26",
            "extra-one; extra == 'x'",
            "win; os_name == '?'",
        ),
    )
    problems = [problem.message for problem in scan(path=[str(folder.folder)]).problems]
    assert len(problems) == 2
    assert "requires absent, but it is not installed. Fix: `python -m pip install 'absent'`" in problems[0]
    assert "requires numbers-pkg<2.0,>=2, but 1.26.4 is installed" in problems[1]


def test_row_17_listed_with_both_versions(new_folder: Callable[..., Any]) -> None:
    """A package built for another detloss is listed and reported with both versions."""
    folder = new_folder("site")
    folder.add("plug", losses={"one": "m:C"}, requires=("detloss>=99",))
    found = scan(path=[str(folder.folder)])
    assert names(found) == ["one"]
    assert "requires detloss>=99, but 0.1.0 is installed" in found.problems[0].message


def test_row_27_a_thousand_packages(new_folder: Callable[..., Any], run_python: Callable[..., Any]) -> None:
    """Among 1000 packages every loss is found by a process that imports none of them, nor torch, nor pydantic."""
    folder = new_folder("site")
    for number in range(1000):
        losses = f"[detloss.losses]\nloss_{number:03} = package_{number}:Loss\n" if number % 10 == 0 else ""
        folder.add(
            f"package-{number}",
            entry_points=f"[console_scripts]\ncommand{number} = package_{number}.cli:main\n{losses}",
            modules={f"package_{number}.py": "raise SystemExit('imported')"},
        )
    program = (
        "import sys; from detloss.registry import scan\n"
        "found = scan()\n"
        "names = [plugin.name for plugin in found.plugins if plugin.package.startswith('package-')]\n"
        "assert names == [f'loss_{number:03}' for number in range(0, 1000, 10)], names\n"
        "assert not found.problems, found.problems\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = run_python("-c", program, PYTHONPATH=str(folder.folder))
    assert done.returncode == 0, done.stderr
    loaded = set(ast.literal_eval(done.stdout))
    assert not loaded & {"torch", "pydantic", "detloss_iou"}
    assert not [name for name in loaded if name.startswith("package_")]


def test_row_05_listing_order_does_not_matter(new_folder: Callable[..., Any]) -> None:
    """The result is the same for every order in which the operating system lists a folder."""
    folder = new_folder("site")
    for version in ("1.0", "2.0", "10.0"):
        folder.add("plug", version=version, losses={"one": f"m{version[0]}:C"})
    folder.add("other", losses={"one": "m:C"})
    folder.add("bad", entry_points="bare")
    infos = list(folder.folder.iterdir())
    shuffled = random.Random(0)
    results = set()
    for turn in range(8):
        # Made anew in another order, which changes the order of a listing on most file systems.
        moved = new_folder(f"turn{turn}")
        shuffled.shuffle(infos)
        for info in infos:
            shutil.copytree(info, moved.folder / info.name)
        found = scan(path=[str(moved.folder)])
        results.add(repr(found).replace(str(moved.folder), ""))
    assert len(results) == 1
    assert [(plugin.full_name, plugin.version) for plugin in found.plugins] == [
        ("other:one", "1.0"),
        ("plug:one", "10.0"),
    ]


def test_row_05_path_order_does_not_matter(new_folder: Callable[..., Any]) -> None:
    """Two packages' claims to one name are both listed, in an order that does not depend on sys.path."""
    first, second = new_folder("first"), new_folder("second")
    first.add("zeta", losses={"one": "m:C"})
    second.add("alpha", losses={"one": "n:C"})
    path = [str(first.folder), str(second.folder)]
    for order in (path, path[::-1]):
        found = scan(path=order)
        assert [plugin.full_name for plugin in found.conflicts["one"]] == ["alpha:one", "zeta:one"]


def test_agrees_with_entrypoints_and_importlib() -> None:
    """On this healthy environment the scan finds exactly what entrypoints and importlib.metadata find."""
    ours = {(plugin.name, f"{plugin.module}:{plugin.attribute}") for plugin in scan().of(LOSS_GROUP).plugins}
    assert ours == {(e.name, f"{e.module_name}:{e.object_name}") for e in entrypoints.get_group_all("detloss.losses")}
    assert ours == {(e.name, e.value) for e in metadata.entry_points(group="detloss.losses")}


def test_a_fresh_scan_sees_a_new_package(new_folder: Callable[..., Any]) -> None:
    """Nothing is kept between two scans: a package installed in between is found."""
    folder = new_folder("site")
    assert scan(path=[str(folder.folder)]).plugins == ()
    folder.add("plug", losses={"one": "m:C"})
    assert names(scan(path=[str(folder.folder)])) == ["one"]
