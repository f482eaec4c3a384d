"""`hmralign align`: groups and their scores move a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from hmralign.alignment.names import METHODS
from hmralign.cli.device_option import CPU, Device
from hmralign.cli.presets import chosen_config, preset_help
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.systems.align.checkpoint import AlignedCheckpoint
    from hmralign.systems.align.configuration import AlignConfig

_METHOD_HELP = (
    f"What is done with the groups: one of {', '.join(METHODS)}, or FILE.py:FUNCTION of your own. The default is the "
    "configuration's, and without one dpo: following the learned scorer, it gained most of them."
)


@dataclass(frozen=True)
class AlignOptions:
    """Align a checkpoint with preference groups (`hmralign groups`); continues an unfinished run in the same folder."""

    out: Path | None = None
    """Folder of the run: weights, curves, state for resuming."""
    groups: Path | None = None
    """Store of groups with scores."""
    advise: Path | None = None
    """Instead: a store of groups, of which it is said whether to align with it, and with what; nothing is trained."""
    pairs: Path | None = None
    """Instead: a pool of ADHMR's or GPA's code (.json, .npz) or of `hmralign convert pairs`, for a HypoNet by dpo,
    group or sft; --critic is then one of its measures, or oracle-gpa."""
    images: Path | None = None
    """Folder below which the images of --pairs lie."""
    body: Path | None = None
    """The SMPL file to which checkpoint and groups are bound; else it is the free body."""
    method: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(help=_METHOD_HELP)] = None
    checkpoint: str | None = None
    """Weights to start from; the default is the shipped ones that sampled the groups."""
    config: Path | None = None
    """YAML configuration; what it leaves out is as recommended for the method."""
    preset: Annotated[str | None, tyro.conf.arg(help=preset_help("align"))] = None
    critic: str | None = None
    """Scores in the store that are trained on; replaces the configuration's. The default is the learned scorer's
    where the store has them, else those of the store's only critic."""
    steps: int | None = None
    """Optimiser steps; replaces the configuration's."""
    learning_rate: float | None = None
    """Replaces the configuration's."""
    seed: int | None = None
    """Replaces the configuration's."""
    other_model: bool = False
    """Train on bodies that other weights, or another system, proposed."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process; the shipped networks are too small to gain from more."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_align(options: AlignOptions, terminal: Terminal) -> int:
    """Align and say where the weights are."""
    from dataclasses import replace

    import torch

    from hmralign.preferences.store import GroupStore
    from hmralign.systems.align.checkpoint import align_checkpoint, scores_to_follow
    from hmralign.systems.align.configuration import read_align_config

    if options.threads < 1:
        raise UsageError(f"--threads is {options.threads}; expected at least 1")
    torch.set_num_threads(options.threads)
    if options.advise is not None:
        return _advise(options.advise, options, terminal)
    out = _checked_out(options)
    critic = options.critic
    groups = options.groups
    if groups is None:
        return _run_pool(options, out, terminal)
    config = read_align_config(
        chosen_config("align", options.preset, options.config),
        options.method,
        (lambda: scores_to_follow(GroupStore.open(groups))) if critic is None else (lambda: critic),
    )
    config = _as_said(config, options)
    if critic is not None:
        config = replace(config, critic=critic)
    followed = f", following {config.critic}" if config.follows_critic else ""
    terminal.say(f"Aligning by {config.method}{followed}.")
    done = align_checkpoint(
        groups, options.checkpoint, config, out, other_model=options.other_model, body=options.body,
        device=options.device,
    )  # fmt: skip
    return _say(done, out, terminal)


def _advise(store: Path, options: AlignOptions, terminal: Terminal) -> int:
    """What was measured in situations like the one that a store of groups shows."""
    from hmralign.preferences.store import GroupStore
    from hmralign.systems.align.advise import advice_document, advice_lines, situation_of
    from hmralign.systems.align.checkpoint import own_body

    if options.groups is not None or options.pairs is not None or options.out is not None:
        raise UsageError("--advise trains nothing; expected it without --groups, --pairs and --out")
    opened = GroupStore.open(store)
    document = advice_document(situation_of(opened, own_body(options.body), options.checkpoint))
    for line in advice_lines(document):
        terminal.say(line)
    terminal.answer(document)
    return 0


def _checked_out(options: AlignOptions) -> Path:
    """Folder of the run. Raises UsageError unless there are one, and groups, or pairs with images and a checkpoint."""
    if options.out is None:
        raise UsageError("expected --out FOLDER, where the run goes")
    if (options.groups is None) == (options.pairs is None):
        raise UsageError("expected one of --groups STORE and --pairs POOL")
    if options.groups is not None and options.images is not None:
        raise UsageError("--images is for --pairs; a store of groups has what it needs")
    if options.pairs is not None and (options.images is None or options.checkpoint is None):
        raise UsageError("--pairs needs --images ROOT and --checkpoint HYPONET")
    if options.pairs is not None and options.other_model:
        raise UsageError("--other-model is for --groups; a pool does not say who sampled it")
    return options.out


def _as_said(config: AlignConfig, options: AlignOptions) -> AlignConfig:
    """The configuration with what the options say of training."""
    from dataclasses import replace

    said = {"steps": options.steps, "learning_rate": options.learning_rate, "seed": options.seed}
    return replace(config, training=replace(config.training, **{k: v for k, v in said.items() if v is not None}))


def _run_pool(options: AlignOptions, out: Path, terminal: Terminal) -> int:
    from hmralign.systems.align.configuration import read_align_config
    from hmralign.systems.align.pool import align_pool

    assert options.pairs is not None and options.images is not None and options.checkpoint is not None
    config = read_align_config(chosen_config("align", options.preset, options.config), options.method)
    config = _as_said(config, options)
    terminal.say(f"Aligning by {config.method}.")
    done = align_pool(
        options.pairs, options.checkpoint, options.images, config, out,
        critic=options.critic, body=options.body, device=options.device,
    )  # fmt: skip
    return _say(done, out, terminal)


def _say(done: AlignedCheckpoint, out: Path, terminal: Terminal) -> int:
    """Where the weights are, and how the run went."""
    terminal.answer(
        {
            "format_version": 1,
            "checkpoint": str(done.path),
            "rounds": done.result.rounds,
            "groups": done.result.groups,
            "stopped": done.result.stopped,
        }
    )
    early = "" if done.result.stopped is None else f" (stopped early: {done.result.stopped})"
    terminal.say(f"Aligned weights are in {done.path}, curves in {out / 'curves.png'}{early}")
    return 0
