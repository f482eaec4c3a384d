"""From a judged group with its truth to an episode: how well it went, who gets the credit, what is worth remembering.

Quality is minus the error; only its order enters the correlation. Three cases are kept of a group: the best, the worst,
and the one whose rank the judge missed most. Their score is what the truth says, not what the judge said, since a
memory of a judge's own scores would confirm them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from hmralign.critics.vlm.memory.prototype_index import PrototypeIndex
from hmralign.critics.vlm.memory.records import EmbeddingSpace, Episode, NewPrototype, NewRule, RuleUse
from hmralign.critics.vlm.memory.rule_filter import names_a_prediction, plain, refuse_unsafe
from hmralign.critics.vlm.memory.success import LEVEL, TAU, success_threshold
from hmralign.critics.vlm.memory.tags import tags_of
from hmralign.metrics.ranking import spearman
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.critique import HIGHEST_SCORE

REASONING_LENGTH = 300
"""The longest reasoning of a remembered case, characters."""


@dataclass(frozen=True)
class EpisodeOptions:
    """When a group is a success, and what is kept of it."""

    tau: float = TAU
    level: float = LEVEL
    """As in `success_threshold`."""
    cases: int = 3
    """Kept of a group, at most: best, worst, most misjudged."""
    half_error: float = 0.1
    """Error that halves the score of a remembered case, metres."""
    least_difference: float = 5.0
    """Points between two kept cases of a group, at least."""
    near: float = 0.98
    """Similarity from which groups count as the same scene."""
    cases_per_scene: int = 6
    """Kept of groups that look the same, at most."""
    max_prototypes: int = 2000
    """In the memory, at most."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers that make no sense."""
        if not self.half_error > 0 or min(self.cases, self.cases_per_scene, self.max_prototypes) < 0:
            raise InputError(f"error that halves a score {self.half_error}, {counted(self.cases, 'case')}, "
                             f"{self.cases_per_scene} "
                             f"per scene, {self.max_prototypes} in all; expected above 0, and 0 or more")  # fmt: skip


@dataclass(frozen=True)
class JudgedGroup:
    """A group with what its judge said and what is true; one entry per hypothesis in `scores`, `errors`, `comments`.

    `photo` and `overlays` are JPEG files, `overlays` by number of the hypothesis; empty where pictures are not kept.
    """

    id: str
    images: tuple[str, ...]
    scores: Float[np.ndarray, " hyp"]
    errors: Float[np.ndarray, " hyp"]
    """Metres."""
    comments: tuple[str, ...]
    sequence: str = ""
    tags: tuple[str, ...] = ()
    """Known of the group from elsewhere, for all its cases."""
    embedding: Float[np.ndarray, " dim"] | None = None
    space: EmbeddingSpace | None = None
    photo: bytes | None = None
    overlays: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Raise InputError for lists of different lengths and values that are not finite."""
        sizes = {len(self.scores), len(self.errors), len(self.comments)}
        if self.overlays:
            sizes.add(len(self.overlays))
        if len(sizes) != 1 or len(self.scores) < 2:
            raise InputError(f"group {self.id} has scores, errors, comments and overlays of different numbers: "
                             f"{sorted(sizes)}; expected one per hypothesis, at least 2")  # fmt: skip
        if not np.isfinite(self.scores).all() or not np.isfinite(self.errors).all() or (self.errors < 0).any():
            raise InputError(f"group {self.id} has a score or an error that is not finite, or an error below 0")

    @property
    def rho(self) -> float:
        """Spearman correlation of scores with minus errors; 0 where either says nothing."""
        scores, errors = (np.asarray(a, np.float64)[None] for a in (self.scores, self.errors))
        return float(spearman(scores, errors)[0])


def make_episode(
    group: JudgedGroup,
    *,
    judge: str,
    time: str,
    rules: Sequence[str | RuleUse] = (),
    shown: Sequence[str] = (),
    mined: Sequence[NewRule] = (),
    journal_keys: Sequence[str] = (),
    index: PrototypeIndex | None = None,
    options: EpisodeOptions | None = None,
) -> Episode:
    """An episode for `Memory.commit`. `rules` and `shown` are what the judge was shown, as ids or with their control.

    With the memory's `index`, no cases are kept of a scene that has enough of them, or beyond its cap.
    """
    options = options or EpisodeOptions()
    uses = tuple(use if isinstance(use, RuleUse) else RuleUse(use) for use in rules)
    return Episode(
        group.id, time, judge, group.images, group.sequence, tuple(float(s) for s in group.scores),
        tuple(float(e) for e in group.errors), group.rho,
        success_threshold(len(group.scores), options.tau, options.level), uses, tuple(shown),
        cases_to_keep(group, index, options), tuple(mined), tuple(journal_keys),
    )  # fmt: skip


def control_credit(with_rule: JudgedGroup, without_rule: JudgedGroup) -> float:
    """What a rule did: rank correlation of the group judged with it minus judged without it, -2 to 2."""
    if not np.array_equal(with_rule.errors, without_rule.errors):
        raise InputError(f"groups {with_rule.id} and {without_rule.id} differ in their errors; expected one group "
                         "judged twice")  # fmt: skip
    return with_rule.rho - without_rule.rho


def truth_score(error: float, half_error: float) -> float:
    """Score against the truth: 100 for no error, 50 at `half_error`, halved again with each more of it.

    Absolute, so that cases of different groups compare.

    >>> truth_score(0.1, half_error=0.1)
    50.0
    """
    return HIGHEST_SCORE * 0.5 ** (error / half_error)


def cases_to_keep(
    group: JudgedGroup, index: PrototypeIndex | None, options: EpisodeOptions
) -> tuple[NewPrototype, ...]:
    """Best, worst and most misjudged, without those that are nearly as good as one before them."""
    room = min(options.cases, _room(group, index, options))
    kept: list[int] = []
    for number in _notable(group):
        scores = [truth_score(float(group.errors[i]), options.half_error) for i in (number, *kept)]
        if len(kept) < room and all(abs(scores[0] - s) >= options.least_difference for s in scores[1:]):
            kept.append(number)
    return tuple(_case(group, number, options) for number in kept)


def _notable(group: JudgedGroup) -> list[int]:
    """Numbers of hypotheses, most notable first; ties go to the smaller number."""
    gap = np.abs(rankdata(group.scores) - rankdata(-group.errors))
    order = [int(np.argmin(group.errors)), int(np.argmax(group.errors)), int(np.argmax(gap))]
    return list(dict.fromkeys(order))


def _room(group: JudgedGroup, index: PrototypeIndex | None, options: EpisodeOptions) -> int:
    if index is None:
        return options.cases
    left = options.max_prototypes - len(index.ids)
    if group.embedding is not None and len(index.ids) and index.embeddings.shape[1] == len(group.embedding):
        near = int((index.embeddings @ group.embedding.astype(np.float32) >= options.near).sum())
        left = min(left, options.cases_per_scene - near)
    return max(0, left)


def _case(group: JudgedGroup, number: int, options: EpisodeOptions) -> NewPrototype:
    score = truth_score(float(group.errors[number]), options.half_error)
    comment = group.comments[number]
    reasoning = _reasoning(comment, float(group.scores[number]), score)
    tags = tuple(dict.fromkeys([*tags_of(reasoning), *group.tags]))
    overlay = group.overlays[number] if group.overlays else None
    return NewPrototype(number, reasoning, score, tags, group.embedding, group.photo, overlay)


def _reasoning(comment: str, said: float, score: float) -> str:
    """The judge's comment with how far off it was. A comment that could be more than one, or that
    names tiles of its call, is left out."""
    words = plain(comment)
    safe = words and not refuse_unsafe(comment) and not names_a_prediction(comment)
    gap = said - score
    verdict = "judged about right" if abs(gap) < 15 else "judged too well" if gap > 0 else "judged too badly"
    room = REASONING_LENGTH - len(verdict) - 3
    return f"{words[:room].rstrip('. ')} ({verdict})" if safe else verdict
