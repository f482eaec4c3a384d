"""The learned scorer as a critic: what it has learned of how models err, from persons whose truth was known.

It looks at the person as observed and in the mirror and gives the mean, so that the score of a mirrored hypothesis for
a mirrored photo is the same. Differentiable, hence also a reward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.critics.setting import CriticSetting
from hmralign.models.scorer_checkpoint import CalibratedScorer, load_scorer
from hmralign.models.scorer_features import mirrored_input, scorer_input
from hmralign.structures import Example, Hypotheses, InputError

PERSONS_AT_ONCE = 128


@dataclass(frozen=True)
class ScorerCritic:
    """Calibrated scores in (0, 1): the expected exp(-MPJPE / 0.1 m), comparable across persons.

    `offsets` are those of the detector's landmarks, in metres. Raises InputError where a body is not the one that the
    scorer was trained for.
    """

    body: BodyModel
    scored: CalibratedScorer
    offsets: Float[Tensor, "27 3"] | None = None
    name: str = "scorer"

    needs_truth = False

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons with an observed keypoint: of others it has seen none."""
        return (example.observation.confidence > 0).any(-1)

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in (0, 1); equal ones in the groups of persons without an observed keypoint."""
        if hypotheses.body.betas.shape[-1] != self.body.num_betas:
            raise InputError(
                f"critic {self.name!r}: bodies have {hypotheses.body.betas.shape[-1]} shape coefficients, the scorer's "
                f"body has {self.body.num_betas}"
            )
        parts, sees = [], self.scored.scorer.config.pixels
        for start in range(0, len(example.observation.box), PERSONS_AT_ONCE):
            some = slice(start, start + PERSONS_AT_ONCE)
            x = scorer_input(self.body, hypotheses.body[some], example.observation[some], self.offsets, pixels=sees)
            outputs = (self.scored.scorer(x) + self.scored.scorer(mirrored_input(x))) / 2  # (B, N, outputs)
            parts.append(self.scored.calibration(outputs.mean(-1)))
        scores = torch.cat(parts)  # (B, N)
        return torch.where(self.can_judge(example)[:, None], scores, scores.mean(1, keepdim=True))


def make_scorer(setting: CriticSetting) -> ScorerCritic:
    """The shipped scorer for photos. Raises InputError for another skeleton."""
    return scorer_of_file("scorer", setting)


def make_scorer_lab(setting: CriticSetting) -> ScorerCritic:
    """The shipped scorer of SynthWild's lab. Raises InputError for another skeleton."""
    return scorer_of_file("scorer-lab", setting)


def scorer_of_file(path: str, setting: CriticSetting) -> ScorerCritic:
    """A scorer by name or path; it is called as its file. Errors as `load_scorer`."""
    scored = load_scorer(path, setting.body.skeleton_hash)
    scored = replace(scored, scorer=scored.scorer.to(setting.body.device))
    return ScorerCritic(setting.body, scored, setting.noise.offsets, Path(path).stem)
