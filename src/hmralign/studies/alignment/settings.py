"""Settings of the comparison of alignment methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmralign.structures import InputError

SECOND_BASES = ("runs/lite_lab_seed1/model.safetensors", "runs/lite_lab_seed2/model.safetensors")
"""Where further trainings of the same base lie unless said otherwise."""

MANY_ROWS = (
    "base", "SFT own mean", "SFT true labels (ceiling)", "best-of-N, random critic", "best-of-N, oracle", "DPO, oracle",
    "best-of-N, scorer", "DPO, scorer",
)  # fmt: skip
"""Rows whose oracle column of many hypotheses is measured."""


@dataclass(frozen=True)
class StudySettings:
    """What is compared, on whom, and with how much work."""

    data: Path
    """Folder of the benchmark."""
    work: Path
    """Folder that every cell is kept in; several processes may work on it."""
    log: Path
    """Log of test readings."""
    bases: tuple[str, ...] = ("lite-lab", *SECOND_BASES)
    """Names or paths of the bases; the first one is tuned on."""
    groups: Path | None = None
    """Store of groups of the first base that is copied where it is the one that would be built."""
    persons: int = 2000
    """Persons with groups."""
    group_size: int = 16
    """Hypotheses per group (G)."""
    steps: int = 300
    """Optimiser steps of a training."""
    batch_size: int = 256
    """Hypotheses per step."""
    seeds: tuple[int, ...] = (0, 1)
    """Fine-tuning seeds of rows that matter; the first one is tuned with."""
    train_split: str = "wild/train"
    """Persons of the groups."""
    label_splits: tuple[str, ...] = ("lab/train", "broad/train")
    """What the base was trained on, with labels."""
    val_split: str = "wild/val"
    """Persons of all choices."""
    val_persons: int = 300
    """The first so many of them."""
    final_split: str = "wild/test"
    """Persons of the tables."""
    final_persons: int = 1000
    """The first so many of them."""
    forget_split: str = "lab/val"
    """Persons that show what was forgotten."""
    forget_persons: int = 200
    """The first so many of them."""
    hypotheses: int = 20
    """Hypotheses per person that is measured (M)."""
    many: int = 100
    """M of the oracle column with many hypotheses."""
    many_rows: tuple[str, ...] = MANY_ROWS
    """Rows that have that column; it costs as much as all others together."""
    many_persons: int = 300
    """Persons of that column."""
    num_steps: int = 5
    """Sampler steps."""
    temperatures: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Temperatures of the fusion weighted by the scorer, whose scores are in (0, 1); every row takes the
    best on `val_split`."""
    rows: tuple[str, ...] = ()
    """Only rows whose name is or contains one of these."""
    all_matter: bool = False
    """Measure every row on every base with every seed, not only those that matter."""
    known: Path | None = None
    """Document of an earlier comparison, whose choices rows that it has take over without trials."""
    sweep_critic: str = "scorer"
    """Critic of the sweeps."""
    sweep_sizes: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Group sizes of a sweep."""
    sweep_size_persons: int = 500
    """Its persons."""
    sweep_persons: tuple[int, ...] = (250, 500, 1000, 2000, 4000, 8000)
    """Numbers of persons of the other sweep; `train_split` may have fewer."""
    replicate_seeds: tuple[int, ...] = (5, 6, 7)
    """Fine-tuning seeds of the replication, one for each base."""
    deadline: float | None = None
    """No new cell starts after so many minutes."""

    def __post_init__(self) -> None:
        """Raise InputError for settings without meaning."""
        if not self.bases or not self.seeds:
            raise InputError("the study needs at least one base and one fine-tuning seed")
        if min(self.persons, self.steps, self.val_persons, self.final_persons, self.forget_persons) < 1:
            raise InputError("numbers of persons and of steps must be at least 1")
        if self.hypotheses < 10 or self.many < 100:
            raise InputError("hypotheses must be at least 10 and many at least 100: the oracle columns need them")

    def scaled(self, length: float) -> int:
        """Steps of a training of that length."""
        return max(1, round(length * self.steps))
