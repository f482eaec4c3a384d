"""`hmralign train base`: a base model from a committed configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class TrainOptions:
    """Train a base model on synthetic persons; continues an unfinished run in the same folder."""

    what: Annotated[Literal["base"], tyro.conf.Positional]
    """Which training."""
    config: Path
    """YAML configuration, see `configs/`."""
    out: Path
    """Folder of the run: state for resuming, learning curve, weights."""
    pose_file: Path | None = None
    """Motion-capture poses; replaces the configuration's."""
    max_hours: float | None = None
    """Stop after this much wall time; replaces the configuration's."""
    threads: int | None = None
    """Threads of the training process; the default is PyTorch's."""
    quiet: bool = False
    """Say nothing but errors."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_train(options: TrainOptions, terminal: Terminal) -> int:
    """Train and write `model.safetensors` beside the state."""
    from dataclasses import replace

    import torch

    from hmralign.body.free_body import load_free_body
    from hmralign.models.checkpoint import save_checkpoint
    from hmralign.training.base import train_base, training_sources
    from hmralign.training.configuration import read_training_config, write_training_config

    if options.threads is not None:
        if options.threads < 1:
            raise UsageError(f"--threads is {options.threads}; expected at least 1")
        torch.set_num_threads(options.threads)
    config = read_training_config(options.config)
    if options.pose_file is not None:
        config = replace(config, pose_file=str(options.pose_file))
    if options.max_hours is not None:
        config = replace(config, max_hours=options.max_hours)
    options.out.mkdir(parents=True, exist_ok=True)
    write_training_config(options.out / "config.yaml", config)
    model = train_base(config, options.out)
    path = save_checkpoint(
        options.out / "model.safetensors",
        model,
        load_free_body("3k5").skeleton_hash,
        sources=training_sources(config),
    )
    terminal.say(f"Trained weights are in {path}")
    return 0
