"""How a number was measured, stored and printed beside it. Two numbers compare only where their protocols agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hmralign.structures import InputError

FORMAT_VERSION = 1

NOT_SAID = "not said by the weights"
"""Stands as the only source of weights that do not say what they were trained on; of no data set it is the name."""


@dataclass(frozen=True)
class Protocol:
    """Everything that a figure of an evaluation depends on."""

    benchmark: str
    split: str
    split_sha256: str
    """Hash of the persons."""
    agreement: str
    """Whether the persons are the frozen ones to the bit, or up to another processor's rounding."""
    persons: int
    predictor: str
    """Name of the model or the baseline."""
    predictor_sha256: str
    trained_on: tuple[str, ...]
    """What the weights say they were trained on; `NOT_SAID` where they do not say."""
    skeleton_hash: str
    mesh_hash: str
    num_hypotheses: int
    sampler_steps: int
    refinement: dict[str, Any] = field(default_factory=dict)
    detector: str = ""
    """Whose measured noise and landmark offsets refinement and critics assume."""
    critics: dict[str, float] = field(default_factory=dict)
    """Weights of the critics that select."""
    joints: str = "24 joints of the free body"
    alignment: str = "pelvis at the origin; PA: similarity without reflection"
    crop: str = "box of the observed keypoints"
    keypoints: str = "as the data set observes them"
    """Whose keypoints the persons are observed with; true ones, projected, are truth that the predictor sees."""
    labels: str = "as the data set says"
    """Whose body the labels pose, what became of it, and where they are from."""
    camera: str = "intrinsics as the observation has them, known for half of the persons"
    answer: str = "fused: mean on the rotation manifold, refined on the keypoints where refinement is on"
    seed: int = 0
    noise: str = "drawn for each person"
    """Readings that lack this entry gave all persons the same noise vectors: their `min M` moves with the seed."""

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


HELD_OUT = ("prior:heldout", "lab/test", "wild/test", "mocap/test")
"""What nothing that is evaluated on a test split may have been trained on."""


def known_sources(trained_on: tuple[str, ...]) -> tuple[str, ...]:
    """Sources as a protocol states them: those that the weights name, else `NOT_SAID`.

    >>> known_sources(())
    ('not said by the weights',)
    """
    return trained_on or (NOT_SAID,)


def may_have_seen(trained_on: Sequence[str], split: str) -> bool:
    """Whether it is not known that a test split's persons were new to the weights: they do not say their sources."""
    return split.endswith("/test") and (not trained_on or NOT_SAID in trained_on)


def require_unseen(trained_on: tuple[str, ...], split: str) -> None:
    """Raise InputError where weights were trained on the persons, or on the clips, that a test split is made of.

    Weights that name no sources pass, since nothing is known against them; `may_have_seen` marks their figures.
    """
    if not split.endswith("/test"):
        return
    seen = [source for source in trained_on if source in (*HELD_OUT, split) or source.endswith(":test")]
    if seen:
        raise InputError(f"the weights were trained on {seen[0]}; their figures on {split} would mean nothing")
