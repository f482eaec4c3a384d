"""What a critic that speaks says, and what it is shown of its memory.

`Finding` (one hypothesis in one call) -> `Critique` (one call) -> `Verdict` (a whole group, merged from its calls).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.structures.errors import InputError

HIGHEST_SCORE = 100
"""Judges give 0 (nothing fits) to 100 (a perfect fit)."""
RULE_LENGTH = 200
"""The longest rule, characters."""
RULE_TAGS = (
    "alignment", "arms", "balance", "contact", "depth_order", "facing", "feet", "hands", "head", "joint_limits", "legs",
    "left_right", "occlusion", "penetration", "scale", "silhouette", "torso", "truncation",
)  # fmt: skip
"""What rules and remembered cases are about; they may add words of their own."""


@dataclass(frozen=True)
class Finding:
    """What one call said of one hypothesis; `hypothesis` is its number in the group."""

    hypothesis: int
    score: float
    comment: str = ""

    def __post_init__(self) -> None:
        """Raise InputError for a score outside 0..100, NaN included."""
        if not 0 <= self.score <= HIGHEST_SCORE:
            raise InputError(f"hypothesis {self.hypothesis} has the score {self.score}; expected 0 to {HIGHEST_SCORE}")


@dataclass(frozen=True)
class Critique:
    """One call: findings in the order in which the hypotheses were shown, and which memory was shown with them.

    `key` is the journal's key of the answer, so that everything here can be derived again from the raw answer.
    """

    findings: tuple[Finding, ...]
    key: str = ""
    rules: tuple[str, ...] = ()
    prototypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise InputError for a hypothesis that is judged twice."""
        seen = [f.hypothesis for f in self.findings]
        if len(set(seen)) != len(seen):
            raise InputError(f"a call judged a hypothesis twice: {seen}")


@dataclass(frozen=True)
class Verdict:
    """Scores of a group, on the scale 0..100 of its judge, with the standard error of each.

    `informative` is false where the judge saw no difference that outweighs its own noise; such a group gives no
    preference.
    """

    scores: Float[Tensor, " hyp"]
    standard_error: Float[Tensor, " hyp"]
    informative: bool
    critiques: tuple[Critique, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A sentence about what to look for, with how often it was shown and how often that went well."""

    id: str
    text: str
    tags: tuple[str, ...]
    uses: int = 0
    successes: int = 0


@dataclass(frozen=True)
class Prototype:
    """A remembered case: a hypothesis, what was said of it, and its score against the truth (0..100).

    Pictures are JPEG files; None where the memory was exported without images.
    """

    id: str
    reasoning: str
    score: float
    tags: tuple[str, ...]
    photo: bytes | None = None
    overlay: bytes | None = None


@dataclass(frozen=True)
class MemoryContext:
    """What a judge is shown of its memory for one group, most relevant first."""

    rules: tuple[Rule, ...] = ()
    prototypes: tuple[Prototype, ...] = ()
