from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from terminal import in_terminal

Run = Callable[..., tuple[int, str, str]]

SOURCE = '''
print("printed at import")

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from detloss.loss import BoxRegressionLoss, LossConfig, NestedSpec


class RichLoss(BoxRegressionLoss):
    """Rich: ``1 - q**a`` [bold] (Doe, 2024, arXiv 2401.00001).

    It follows arXiv:1506.01497v3 and doi:10.1000/xyz.1,
    and arXiv 2401.00001 again.
    """

    class Config(LossConfig):
        """Parameters."""

        alpha: float = Field(3.0, gt=0, le=10)
        """The ``power``."""
        mode: Literal["linear", "log"] = "linear"
        eps: float = 1e-7
        inner: NestedSpec | None = None
        sizes: list[int]

    config: Config
    recommended_weights: ClassVar[Mapping[str, float]] = {"roi_heads": 10.0, "rpn": 2.5}
    value_range = (-1.0, float("inf"))
    minimum = None
    invariances = frozenset({"scale", "translation"})

    def forward(self, pred: Tensor, target: Tensor, *, image_size: Tensor) -> Tensor:
        return (pred - target).sum(-1)
'''


@pytest.fixture
def rich_loss(packages: Any) -> Any:
    packages.add("rich-losses", version="0.3", losses={"rich_one": "rich_m:RichLoss"}, modules={"rich_m.py": SOURCE})
    return packages


def test_json(rich_loss: Any, run_detloss: Run) -> None:
    """``--json`` gives everything about a loss and nothing else, even where the plugin prints at import."""
    code, out, err = run_detloss("show", "rich_one", "--json")
    assert code == 0
    assert err == "printed at import\n"
    data = json.loads(out)
    parameters = data.pop("parameters")
    docstring = data.pop("docstring")
    assert docstring.startswith("Rich: ")
    assert docstring.endswith("again.")
    assert data == {
        "name": "rich_one",
        "package": "rich-losses",
        "version": "0.3",
        "title": "Rich (arXiv 2024)",
        "description": "Rich: ``1 - q**a`` [bold] (Doe, 2024, arXiv 2401.00001).",
        "papers": [
            "https://arxiv.org/abs/2401.00001",
            "https://arxiv.org/abs/1506.01497",
            "https://doi.org/10.1000/xyz.1",
        ],
        "space": "boxes",
        "recommended_weights": {"roi_heads": 10.0, "rpn": 2.5},
        "range": [-1.0, None],
        "minimum": None,
        "invariances": ["scale", "translation"],
        "pulls": None,  # a parameter has no default
        "extras": ["image_size"],
        "batch_dependent": False,
        "compiles": True,
        "class": "rich_m.RichLoss",
        "file": str(rich_loss.folder / "rich_m.py"),
    }
    keys = ("name", "type", "bounds", "required", "default", "description")
    assert parameters == [
        dict(zip(keys, row, strict=True))
        for row in (
            ("alpha", "float", "> 0, <= 10", False, 3.0, "The ``power``."),
            ("mode", "linear | log", "", False, "linear", ""),
            ("eps", "float", "", False, 1e-7, ""),
            ("inner", "a loss | null", "", False, None, ""),
            ("sizes", "list[int]", "", True, None, ""),
        )
    ]


def test_text(rich_loss: Any, run_detloss: Run) -> None:
    """The page names paper, space, weights, range, package and every parameter; brackets are shown as they are."""
    code, out, _ = run_detloss("show", "rich-losses:rich_one")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.strip()}
    assert lines["rich_one"] == "Rich: 1 - q**a [bold] (Doe, 2024, arXiv 2401.00001)."
    assert lines["paper"] == "https://arxiv.org/abs/2401.00001"
    assert lines["space"] == "boxes (decoded x1, y1, x2, y2 in network-input pixels)"
    assert lines["weight"] == "10 in roi_heads, 2.5 in rpn"
    assert lines["range"] == "[-1, inf)"
    assert lines["package"] == "rich-losses 0.3"
    assert lines["file"] == str(rich_loss.folder / "rich_m.py")
    assert lines["alpha"] == "float > 0, <= 10 3.0 The power."
    assert lines["mode"] == "linear | log linear"
    # PyYAML reads 1e-07 as text, so a default must not be shown like that.
    assert lines["eps"] == "float 1.0e-07"
    assert "It follows arXiv:1506.01497v3 and doi:10.1000/xyz.1, and arXiv 2401.00001 again.\n" in out
    assert lines["sizes"] == "list[int] required"
    assert "`" not in out


def test_whether_it_pulls(run_detloss: Run) -> None:
    """The page says whether the loss pulls boxes that do not overlap, and such as lie within each other."""
    _, out, _ = run_detloss("show", "nwd", "--json")
    assert json.loads(out)["pulls"] == {"disjoint": "near only", "nested": "yes"}
    _, out, _ = run_detloss("show", "giou")
    assert "pulls         disjoint boxes: yes, nested boxes: no\n" in out


def test_no_parameters(packages: Any, run_detloss: Run) -> None:
    """A loss without parameters, weights or docstring is shown as such."""
    source = (
        "from detloss.loss import BoxRegressionLoss\n"
        "class Bare(BoxRegressionLoss):\n    def forward(self, pred, target): ...\n"
    )
    packages.add("bare", losses={"bare_one": "bare_m:Bare"}, modules={"bare_m.py": source})
    code, out, _ = run_detloss("show", "bare_one")
    assert code == 0
    assert "It has no parameters." in out
    assert "1 (none is recommended)" in out


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("GIoU", "giou"),
        ("Detloss-IoU:GIOU", "giou"),
        ("generalized iou", "giou"),
        ("Alpha-IoU", "alpha_iou"),
        ("kullback-leibler", "kld"),
        ("iou loss", "iou"),
    ],
)
def test_a_name_in_any_case_or_a_title(run_detloss: Run, asked: str, name: str) -> None:
    """A loss is found by its name in any case, and by words of its title that no other one has."""
    code, out, err = run_detloss("show", asked, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["name"] == name


@pytest.mark.parametrize(
    ("asked", "meant"), [("wasserstein", "'gwd' or 'nwd'"), ("generalised iou", "'giou'"), ("GIUO", "'giou'")]
)
def test_words_that_mean_no_single_loss(run_detloss: Run, asked: str, meant: str) -> None:
    """Words of several titles, and near ones, end with 1 and the names that may be meant."""
    code, out, err = run_detloss("show", asked)
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: There is no loss '{asked}'. Did you mean {meant}")


def test_what_a_user_needs(run_detloss: Run) -> None:
    """The page says paper, weights and range once, each in its row, and leaves out what only developers need."""
    out = run_detloss("show", "giou")[1]
    lines = out.splitlines()
    assert out.count("[0, 2)") == 1
    assert "paper         Rezatofighi et al., CVPR 2019, arXiv 1902.09630." in lines
    assert "              https://arxiv.org/abs/1902.09630" in lines
    assert any(line.startswith("              Published: 10 in the R-CNN box head") for line in lines)
    assert "range         [0, 2)." in lines
    for heading in ("References", "Range:", "Degenerate boxes", "Recommended weights"):
        assert heading not in out


def test_unknown_name(run_detloss: Run) -> None:
    """An unknown name ends with exit code 1 and one message on stderr: no traceback, nothing on stdout."""
    code, out, err = run_detloss("show", "no_such_loss_at_all")
    assert (code, out) == (1, "")
    assert err.startswith("Error: There is no loss 'no_such_loss_at_all'.")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_row_02_command_ends_with_the_plugins_line(packages: Any, run_detloss: Run) -> None:
    """A plugin that cannot be imported ends with exit code 1 and the plugin's own line."""
    packages.add("bomb", losses={"bomb": "bomb_s:Bomb"}, modules={"bomb_s.py": "\nraise RuntimeError('[red]no[/red]')"})
    code, out, err = run_detloss("show", "bomb")
    assert (code, out) == (1, "")
    assert "RuntimeError: [red]no[/red], at " in err
    assert "bomb_s.py:2" in err


def test_row_03_command_does_not_end_silently(packages: Any, run_detloss: Run) -> None:
    """A plugin that calls sys.exit(0) at import ends the command with an error that names it, not with success."""
    packages.add("quitter", losses={"quitter": "quit_s:Q"}, modules={"quit_s.py": "import sys\nsys.exit(0)"})
    code, out, err = run_detloss("show", "quitter")
    assert (code, out) == (1, "")
    assert "The loss 'quitter' of quitter 1.0 cannot be used: its import ended the program with sys.exit(0)" in err


def test_no_name(run_detloss: Run) -> None:
    """A missing name is wrong usage: exit code 2."""
    code, _, err = run_detloss("show")
    assert code == 2
    assert "NAME" in err


def test_every_installed_loss(run_detloss: Run) -> None:
    """Every installed loss can be shown, as text and as JSON that holds no NaN or infinity."""
    from detloss.registry import find_plugins

    for plugin in find_plugins():
        code, out, _ = run_detloss("show", plugin.full_name)
        assert code == 0
        assert plugin.name in out
        data = json.loads(run_detloss("show", plugin.full_name, "--json")[1], parse_constant=pytest.fail)
        assert data["package"] == plugin.package


def test_addresses_and_paths_are_not_folded(rich_loss: Any) -> None:
    """On a narrow terminal text is wrapped between words, under its column; what is to be copied stays in one line."""
    kept = f"{rich_loss.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    shown = in_terminal("show", "rich_one", columns=40, PYTHONPATH=kept).stdout.replace("\r\n", "\n")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert f"\nfile          {rich_loss.folder / 'rich_m.py'}\n" in shown
    assert "\npaper         https://arxiv.org/abs/2401.00001\n              https://arxiv.org/abs/1506.01497\n" in shown
    assert "\nweight        10 in roi_heads, 2.5 in\n              rpn\n" in shown
