"""Messages, docstrings, comments and pages use the common word, in American spelling."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FIRST_LINE = 12
"""Words of a docstring's first line; code in backticks counts as one."""
INSTEAD = {
    r"mend(s|ed|ing)?": "fix",
    r"(?<!train\.)(?<!`)pictures?(?!`)|photographs?": "image",
    r"left out|leaves? out|leaving out|leaves \w+ out": "ignored, skipped, excluded, or `by default`",
    r"drawn (shapes|images|data|pictures)": "synthetic",
    r"(?<!there )(?<!there\n)(is|are) (?-i:none)": "is not a",
    r"(?<!there )(?<!there\n)(is|are|be) no (?!longer|more|less|better|other|worse|further)\w+": "is not a",
    r"somebody|someone|nobody|no one|anybody|anyone's|whoever": "you, or who does it",
    r"[a-z]*(normal|equal|recogn|synchron|initial|optim|serial|parametr|general|summar)is(e[sd]?|ing|ation)": "-ize",
    r"[a-z]*(colour|centre|neighbour|behaviour|favour|labell|modell|cancell)\w*|grey": "American spelling",
    r"sets? \w+ up": "installs",
    r"go(es|ing)? on( (from|with))?|went on|gone on": "continue, or resume",
    r"(the|a|with|its) ways? on": "how to continue, or the fix",
    r"costs itself": "affects only itself",
    r"came of|comes? of|became of|becomes of": "the result, or what happens to",
    r"begin(s|ning)? anew|anew": "again",
    r"be it": "or",
    r"in the place of": "instead of",
    r"and its kin|all of its kin": "and others like it",
    r"to the letter": "exactly",
    r"upon": "on",
    r"beside": "next to",
    r"look-ups?": "lookup",
    r"(writes?|wrote|written|writing) down": "record",
    r"for ever": "forever",
    r"whosoever|whatsoever|thereof|hereby|whereby|wherein|thereby|therein|thence|hence|lest|ere": "a plain word",
    r"nothing of (it|them|the \w+) (is|was)": "it is not",
    r"names what is not there": "unknown entries",
    r"but for": "except",
    r"a slip": "a typo, or a mistake",
}
"""Refused words -> what to write instead."""
ALLOWED = re.compile(r"`[^`\n]*`|[\w.-]*\.(md|py|jpg|png)\b|https?://\S+")
"""Code, names of files and addresses are not prose."""
PYTHON = sorted([*(ROOT / "detloss").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
WRITTEN = (file for file in ROOT.glob("docs/**/*.md") if file.parent.name != "losses")
"""The build of the site generates the pages of losses."""
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("plugins/*/*.md"), *ROOT.glob("detloss/**/*.md"), *WRITTEN])


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, message and comment; of a page, of each paragraph outside of code."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        text = re.sub(r"^```.*?^```", lambda code: "\n" * code[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
        yield 1, text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:", "# ruff")):
            yield token.start[0], token.string


def refused(text: str) -> Iterator[tuple[int, str]]:
    """Line of each refused word in a text, and what to write instead."""
    plain = ALLOWED.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), text)
    for words, instead in INSTEAD.items():
        for found in re.finditer(rf"(?<![\w-])({words})(?![\w-])", plain, re.IGNORECASE):
            yield plain[: found.start()].count("\n"), f"{found[0]!r}: write {instead}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mend that, and go on from here.", ["Mend", "go on from"]),
        ("Boxes that are none, and one that is no box.", ["are none", "is no box"]),
        ("A step is left out; somebody chose the colour.", ["left out", "somebody", "colour"]),
        ("There is no box, it returns None, and `left_out` is a key.", []),
    ],
)
def test_refused_words_are_found(text: str, words: list[str]) -> None:
    """A word is found in any case and place, and code is not prose."""
    assert sorted(found.partition(": ")[0] for _, found in refused(text)) == sorted(map(repr, words))


@pytest.mark.parametrize("file", [*PYTHON, *PAGES], ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_uses_plain_words(file: Path) -> None:
    """No refused word is in the file's prose."""
    found = [f"{start + line}: {words}" for start, text in prose(file) for line, words in refused(text)]
    assert found == []


@pytest.mark.parametrize("file", PYTHON, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_docstring_begins_with_one_short_sentence(file: Path) -> None:
    """The first paragraph of a docstring is one line with one sentence of at most twelve words."""
    wrong = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            first = re.sub(r"`+[^`]*`+", "CODE", text.partition("\n\n")[0])
            if "\n" in first or len(first.split()) > LONGEST_FIRST_LINE or re.search(r"\w\. +[A-Z]", first):
                wrong.append(text.partition("\n\n")[0])
    assert wrong == []
