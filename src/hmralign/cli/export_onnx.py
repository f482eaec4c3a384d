"""`hmralign export onnx`: the networks of a checkpoint as ONNX graphs, for programs without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from hmralign.cli.checkpoint_option import require_checkpoint
from hmralign.cli.terminal import Terminal


@dataclass(frozen=True)
class ExportOnnxOptions:
    """Write the networks of a checkpoint of kind `lite` as ONNX: encoder.onnx, denoiser.onnx, and model.json.

    `hmralign recover --checkpoint OUT` reads them back. Names, shapes and how to sample: docs/export.md. (A folder of
    results whose name is `onnx` is exported with `hmralign export ./onnx`.)
    """

    checkpoint: tyro.conf.Positional[str]
    """Weights: "lite", "lite-lab", or the path of a .safetensors checkpoint of that kind."""
    out: Path
    """Folder for the three files."""
    body: Path | None = None
    """SMPL file of yours (.pkl or .npz), if the checkpoint is bound to it; else the free body."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print one JSON document about the files, and nothing else.")] = False


def run_export_onnx(options: ExportOnnxOptions, terminal: Terminal) -> int:
    """Write the graphs, and say where."""
    require_checkpoint(options.checkpoint)
    from hmralign.body.body_file import load_body
    from hmralign.body.free_body import load_free_body
    from hmralign.policies.onnx_lite import export_checkpoint

    body = load_free_body("3k5") if options.body is None else load_body(options.body)
    files = export_checkpoint(options.checkpoint, body, options.out)
    terminal.answer({"format_version": 1, "out": str(options.out), "files": [str(file) for file in files]})
    size = sum(file.stat().st_size for file in files) / 2**20
    terminal.say(f"{size:.0f} MB of ONNX graphs: {options.out} (hmralign recover --checkpoint {options.out})")
    return 0
