"""`hmralign evaluate`: checkpoints on a split of a data set, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hmralign.adapters.predictions.names import FORMATS
from hmralign.cli.device_option import CPU, Device
from hmralign.cli.label_body_option import GENDER_HELP, LABEL_BODY_HELP
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.data.names import DATASETS

_DATASET_HELP = f"What the folder holds: {', '.join(DATASETS)}, or FILE.py:FUNCTION of your own (docs/extending.md)."


_PROTOCOL_HELP = (
    "Measure one checkpoint as a published table was, and set what was published beside it: scorehypo-code, clean, "
    "3dpw-14, emdb-24, h36m-p2, ehf. The data set's test split, its records and boxes are "
    "then those of the protocol; of human-data --split names the archive."
)
_PREDICTIONS_HELP = (
    "Instead of checkpoints: files or folders of what another system predicted, in one of the formats "
    f"{', '.join(FORMATS)}, or the archive of docs/prediction_files.md. Each prediction is held against the record of "
    "its photo and box."
)


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure checkpoints, or predictions of another system, on a split of a data set.

    Errors come with intervals, slices, calibration and paired differences.
    `hmralign evaluate alignment` compares aligned checkpoints with their base, with and without refinement.
    """

    checkpoints: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of shipped weights or paths; the others are compared with the first."""
    data: Path
    """Folder of the data set; of SynthWild as `hmralign bench` writes it."""
    out: Path
    """Folder for metrics.json, metrics.md, calibration.png and the errors of each person."""
    dataset: Annotated[str, tyro.conf.arg(help=_DATASET_HELP)] = "synthwild"
    split: str = "wild-v2/val"
    """Which persons. Test splits are for tables: every reading is logged."""
    body: Path | None = None
    """Body file that the checkpoints are bound to, such as SMPL's; the free body without it."""
    label_body: Annotated[Path | None, tyro.conf.arg(help=LABEL_BODY_HELP)] = None
    gender: Annotated[Literal["own", "neutral"], tyro.conf.arg(help=GENDER_HELP)] = "own"
    every: int = 1
    """Only every so manieth record of a published data set."""
    protocol: Annotated[str | None, tyro.conf.arg(help=_PROTOCOL_HELP)] = None
    h36m_regressor: Path | None = None
    """With --protocol: J_regressor_h36m.npy, which finds Human3.6M's joints in SMPL's mesh."""
    predictions: Annotated[tuple[Path, ...], tyro.conf.arg(name="predictions", help=_PREDICTIONS_HELP)] = field(
        default_factory=tuple
    )
    prediction_body: Path | None = None
    """With --predictions: file of the body that was predicted; --body where that is of its family. Without one bodies
    are carried over by rotations and joints."""
    predicted_by: str = ""
    """With --predictions: name of the system, for the table."""
    num_hypotheses: int = 100
    """Hypotheses per person (M)."""
    num_steps: int = 5
    """Sampling steps."""
    refine: bool = True
    """Move hypotheses onto the keypoints, as `recover` does."""
    silhouette: float = 0.0
    """Weight of the silhouette among the critics that select; costs most of the time when above 0."""
    recalibration: Annotated[tuple[Path, ...], tyro.conf.arg(name="recalibration")] = field(default_factory=tuple)
    """recalibration.json of each checkpoint, in their order; written by an evaluation on a validation split."""
    persons: int | None = None
    """Only the first so many persons."""
    log: Path | None = None
    """Log of test readings; the default is test_openings.jsonl in the data folder."""
    why: str = "hmralign evaluate"
    """Why a test split is read, for the log."""
    seed: int = 0
    """Seed of the sampling noise."""
    device: Device = CPU
    config: Path | None = None
    """YAML file of options."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_evaluate(options: EvaluateOptions, terminal: Terminal) -> int:
    """Evaluate, write, say where."""
    if options.predictions:
        return _run_predictions(options, terminal)
    if options.prediction_body is not None or options.predicted_by:
        raise UsageError("--prediction-body and --predicted-by are for --predictions")
    if options.protocol is not None:
        return _run_protocol(options, options.protocol, terminal)
    if options.h36m_regressor is not None:
        raise UsageError("--h36m-regressor is for --protocol")
    from hmralign.critics.by_rule import CriticWeights
    from hmralign.data.dataset import DatasetSetting
    from hmralign.fitting.keypoint_update import RefinementConfig
    from hmralign.policies.policy import SamplerConfig
    from hmralign.structures.counted import counted
    from hmralign.systems.evaluate.compare import compare_checkpoints
    from hmralign.systems.evaluate.predict import PredictConfig
    from hmralign.systems.evaluate.run import EvaluateConfig

    if not options.checkpoints:
        raise UsageError("no checkpoint is given; expected at least one")
    if options.recalibration and len(options.recalibration) != len(options.checkpoints):
        raise UsageError(
            f"{counted(len(options.recalibration), 'recalibration')} for "
            f"{counted(len(options.checkpoints), 'checkpoint')}; expected one each"
        )
    predict = PredictConfig(
        sampler=SamplerConfig(num_hypotheses=options.num_hypotheses, num_steps=options.num_steps),
        refinement=RefinementConfig() if options.refine else RefinementConfig(method="none"),
        selection=CriticWeights(silhouette=options.silhouette),
        seed=options.seed,
    )
    setting = DatasetSetting(label_body=options.label_body or options.body, gender=options.gender, every=options.every)
    document = compare_checkpoints(
        options.checkpoints,
        options.data,
        options.split,
        EvaluateConfig(predict, options.persons, options.dataset, options.body, setting),
        options.out,
        recalibrations=options.recalibration,
        log=options.log,
        why=options.why,
        device=options.device,
    )
    terminal.answer(document)
    terminal.say(f"Figures of {len(options.checkpoints)} on {options.split} are in {options.out / 'metrics.md'}")
    return 0


def _run_predictions(options: EvaluateOptions, terminal: Terminal) -> int:
    """What another system predicted, under a protocol or without one."""
    from hmralign.systems.evaluate.predicted import PredictedConfig, evaluate_predictions

    if options.checkpoints:
        raise UsageError(f"both checkpoints ('{options.checkpoints[0]}') and --predictions are given; expected one")
    if options.recalibration:
        raise UsageError("--recalibration is for checkpoints")
    if options.protocol is not None and options.every != 1:
        raise UsageError("--every does not go with --protocol, which says itself what is measured")
    if options.h36m_regressor is not None and options.protocol is None:
        raise UsageError("--h36m-regressor is for --protocol")
    config = PredictedConfig(
        options.split, options.every, options.body, options.label_body, options.prediction_body,
        options.h36m_regressor, options.persons,
    )  # fmt: skip
    document = evaluate_predictions(
        options.predictions, options.data, options.dataset, options.protocol, config, options.out,
        predicted_by=options.predicted_by, log=options.log, why=options.why,
    )  # fmt: skip
    terminal.answer(document)
    if not options.quiet:
        for line in document["predictor"]["assumed"]:
            terminal.note(f"assumed: {line}")
    predictor = document["predictor"]
    terminal.say(
        f"{predictor['predictions']} predictions against {document['data']['persons']} records "
        f"({predictor['without']} without one): figures are in {options.out / 'benchmark.md'}"
    )
    return 0


def _run_protocol(options: EvaluateOptions, protocol: str, terminal: Terminal) -> int:
    """One checkpoint under a published protocol."""
    from hmralign.systems.evaluate.benchmark import BenchmarkConfig, evaluate_benchmark

    if len(options.checkpoints) != 1:
        raise UsageError(f"--protocol measures one checkpoint, {len(options.checkpoints)} are given")
    for flag, is_given in (("--recalibration", bool(options.recalibration)), ("--every", options.every != 1)):
        if is_given:
            raise UsageError(f"{flag} does not go with --protocol, which says itself what is measured")
    config = BenchmarkConfig(
        options.num_hypotheses, options.num_steps, options.body, options.label_body, options.h36m_regressor,
        options.persons, split=options.split, seed=options.seed,
    )  # fmt: skip
    document = evaluate_benchmark(
        options.checkpoints[0], options.data, options.dataset, protocol, config, options.out, log=options.log,
        why=options.why, device=options.device,
    )  # fmt: skip
    terminal.answer(document)
    terminal.say(f"Figures under the protocol {protocol} are in {options.out / 'benchmark.md'}")
    return 0
