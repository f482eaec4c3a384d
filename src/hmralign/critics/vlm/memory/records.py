"""What is written into a memory: an episode with everything that came of it, and rules that a person adds."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE

POSE, CLIP = "pose", "clip"
"""Embedders by the word with which the names of their models begin."""

VectorKind = Literal["pose", "clip", "mix"]


@dataclass(frozen=True)
class EmbeddingSpace:
    """Which vectors compare: those of one model after one preparation of its input."""

    model: str
    """Name of the embedder and, where it has weights, their hash."""
    preprocessing: str
    """Hash of what is done before the model."""
    dim: int
    share: float | None = None
    """How much of the similarity is the first model's where two stand side by side, 0 to 1. None for one model."""

    def __str__(self) -> str:
        weighed = "" if self.share is None else f", {self.share:g} to {1 - self.share:g}"
        return f"{self.model}{weighed} (preparation {self.preprocessing[:8]}, {counted(self.dim, 'number')})"

    @property
    def kind(self) -> VectorKind:
        """Which embedder made it. Raises InputError for vectors that are not of this package."""
        if self.share is not None:
            return "mix"
        if self.model == POSE:
            return "pose"
        if self.model.startswith(f"{CLIP} "):
            return "clip"
        raise InputError(f"embeddings of '{self.model}' are none that this program can make; expected pose or clip")

    @property
    def record(self) -> dict[str, str | int | float]:
        """Its fields; a single model has no share."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class NewRule:
    """A rule that passed the filter, or that a person wrote."""

    text: str
    tags: tuple[str, ...]
    author: str
    """The model that wrote it, or a person's name."""
    conflicts: tuple[str, ...] = ()
    """Ids of rules that say the opposite."""

    def __post_init__(self) -> None:
        """Raise InputError for a rule without text."""
        if not self.text.strip():
            raise InputError(f"a rule of '{self.author}' has no text")

    @property
    def id(self) -> str:
        """From its words, so that the same rule has the same name in every memory."""
        return rule_id(self.text)


@dataclass(frozen=True)
class NewPrototype:
    """A case worth remembering; pictures are JPEG files."""

    hypothesis: int
    reasoning: str
    score: float
    """Against the truth, 0..100."""
    tags: tuple[str, ...]
    embedding: Float[np.ndarray, " dim"] | None = None
    photo: bytes | None = None
    overlay: bytes | None = None

    def __post_init__(self) -> None:
        """Raise InputError for a score outside 0..100 and an embedding that is not finite."""
        if not 0 <= self.score <= HIGHEST_SCORE:
            raise InputError(f"hypothesis {self.hypothesis} is to be remembered with the score {self.score}; expected "
                             f"0 to {HIGHEST_SCORE}")  # fmt: skip
        if self.embedding is not None and not np.isfinite(self.embedding).all():
            raise InputError(f"the embedding of hypothesis {self.hypothesis} has values that are not finite")


@dataclass(frozen=True)
class RuleUse:
    """A rule that the judge was shown."""

    rule: str
    control: float | None = None
    """Rank correlation with the rule minus without it, where the group was also judged without it."""


@dataclass(frozen=True)
class Episode:
    """One group, judged and compared with the truth. Made by `episodes.make_episode`."""

    id: str
    """Unique: the same id again is a replay."""
    time: str
    """When, as the caller tells it."""
    judge: str
    images: tuple[str, ...]
    """Hashes of the photos that the group is about."""
    sequence: str
    """Video or session that the photo is from; empty where there is none."""
    scores: tuple[float, ...]
    """The judge's scores, one per hypothesis."""
    errors: tuple[float, ...]
    """Against the truth, metres."""
    rho: float
    """Spearman correlation of scores with minus errors."""
    threshold: float
    """What `rho` had to exceed."""
    rules: tuple[RuleUse, ...] = ()
    shown: tuple[str, ...] = ()
    """Ids of the prototypes that the judge was shown."""
    prototypes: tuple[NewPrototype, ...] = ()
    mined: tuple[NewRule, ...] = ()
    journal_keys: tuple[str, ...] = ()
    """Journal keys of the answers that all this came from."""

    def __post_init__(self) -> None:
        """Raise InputError for an episode without id or photo, uneven lists, numbers that are none, or twins."""
        if not self.id or not self.images or not all(self.images):
            raise InputError(f"episode '{self.id}' with the images {list(self.images)}; expected an id and image ids")
        if len(self.scores) != len(self.errors) or len(self.scores) < 2:
            raise InputError(
                f"episode {self.id} has {counted(len(self.scores), 'score')} and {counted(len(self.errors), 'error')}; "
                "expected as many, at "
                "least 2"
            )
        numbers = (*self.scores, *self.errors, self.rho, self.threshold)
        if not all(math.isfinite(n) for n in numbers) or abs(self.rho) > 1 + 1e-9:
            raise InputError(f"episode {self.id} has a number that is not finite, or a correlation outside -1..1")
        names = [use.rule for use in self.rules]
        cases = [case.hypothesis for case in self.prototypes]
        if len(set(names)) != len(names) or len(set(cases)) != len(cases):
            raise InputError(f"episode {self.id} used a rule twice or keeps a hypothesis twice: {names}, {cases}")
        if not all(use.control is None or math.isfinite(use.control) for use in self.rules):
            raise InputError(f"episode {self.id} has a control that is not finite")

    @property
    def success(self) -> bool:
        """Whether the judge did well."""
        return self.rho > self.threshold


@dataclass(frozen=True)
class StoredRule:
    """A rule with where it came from; `episode` is empty for one that a person added."""

    id: str
    text: str
    tags: tuple[str, ...]
    episode: str
    author: str
    time: str
    retired: str
    """Why it is no longer shown; empty while it is."""


@dataclass(frozen=True)
class LoggedUse:
    """A row of the log that all counters are derived from."""

    episode: str
    rule: str
    outcome: bool
    """As judged then."""
    control: float | None
    rho: float
    group_size: int


@dataclass(frozen=True)
class PastEpisode:
    """An episode without its prototypes and rules."""

    id: str
    time: str
    judge: str
    sequence: str
    images: tuple[str, ...]
    rho: float
    threshold: float
    scores: tuple[float, ...]
    errors: tuple[float, ...]
    rules: tuple[str, ...]
    shown: tuple[str, ...]
    journal_keys: tuple[str, ...]


def require_same_space(known: EmbeddingSpace | None, given: EmbeddingSpace | None, path: Path) -> None:
    """Raise InputError where embeddings do not compare."""
    if known is not None and known != given:
        raise InputError(
            f"the memory {path} has embeddings of {known}, and was given one of {given}; expected the same"
        )


def rule_id(text: str) -> str:
    """Name of a rule, from its words without case, punctuation and spacing."""
    return "r" + _digest(normalised(text))


def prototype_id(episode: str, hypothesis: int) -> str:
    """Name of a remembered case."""
    return "p" + _digest(json.dumps([episode, hypothesis]))


def normalised(text: str) -> str:
    """Words and numbers in lower case, one space apart: what two spellings of a rule have in common."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
