"""`hmralign synth`: shards of synthetic persons with masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.presets import chosen_config, preset_help
from hmralign.cli.terminal import Terminal
from hmralign.detection.names import DETECTORS

_DETECTOR_HELP = (
    f"Who reads keypoints, box and mask off the pictures: {', '.join(DETECTORS)}, or FILE.py:FUNCTION of your own; "
    "for --pictures. Whom it does not find is left out. Unless given, keypoints have the configuration's noise."
)


@dataclass(frozen=True)
class SynthOptions:
    """Write annotated synthetic persons with low-resolution masks; continues an unfinished folder."""

    out: Path
    """Folder of the shards."""
    config: Path | None = None
    """Training configuration whose data settings are used; the default settings otherwise."""
    preset: Annotated[str | None, tyro.conf.arg(help=preset_help("base"))] = None
    examples: int = 100_000
    """Number of persons."""
    shard_size: int = 5_000
    """Persons per file."""
    seed: int = 1_000
    """Seed of the data."""
    pictures: int | None = None
    """Side of a picture that is drawn of each person, pixels (160 is what `pixel` looks at); none unless given."""
    backgrounds: Path | None = None
    """Folder of your own pictures that stand behind half of the persons; for --pictures."""
    detector: Annotated[str | None, tyro.conf.arg(help=_DETECTOR_HELP)] = None
    detector_folder: Path | None = None
    """Folder of the models of --detector vitpose: person/ (RT-DETR) and pose/ (ViTPose)."""
    detector_side: int = 320
    """Side of the pictures that the detector looks at, pixels; the crops that are kept are cut out of them."""
    pose_file: Path | None = None
    """Motion-capture poses; replaces the configuration's."""
    device: Device = CPU
    quiet: bool = False
    """Say nothing but errors."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_synth(options: SynthOptions, terminal: Terminal) -> int:
    """Write the shards and, last, their index."""
    from dataclasses import replace

    from hmralign.data.shards import read_index
    from hmralign.structures.counted import counted
    from hmralign.systems.synth.write_shards import SynthConfig, write_synthetic_shards
    from hmralign.training.base_configuration import BaseTrainingConfig
    from hmralign.training.configuration import read_training_config

    config = chosen_config("base", options.preset, options.config)
    training = BaseTrainingConfig() if config is None else read_training_config(config)
    if options.pose_file is not None:
        training = replace(training, pose_file=str(options.pose_file))
    synth = SynthConfig(
        examples=options.examples, shard_size=options.shard_size, seed=options.seed, pictures=options.pictures
    )
    if options.backgrounds is not None:
        synth = replace(synth, backgrounds=str(options.backgrounds))
    if options.detector is not None or options.detector_folder is not None:
        where = None if options.detector_folder is None else str(options.detector_folder)
        synth = replace(synth, detector=options.detector, detector_folder=where, detector_side=options.detector_side)
    folder = write_synthetic_shards(synth, training, options.out, options.device)
    index = read_index(folder)
    missed = index.get("not_found", 0)
    lost = f"; the detector did not find {missed} of {counted(options.examples, 'person', 'persons')}" if missed else ""
    terminal.say(f"{counted(index['examples'], 'example')} in {folder}{lost}")
    return 0
