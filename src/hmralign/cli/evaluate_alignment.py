"""`hmralign evaluate alignment`: aligned checkpoints beside the base that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hmralign.cli.device_option import CPU, Device
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError


@dataclass(frozen=True)
class EvaluateAlignmentOptions:
    """Compare aligned checkpoints with their base on a split of SynthWild: every answer, samples as they are and
    refined, with paired differences. Test splits are logged; weights that were trained on the persons are refused."""

    base: str
    """Name of shipped weights, or path: what the others were aligned from."""
    aligned: tuple[str, ...]
    """Paths of aligned checkpoints."""
    data: Path
    """Folder of the benchmark (`hmralign bench`)."""
    split: str = "wild-v2/val"
    """Which persons. Test splits are for tables: every reading is logged."""
    persons: int | None = None
    """Only the first so many persons."""
    refine: Literal["both", "raw", "refined"] = "both"
    """Samples as they are, moved onto the keypoints as `recover` does, or both."""
    num_hypotheses: int = 20
    """Hypotheses per person (M), at least 10; the best of 100 is shown from 100 on."""
    num_steps: int = 5
    """Sampling steps."""
    scorer: str | None = None
    """Critic that also selects and weighs, such as scorer-lab."""
    temperature: float = 0.1
    """Temperature of the fusion weighted by the scorer's scores."""
    forgetting_persons: int = 200
    """Persons of lab/val that show what was forgotten; 0 leaves it out."""
    out: Path | None = None
    """Folder for alignment.json and alignment.md."""
    log: Path | None = None
    """Log of test readings; the default is test_openings.jsonl in the data folder."""
    why: str = "hmralign evaluate alignment"
    """Why a test split is read, for the log."""
    seed: int = 0
    """Seed of the sampling noise."""
    device: Device = CPU
    threads: int = 1
    """Threads of the process; the shipped networks are too small to gain from more."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of tables."""


def run_evaluate_alignment(options: EvaluateAlignmentOptions, terminal: Terminal) -> int:
    """Compare, write where a folder is given, and show the tables."""
    import torch

    from hmralign.body.free_body import load_free_body
    from hmralign.critics.catalogue import make_critic
    from hmralign.storage.whole_file import write_whole
    from hmralign.studies.alignment.compare import compare_aligned, compared_markdown, document_text

    _check(options)
    torch.set_num_threads(options.threads)
    scorer = None
    if options.scorer is not None:
        scorer = make_critic(options.scorer, load_free_body("3k5").to(options.device))  # pyright: ignore[reportArgumentType]
        if scorer.needs_truth:
            raise UsageError(
                f"--scorer is {options.scorer}, which needs ground truth; expected a critic that needs none"
            )
    document = compare_aligned(
        options.base, options.aligned, options.data, options.split, _config(options), scorer,
        log=options.log, why=options.why, device=options.device,
    )  # fmt: skip
    text = compared_markdown(document)
    if options.out is not None:
        write_whole(options.out / "alignment.json", document_text(document))
        write_whole(options.out / "alignment.md", text)
    terminal.answer(document)
    terminal.say(text.rstrip())
    return 0


def _check(options: EvaluateAlignmentOptions) -> None:
    if not options.aligned:
        raise UsageError("no aligned checkpoint is given; expected at least one after --aligned")
    for name, least in (("num_hypotheses", 10), ("num_steps", 1), ("threads", 1), ("forgetting_persons", 0)):
        if getattr(options, name) < least:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is {getattr(options, name)}; expected at least {least}")
    if not options.temperature > 0:
        raise UsageError(f"--temperature is {options.temperature}; expected a positive number")


def _config(options: EvaluateAlignmentOptions):
    from hmralign.evaluation.person_errors import MIN_OF
    from hmralign.policies.policy import SamplerConfig
    from hmralign.studies.alignment.compare import CompareConfig
    from hmralign.studies.alignment.measure import BY_REPROJECTION, MeasureConfig, persons_at_once
    from hmralign.systems.evaluate.predict import PredictConfig

    predict = PredictConfig(
        sampler=SamplerConfig(num_hypotheses=options.num_hypotheses, num_steps=options.num_steps),
        selection=BY_REPROJECTION,
        seed=options.seed,
        batch=persons_at_once(options.num_hypotheses),
    )
    measure = MeasureConfig(
        predict,
        ("raw", "refined") if options.refine == "both" else (options.refine,),
        tuple(m for m in MIN_OF if m <= options.num_hypotheses),
        () if options.scorer is None else (options.temperature,),
    )
    return CompareConfig(measure, options.persons, options.forgetting_persons)
