"""`detloss export`: a trained detector as a file that needs no detloss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from detloss.cli.extras import needs
from detloss.cli.options import CheckpointOf, RunFolder


def command(
    run: RunFolder,
    *,
    kind: Annotated[
        Literal["state_dict", "onnx"],
        typer.Option("--format", help="Weights for torchvision's own class, or a whole model for onnxruntime."),
    ] = "state_dict",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; by default model.pth or model.onnx in RUN.", show_default=False),
    ] = None,
    checkpoint: CheckpointOf = None,
    image: Annotated[
        Path | None,
        typer.Option("--image", help="Image to check the file on; by default of the run's data.", show_default=False),
    ] = None,
) -> None:
    """Write the detector that a run trained to a file without detloss in it.

    A state dict gets a Python file beside it that builds torchvision's detector and loads the weights. An ONNX file
    takes images of any size. Either is run on an image, and must find what the trained detector finds.
    """
    with needs("train", "Exporting"):
        from detloss.training.export import export  # noqa: PLC0415 - help needs none of it
        from detloss.training.trained import open_trained  # noqa: PLC0415
    if kind == "onnx":
        with needs("export", "Exporting to ONNX"):
            import onnx  # noqa: F401, PLC0415 - as above
            import onnxruntime  # noqa: F401, PLC0415
            import onnxscript  # noqa: F401, PLC0415
    from detloss.cli.output import stdout  # noqa: PLC0415

    trained = open_trained(run, checkpoint)
    done = export(trained, kind, output, image)
    out = stdout()
    for file in done.files:
        out.print(f"{file}  {_size(file)}", soft_wrap=True)
    within = f"those of {trained.checkpoint.name} within {done.pixels:.1g} pixels and {done.score:.1g} in score"
    same = within if done.pixels or done.score else f"exactly those of {trained.checkpoint.name}"
    counted = f"{done.detections} detection{'s' * (done.detections != 1)}"
    out.print(f"Checked on {done.image}: {counted}, {same}.", soft_wrap=True)
    if kind == "state_dict":
        out.print(f"To use it: from {done.files[1].stem} import CLASS_NAMES, model", soft_wrap=True)


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size > 1e5 else f"{size / 1e3:.1f} kB"
