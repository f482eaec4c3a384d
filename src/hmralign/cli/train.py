"""`hmralign train WHAT`: weights from a configuration, a file or a preset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.label_body_option import LABEL_BODY_HELP
from hmralign.cli.presets import needed_config, preset_help
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class TrainOptions:
    """Train a model of the kind WHAT, by a preset or a configuration; continues an unfinished run.

    `hmralign train --help` says what each kind is.
    """

    what: Annotated[
        Literal["base", "pixel", "scorer", "gate", "paper", "regressor", "vqvae", "text", "refiner"],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="WHAT"),  # nine names are wider than a narrow page
    ]
    """`base`: a model that samples bodies; `pixel`: one that also sees the picture; `scorer`: a critic that has learned
    how models err; `gate`: what tells exchanged left and right; `paper`: HypoNet, ScoreNet or HMR-Scorer, from
    pictures and labels; `regressor`: what gives one body per person, to be refined; `vqvae`: a space of poses in codes;
    `text`: what maps texts into one; `refiner`: what corrects a first answer by keypoints and words."""
    out: Path
    """Folder of the run: state for resuming, learning curve, weights."""
    config: Path | None = None
    """YAML configuration."""
    preset: Annotated[
        str | None,
        tyro.conf.arg(
            help=preset_help("base", "pixel", "scorer", "gate", "paper", "regressor", "vqvae", "text", "refiner")
        ),
    ] = None
    pose_file: Path | None = None
    """`base`, `pixel`, `gate`, `regressor`, `vqvae`, `text`, `refiner`: motion-capture poses; replaces the
    configuration's."""
    max_hours: float | None = None
    """`base`, `pixel`: stop after this much wall time; replaces the configuration's."""
    data: Path | None = None
    """`paper`, `regressor`: folder of one data set of persons with pictures; replaces the configuration's."""
    dataset: str = "synthwild-images"
    """`paper`, `regressor`: what --data is."""
    split: str = "lab/train"
    """`paper`, `regressor`: which persons of --data."""
    body: Path | None = None
    """`paper`: SMPL file whose shapes and joints the labels are of; else the free body."""
    label_body: Annotated[Path | None, tyro.conf.arg(help=LABEL_BODY_HELP)] = None
    start_from: str | None = None
    """`paper`: checkpoint of HypoNet to go on from; replaces the configuration's."""
    pose_space: Path | None = None
    """`text`: checkpoint of the space of poses, as `vqvae` writes it; replaces the configuration's."""
    encoder_folder: Path | None = None
    """`text`: folder of a text encoder; replaces the configuration's."""
    device: Device = CPU
    threads: int | None = None
    """Threads of the training process; the default is PyTorch's."""
    quiet: bool = False
    """Say nothing but errors."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_train(options: TrainOptions, terminal: Terminal) -> int:
    """Train and write the weights beside the state."""
    import torch

    if options.threads is not None:
        if options.threads < 1:
            raise UsageError(f"--threads is {options.threads}; expected at least 1")
        torch.set_num_threads(options.threads)
    _refuse_options_of_paper(options)
    ways = {
        "base": _train_base, "pixel": _train_pixel, "scorer": _train_scorer, "gate": _train_gate, "paper": _train_paper,
        "regressor": _train_regressor, "vqvae": _train_vqvae, "text": _train_text, "refiner": _train_refiner,
    }  # fmt: skip
    path = ways[options.what](options)
    terminal.say(f"Trained weights are in {path}")
    return 0


def _refuse_options_of_paper(options: TrainOptions) -> None:
    """Raises UsageError for an option that would be ignored."""
    for flag, value in (
        ("--body", options.body),
        ("--label-body", options.label_body),
        ("--start-from", options.start_from),
    ):
        if options.what != "paper" and value is not None:
            raise UsageError(f"{flag} is for `train paper`")
    if options.what not in ("paper", "regressor") and options.data is not None:
        raise UsageError("--data is for `train paper` and `regressor`")
    for flag, value in (("--pose-space", options.pose_space), ("--encoder-folder", options.encoder_folder)):
        if options.what != "text" and value is not None:
            raise UsageError(f"{flag} is for `train text`")


def _train_paper(options: TrainOptions) -> Path:
    """Errors as `train_hyponet_file`."""
    from dataclasses import replace

    from hmralign.body.body_file import load_body
    from hmralign.storage.yaml_file import read_yaml
    from hmralign.training.configuration import read_config
    from hmralign.training.paper import train_hyponet_file
    from hmralign.training.paper_configuration import MixedData, PaperTrainingConfig
    from hmralign.training.published_scorers import RankingConfig, train_ranking_file

    for flag, value in (("--pose-file", options.pose_file), ("--max-hours", options.max_hours)):
        if value is not None:
            raise UsageError(f"{flag} is for `train base` and `pixel`; a length of HypoNet's is in `epochs`")
    path = _config(options)
    ranks = "kind" in (read_yaml(path, "a readable YAML file") or {})  # only scorers come in kinds
    config = read_config(RankingConfig if ranks else PaperTrainingConfig, path)
    if options.data is not None:
        own = options.label_body or options.body
        label_body = None if own is None else str(own)
        data = MixedData(options.dataset, str(options.data), options.split, label_body=label_body)
        config = replace(config, data=(data,))
    if options.start_from is not None:
        config = replace(config, start_from=options.start_from)
    if not config.data:
        raise UsageError("no data is named; expected --data DIR, or `data` in the configuration")
    body = None if options.body is None else load_body(options.body)
    if isinstance(config, RankingConfig):
        return train_ranking_file(config, options.out, body, options.device)
    return train_hyponet_file(config, options.out, body, options.device)


def _config(options: TrainOptions) -> Path:
    return needed_config(options.what, options.preset, options.config, f"a YAML configuration for `{options.what}`")


def _train_scorer(options: TrainOptions) -> Path:
    """Errors as `train_scorer_file`."""
    from hmralign.systems.scorer_dpo.train import read_scorer_config, train_scorer_file

    for flag, value in (("--pose-file", options.pose_file), ("--max-hours", options.max_hours)):
        if value is not None:
            raise UsageError(f"{flag} is for `train base` and `pixel`; a scorer's length is in its configuration")
    return train_scorer_file(read_scorer_config(_config(options)), options.out, options.device)


def _refuse_max_hours(options: TrainOptions, what: str) -> None:
    """Raises UsageError where a length is given that is in the configuration."""
    if options.max_hours is not None:
        raise UsageError(f"--max-hours is for `train base` and `pixel`; {what}'s length is in its configuration")


def _train_gate(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.training.configuration import read_config
    from hmralign.training.side_gate import SideGateTrainingConfig, train_side_gate_file

    _refuse_max_hours(options, "a gate")
    config = read_config(SideGateTrainingConfig, _config(options))
    if options.pose_file is not None:
        config = replace(config, pose_file=str(options.pose_file))
    return train_side_gate_file(config, options.out, options.device)


def _train_regressor(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.training.configuration import read_config
    from hmralign.training.regressor import RegressorData, RegressorTrainingConfig, train_regressor_file

    _refuse_max_hours(options, "a regressor")
    config = read_config(RegressorTrainingConfig, _config(options))
    if options.pose_file is not None:
        config = replace(config, pose_file=str(options.pose_file))
    if options.data is not None:
        config = replace(config, data=RegressorData(options.dataset, str(options.data), options.split))
    return train_regressor_file(config, options.out, options.device)


def _train_vqvae(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.training.configuration import read_config
    from hmralign.training.pose_vqvae import PoseVqvaeTrainingConfig, train_pose_vqvae_file

    _refuse_max_hours(options, "a space")
    config = read_config(PoseVqvaeTrainingConfig, _config(options))
    if options.pose_file is not None:
        config = replace(config, pose_file=str(options.pose_file))
    return train_pose_vqvae_file(config, options.out, options.device)


def _train_text(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.training.configuration import read_config
    from hmralign.training.text_space import TextSpaceTrainingConfig, train_text_space_file

    _refuse_max_hours(options, "a space")
    config = read_config(TextSpaceTrainingConfig, _config(options))
    given = {name: getattr(options, name) for name in ("pose_file", "pose_space", "encoder_folder")}
    config = replace(config, **{name: str(path) for name, path in given.items() if path is not None})
    return train_text_space_file(config, options.out, options.device)


def _train_refiner(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.training.configuration import read_config
    from hmralign.training.refiner import RefinerTrainingConfig, train_refiner_file

    _refuse_max_hours(options, "a refiner")
    config = read_config(RefinerTrainingConfig, _config(options))
    if options.pose_file is not None:
        config = replace(config, pool=replace(config.pool, pose_file=str(options.pose_file)))
    return train_refiner_file(config, options.out, device=options.device)


def _train_base(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.body.free_body import load_free_body
    from hmralign.models.checkpoint import save_checkpoint
    from hmralign.training.base import train_base
    from hmralign.training.base_data import training_sources
    from hmralign.training.configuration import read_training_config, write_training_config

    config = read_training_config(_config(options))
    if options.pose_file is not None:
        config = replace(config, pose_file=str(options.pose_file))
    if options.max_hours is not None:
        config = replace(config, max_hours=options.max_hours)
    options.out.mkdir(parents=True, exist_ok=True)
    write_training_config(options.out / "config.yaml", config)
    model = train_base(config, options.out, options.device)
    return save_checkpoint(
        options.out / "model.safetensors",
        model,
        load_free_body("3k5").skeleton_hash,
        sources=training_sources(config),
    )


def _train_pixel(options: TrainOptions) -> Path:
    from dataclasses import replace

    from hmralign.training.configuration import read_config
    from hmralign.training.pixel import PixelTrainingConfig, train_pixel_file

    config = read_config(PixelTrainingConfig, _config(options))
    if options.pose_file is not None:
        config = replace(config, fresh=replace(config.fresh, pose_file=str(options.pose_file)))
    if options.max_hours is not None:
        config = replace(config, max_hours=options.max_hours)
    return train_pixel_file(config, options.out, options.device)
