"""`detloss export`: a trained detector as a file that needs no detloss."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from detloss.cli.command import Command, needs
from detloss.cli.options import PATH, checkpoint_of, run_folder
from detloss.text import counted


@click.command("export", cls=Command)
@run_folder
@click.option(
    "--format",
    "kind",
    type=click.Choice(["state_dict", "onnx"]),
    default="state_dict",
    show_default=True,
    help="Weights for torchvision's own class, or a whole model for onnxruntime.",
)
@click.option("--output", "-o", type=PATH, help="The file; by default model.pth or model.onnx in RUN.")
@checkpoint_of
@click.option("--image", type=PATH, help="Image to check the file on; by default of the run's data.")
def command(
    run: Path,
    kind: Literal["state_dict", "onnx"],
    output: Path | None,
    checkpoint: Literal["best", "last"] | None,
    image: Path | None,
) -> None:
    """Write a trained detector to a file that needs no detloss.

    A state dict gets a Python file next to it that builds torchvision's detector and loads the weights. An ONNX file
    takes images of any size. Either file is run on an image, and must find what the trained detector finds.
    """
    with needs("train", "Exporting"):
        from detloss.training.export import export
        from detloss.training.trained import open_trained
    if kind == "onnx":
        with needs("export", "Exporting to ONNX"):
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    from detloss.cli.output import stdout

    trained = open_trained(run, checkpoint)
    done = export(trained, kind, output, image)
    out = stdout()
    for file in done.files:
        out.print(f"{file}  {_size(file)}", soft_wrap=True)
    within = f"those of {trained.checkpoint.name} within {done.pixels:.1g} pixels and {done.score:.1g} in score"
    same = within if done.pixels or done.score else f"exactly those of {trained.checkpoint.name}"
    out.print(f"Checked on {done.image}: {counted(done.detections, 'detection')}, {same}.", soft_wrap=True)
    if kind == "state_dict":
        out.print(f"To use it: from {done.files[1].stem} import CLASS_NAMES, model", soft_wrap=True)


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size > 1e5 else f"{size / 1e3:.1f} kB"
