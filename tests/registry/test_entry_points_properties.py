"""Whatever installed packages say about their entry points, the scan finds what is right in it and nothing else."""

from __future__ import annotations

import configparser
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import entrypoints
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detloss.registry import LOSS_GROUP, scan

section = st.sampled_from(["detloss.losses", "console_scripts", "DEFAULT", "x", ""])
word = st.one_of(
    st.sampled_from(["a", "b", "m:C", "m.n:C.D", "%(a)s", "%", "é", "\x00", "#", ";", "[x]"]), st.text(max_size=6)
)
line = st.one_of(
    section.map(lambda name: f"[{name}]"),
    st.tuples(word, word).map(" = ".join),
    word,
    st.sampled_from(["", " ", "\t= x"]),
)
contents = st.one_of(
    st.lists(line, max_size=12).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
    st.lists(line, max_size=8).map(lambda lines: "\r\n".join(lines).encode("utf-16", "surrogatepass")),
)


@settings(max_examples=150)
@given(data=contents)
def test_row_07_any_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever bytes a package's entry_points.txt holds, the scan neither raises nor imports nor loses another's."""
    folder = tmp_path_factory.mktemp("any")
    for name, text in (("any", data), ("good", b"[detloss.losses]\ngood = good_pkg:Good\n")):
        (folder / f"{name}-1.0.dist-info").mkdir()
        (folder / f"{name}-1.0.dist-info" / "entry_points.txt").write_bytes(text)
    before = set(sys.modules)
    found = scan(path=[str(folder)])
    assert set(sys.modules) - before <= {module for module in sys.modules if module.startswith("packaging")}
    assert ("good", "good") in [(plugin.name, plugin.package) for plugin in found.plugins]
    assert all(problem.message.isprintable() for problem in found.problems)
    # Nothing is invented: each name and target stand in the file.
    for plugin in found.plugins:
        if plugin.package == "any":
            assert plugin.name.encode() in data
            assert f"{plugin.module}:{plugin.attribute}".encode() in data


@settings(max_examples=150)
@given(data=st.lists(line, max_size=6).map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_row_07_unrelated_files_are_judged_like_any_other(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """A file that names no group of detloss is a problem exactly where it cannot be parsed or holds [DEFAULT]."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "any-1.0.dist-info").mkdir()
    data = data.replace(b"detloss.losses", b"another.group")
    (folder / "any-1.0.dist-info" / "entry_points.txt").write_bytes(data)
    parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",), interpolation=None, default_section="\n")
    try:
        parser.read_string(data.decode())
        healthy = b"\0" not in data and not parser.has_section("DEFAULT")
    except (configparser.Error, UnicodeDecodeError):
        healthy = False
    assert (scan([str(folder)]).problems == ()) is healthy


def installed(folder: Path, name: str, data: bytes) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_bytes(data)


@settings(max_examples=60)
@given(files=st.lists(st.lists(contents, max_size=3), min_size=2, max_size=3), order=st.randoms())
def test_row_05_any_path_order(tmp_path_factory: pytest.TempPathFactory, files: list[list[bytes]], order: Any) -> None:
    """Whatever packages lie in several folders, plugins and problems are the same for every order of the path."""
    root = tmp_path_factory.mktemp("order")
    for i, contents_of_folder in enumerate(files):
        (root / str(i)).mkdir()
        for j, data in enumerate(contents_of_folder):
            installed(root / str(i), f"plug-{'abc'[j]}-{i}", data)
    path = [str(root / str(i)) for i in range(len(files))]
    expected = scan(path=path)
    order.shuffle(path)
    assert scan(path=path) == expected


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,10}", fullmatch=True)
targets = st.from_regex(r"[a-z_]{1,5}(\.[a-z_]{1,5}){0,2}:[A-Za-z_]{1,6}(\.[A-Z]{1,3})?", fullmatch=True)
groups = st.dictionaries(
    st.sampled_from(["detloss.losses", "detloss.heads", "console_scripts", "x.y"]),
    st.dictionaries(names, targets.filter(lambda text: not set(text.replace(":", ".").split(".")) & {""}), max_size=4),
    max_size=3,
)


@settings(max_examples=60)
@given(packages=st.lists(groups, max_size=4), spaces=st.sampled_from(["=", " = ", "  =  "]))
def test_row_07_healthy_files_as_the_libraries_read_them(
    tmp_path_factory: pytest.TempPathFactory, packages: list[dict[str, dict[str, str]]], spaces: str
) -> None:
    """Where nothing is wrong, the scan finds exactly what importlib.metadata and entrypoints find, and no problem."""
    folder = tmp_path_factory.mktemp("healthy")
    for number, package in enumerate(packages):
        sections = [
            f"[{group}]\n" + "".join(f"{name}{spaces}{target}\n" for name, target in entries.items())
            for group, entries in package.items()
        ]
        installed(folder, f"plug{number}", "\n".join(sections).encode())
    found = scan(path=[str(folder)])
    assert found.problems == ()
    losses = found.of(LOSS_GROUP).plugins
    ours = sorted((plugin.package, plugin.name, f"{plugin.module}:{plugin.attribute}") for plugin in losses)
    assert ours == sorted(
        (distribution.name, entry.name, entry.value)
        for distribution in metadata.distributions(path=[str(folder)])
        for entry in distribution.entry_points.select(group="detloss.losses")
    )
    assert ours == sorted(
        (entry.distro.name, entry.name, f"{entry.module_name}:{entry.object_name}")
        for entry in entrypoints.get_group_all("detloss.losses", path=[str(folder)])
    )
