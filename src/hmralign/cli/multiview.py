"""`hmralign multiview`: a multi-view model is trained, fine-tuned by the pose in its views, and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.multiview_data import (
    MultiViewBenchmarkOptions,
    MultiViewImagesOptions,
    MultiViewPosesOptions,
    run_multiview_benchmark,
    run_multiview_images,
    run_multiview_poses,
)
from hmralign.cli.multiview_pshuman import (
    MultiViewCheckOptions,
    MultiViewPSHumanOptions,
    run_multiview_check,
    run_multiview_pshuman,
)
from hmralign.cli.multiview_views import (
    MultiViewSampleOptions,
    MultiViewSurfacesOptions,
    run_multiview_sample,
    run_multiview_surfaces,
)
from hmralign.cli.presets import chosen_config, needed_config, preset_help
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class MultiViewTrainOptions:
    """Train the multi-view base, its judge, or the networks of PoseScore; continues an unfinished run."""

    out: Path
    """Folder of the run: state for resuming, learning curve, weights."""
    network: Annotated[Literal["base", "judge", "skeleton"], Positional] = "base"
    """What is trained."""
    config: Path | None = None
    """YAML configuration."""
    preset: Annotated[str | None, arg(help=preset_help("multiview"))] = None
    pose_file: Path | None = None
    """Motion-capture poses; replaces the configuration's."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process."""
    quiet: bool = False
    """Say nothing but errors."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


@dataclass(frozen=True)
class MultiViewAlignOptions:
    """Fine-tune a multi-view model by the pose that is seen in its views, through its sampler; a judge may stop it.

    Without --config and --preset the defaults hold: DRTune with drift and base loss, 240 seconds of the processor."""

    base: str
    """Path of the weights to begin from, as `multiview train` writes them."""
    out: Path
    """Folder of the run: state for resuming, curves, weights, report."""
    config: Path | None = None
    """YAML configuration."""
    preset: Annotated[str | None, arg(help=preset_help("multiview-align"))] = None
    pose_file: Path | None = None
    """Motion-capture poses; replaces the configuration's."""
    judge: str | None = None
    """Judge: name or path; replaces the configuration's."""
    skeleton: str | None = None
    """Networks of PoseScore: name or path; replaces the configuration's."""
    seconds: float | None = None
    """Seconds of the processor in steps; replaces the configuration's."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


@dataclass(frozen=True)
class MultiViewEvaluateOptions:
    """Measure multi-view models by a judge, beside four controls and true views, on ordinary and on hard poses."""

    models: tuple[str, ...]
    """Paths of weights; the others are compared with the first."""
    config: Path | None = None
    """YAML configuration."""
    pose_file: Path | None = None
    """Motion-capture poses; replaces the configuration's."""
    judge: str | None = None
    """Judge: name or path; replaces the configuration's."""
    skeleton: str | None = None
    """Networks of PoseScore: name or path; replaces the configuration's."""
    out: Path | None = None
    """Folder for multiview.json and multiview.md."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of tables."""

    CONFIG_IS_OF_OPTIONS: ClassVar[bool] = False


def run_multiview_train(options: MultiViewTrainOptions, terminal: Terminal) -> int:
    """Train and write the weights beside the state."""
    from dataclasses import replace

    from hmralign.training import multiview_readers as readers
    from hmralign.training.configuration import read_config
    from hmralign.training.multiview_base import MultiViewTrainingConfig, train_multiview

    _use_threads(options.threads)
    kinds: dict[str, tuple[Any, Any]] = {
        "base": (MultiViewTrainingConfig, train_multiview),
        "judge": (readers.JudgeTrainingConfig, readers.train_judge),
        "skeleton": (readers.SkeletonTrainingConfig, readers.train_skeleton),
    }
    kind, train = kinds[options.network]
    path = needed_config("multiview", options.preset, options.config, "the YAML file of the training")
    config = read_config(kind, path)
    if options.pose_file is not None:
        config = replace(config, pose_file=str(options.pose_file))
    terminal.say(f"Trained weights are in {train(config, options.out, options.device)}")
    return 0


def run_multiview_align(options: MultiViewAlignOptions, terminal: Terminal) -> int:
    """Fine-tune, and say how it went."""
    from dataclasses import replace

    from hmralign.systems.multiview_reward.align import MultiViewAlignConfig, align_views
    from hmralign.training.configuration import read_config

    _use_threads(options.threads)
    path = chosen_config("multiview-align", options.preset, options.config)
    config = MultiViewAlignConfig() if path is None else read_config(MultiViewAlignConfig, path)
    if options.seconds is not None:
        config = replace(config, training=replace(config.training, seconds=options.seconds))
    aligned = align_views(options.base, _replaced(config, options), options.out, options.device)
    went = aligned.outcome
    document = {"checkpoint": str(aligned.checkpoint), "report": str(aligned.report), "steps": went.steps}
    terminal.answer({**document, "stopped": went.stopped, "kept": went.look})
    terminal.say(f"Stopped: {went.stopped}" if went.stopped else f"{went.steps} steps, not stopped by the judge")
    terminal.say(f"Fine-tuned weights are in {aligned.checkpoint}, the report is {aligned.report}")
    return 0


def run_multiview_evaluate(options: MultiViewEvaluateOptions, terminal: Terminal) -> int:
    """Measure, write where a folder is given, and show the tables."""
    from hmralign.storage.whole_file import write_json, write_whole
    from hmralign.systems.multiview_reward.evaluate import (
        MultiViewEvaluateConfig,
        evaluate_views,
        evaluation_markdown,
    )
    from hmralign.training.configuration import read_config

    if not options.models:
        raise UsageError("no weights are given; expected at least one path after --models")
    _use_threads(options.threads)
    config = MultiViewEvaluateConfig()
    if options.config is not None:
        config = read_config(MultiViewEvaluateConfig, options.config)
    document = evaluate_views(options.models, _replaced(config, options), options.device)
    text = evaluation_markdown(document)
    if options.out is not None:
        write_json(options.out / "multiview.json", document)
        write_whole(options.out / "multiview.md", text)
    terminal.answer(document)
    terminal.say(text.rstrip())
    return 0


def _use_threads(threads: int) -> None:
    import torch

    if threads < 1:
        raise UsageError(f"--threads is {threads}; expected at least 1")
    torch.set_num_threads(threads)


def _replaced(config: Any, options: MultiViewAlignOptions | MultiViewEvaluateOptions) -> Any:
    """The configuration with what the options name."""
    from dataclasses import replace

    named = {"judge": options.judge, "skeleton": options.skeleton}
    readers = replace(config.readers, **{name: value for name, value in named.items() if value is not None})
    persons = config.persons
    if options.pose_file is not None:
        persons = replace(persons, drawn_as=replace(persons.drawn_as, pose_file=str(options.pose_file)))
    return replace(config, readers=readers, persons=persons)


MULTIVIEW_COMMANDS = {
    "poses": (MultiViewPosesOptions, run_multiview_poses, "choose a small, diverse pose set out of motions"),
    "images": (MultiViewImagesOptions, run_multiview_images, "draw a picture of each pose of a pose set"),
    "benchmark": (MultiViewBenchmarkOptions, run_multiview_benchmark, "write persons in hard poses with their truth"),
    "train": (
        MultiViewTrainOptions,
        run_multiview_train,
        "train the multi-view base, its judge or its reward on renders",
    ),
    "align": (MultiViewAlignOptions, run_multiview_align, "fine-tune it by the pose that is seen in its views"),
    "sample": (MultiViewSampleOptions, run_multiview_sample, "draw a person from all sides out of one view"),
    "evaluate": (MultiViewEvaluateOptions, run_multiview_evaluate, "measure multi-view models by a judge"),
    "check": (MultiViewCheckOptions, run_multiview_check, "look through a folder of PSHuman's published model"),
    "pshuman": (MultiViewPSHumanOptions, run_multiview_pshuman, "draw a person from six sides by PSHuman's model"),
    "surfaces": (MultiViewSurfacesOptions, run_multiview_surfaces, "carve meshes out of views and measure them"),
}
