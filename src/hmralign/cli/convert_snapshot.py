"""`hmralign convert hyponet|scorenet|hmr-scorer`: published PyTorch snapshots become checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hmralign.cli.terminal import Terminal

if TYPE_CHECKING:
    from hmralign.models.published.layouts import Kind


@dataclass(frozen=True)
class ConvertSnapshotOptions:
    """Make a checkpoint of a snapshot of HypoNet, ScoreNet or HMR-Scorer, as their own training code saves it.

    Nothing in the file is run. It is held to the published layout before a tensor of it is read, and refused where a
    tensor is missing, surplus, or of another shape. Beside OUT a report, .json, names every entry of the file: what it
    became, or why it is not used.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The snapshot, such as a .pth or .pth.tar file."""
    out: Path
    """Where the checkpoint is to be, a name that ends in .safetensors."""
    weights: Literal["ema", "raw"] | None = None
    """Running averages of the weights (ema), or the weights as they were last (raw). The default is what the published
    code evaluates with: ema, for hmr-scorer raw."""
    body: Path | None = None
    """SMPL file of yours (.pkl or .npz), to which the checkpoint is bound; the published weights were trained on SMPL.
    Without it the checkpoint is bound to the free body, whose shapes are others than the model predicts."""
    quiet: bool = False
    """Say nothing but errors."""
    json: Annotated[bool, tyro.conf.arg(help="Print the report as one JSON document, and nothing else.")] = False


def run_convert_snapshot(kind: Kind, options: ConvertSnapshotOptions, terminal: Terminal) -> int:
    """Convert, and say what was used, renamed and left."""
    from hmralign.body.body_file import load_body
    from hmralign.body.free_body import load_free_body
    from hmralign.models.published.conversion import convert_snapshot

    body = load_free_body() if options.body is None else load_body(options.body)
    report = convert_snapshot(
        options.file, options.out, kind, skeleton_hash=body.skeleton_hash, weights=options.weights
    )
    if options.body is None and not terminal.quiet:
        terminal.note(
            "warning: bound to the free body, whose shapes the model does not know; --body FILE binds it to yours"
        )
    for line in report.lines():
        terminal.say(line)
    terminal.answer(report.record())
    terminal.say(f"{kind}, {report.weights} weights: {options.out}, every entry in {options.out.with_suffix('.json')}")
    return 0
