"""The commands of `hmralign`, and their overview.

To add one, write its options as a dataclass and its function `(options, terminal) -> exit code` in a module of this
folder, and add a line to `COMMANDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hmralign.cli.align import AlignOptions, run_align
from hmralign.cli.bench import BenchOptions, run_bench
from hmralign.cli.bench_speed import BenchSpeedOptions, run_bench_speed
from hmralign.cli.clean import CleanOptions, run_clean
from hmralign.cli.convert import CONVERT_COMMANDS
from hmralign.cli.critic import CRITIC_COMMANDS
from hmralign.cli.data_check import DataCheckOptions, DataListOptions, run_data_check, run_data_list
from hmralign.cli.demo import DemoOptions, run_demo
from hmralign.cli.evaluate import EvaluateOptions, run_evaluate
from hmralign.cli.evaluate_alignment import EvaluateAlignmentOptions, run_evaluate_alignment
from hmralign.cli.export import ExportOptions, run_export
from hmralign.cli.export_onnx import ExportOnnxOptions, run_export_onnx
from hmralign.cli.groups import run_groups
from hmralign.cli.groups_options import GroupsOptions
from hmralign.cli.multiview import MULTIVIEW_COMMANDS
from hmralign.cli.recover import RecoverOptions, run_recover
from hmralign.cli.refine import RefineOptions, run_refine
from hmralign.cli.setup_detector import SetupDetectorOptions, run_setup_detector
from hmralign.cli.synth import SynthOptions, run_synth
from hmralign.cli.terminal import Terminal
from hmralign.cli.train import TrainOptions, run_train
from hmralign.cli.usage import DEBUG_VARIABLE


class Command(NamedTuple):
    """A command's options, what it does with them, and its line in the overview."""

    options: type
    run: Callable[[Any, Terminal], int]
    line: str


COMMANDS = {
    "recover": Command(RecoverOptions, run_recover, "photos in, ranked human meshes with their uncertainty out"),
    "refine": Command(RefineOptions, run_refine, "make an answer better by keypoints and words"),
    "export": Command(ExportOptions, run_export, "recovered people as skinned GLB, BVH, AMASS-style npz"),
    "export onnx": Command(ExportOnnxOptions, run_export_onnx, "networks of a checkpoint as ONNX graphs"),
    "demo": Command(DemoOptions, run_demo, "recover a bundled photo and a rendered scene of known truth"),
    "data list": Command(DataListOptions, run_data_list, "published data sets that can be read, and their files"),
    "data check": Command(
        DataCheckOptions, run_data_check, "look whether a data set is whole and its frames are right"
    ),
    "synth": Command(SynthOptions, run_synth, "write shards of synthetic persons with masks, for training"),
    "bench": Command(BenchOptions, run_bench, "write the splits of the SynthWild benchmark"),
    "bench speed": Command(BenchSpeedOptions, run_bench_speed, "how fast each stage is here, and what bounds it"),
    "train": Command(TrainOptions, run_train, "train a base model, scorer, regressor, refiner, space of texts"),
    "groups": Command(GroupsOptions, run_groups, "sample, store and score groups of hypotheses; look at them"),
    "align": Command(AlignOptions, run_align, "move a checkpoint with preference groups and their scores"),
    "clean": Command(CleanOptions, run_clean, "let a critic judge the labels of a data set, drop the bad ones"),
    "evaluate": Command(EvaluateOptions, run_evaluate, "measure checkpoints on a split of the benchmark"),
    "evaluate alignment": Command(
        EvaluateAlignmentOptions, run_evaluate_alignment, "compare aligned checkpoints with their base"
    ),
    **{f"multiview {name}": Command(*command) for name, command in MULTIVIEW_COMMANDS.items()},
    **{f"critic {name}": Command(*command) for name, command in CRITIC_COMMANDS.items()},
    **{f"convert {name}": Command(*command) for name, command in CONVERT_COMMANDS.items()},
    "setup-detector": Command(SetupDetectorOptions, run_setup_detector, "install the person detector, once"),
}


def overview(names: Sequence[str] = tuple(COMMANDS)) -> str:
    """What `hmralign --help` says; of some commands alone where their common word was given."""
    width = max(map(len, names))
    lines = "".join(f"  {name:<{width}}  {COMMANDS[name].line}\n" for name in names)
    return (
        "usage: hmralign COMMAND [options]\n\n"
        "3D human meshes from photos: many hypotheses per person, ranked, with one answer made from them.\n\n"
        f"commands:\n{lines}\n"
        "`hmralign COMMAND --help` shows a command's options, `hmralign --version` the version.\n"
        f"With {DEBUG_VARIABLE}=1 in the environment, errors come with a traceback.\n"
    )
