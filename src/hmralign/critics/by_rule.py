"""How well bodies agree with the evidence, and in which order they are offered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.critics.critic import Critic, can_judge, judge
from hmralign.critics.mix import LAB_WEIGHTS, MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.ranking import rank
from hmralign.critics.recorded import recorded_mix
from hmralign.critics.reprojection import ReprojectionCritic, reprojection_error
from hmralign.critics.setting import CriticSetting
from hmralign.critics.silhouette import SilhouetteCritic
from hmralign.fitting.evidence import KeypointNoise
from hmralign.structures import Camera, Example, Hypotheses, Observation


@dataclass(frozen=True)
class CriticWeights:
    """Shares of the critics in the score that ranks hypotheses; 0 leaves one out."""

    reprojection: float = 1.0
    """Keypoints of the body against those observed."""
    silhouette: float = 1.0
    """Silhouette against the mask, where the detector gives one."""
    plausibility: float = 0.5
    """Joint ranges and self-penetration."""


@dataclass(frozen=True)
class Judgement:
    """Scores (higher is better), those of each critic, and hypotheses best first."""

    scores: Float[Tensor, "person hyp"]
    by_critic: dict[str, Float[Tensor, "person hyp"]]
    ranking: Int[Tensor, "person hyp"]


@dataclass(frozen=True)
class Agreement:
    """How well one body agrees with the photo.

    Errors are of the keypoints with a confidence above 0.3, in pixels of the photo as loaded and, for the mean, in
    heights of the box of these keypoints; they are None where no keypoint is that confident, as for somebody known
    only by a box. `mask_iou` (soft, on the 48 x 48 mask) is None without a mask.
    """

    reprojection_px: float | None
    reprojection_median_px: float | None
    reprojection_over_box_height: float | None
    mask_iou: float | None


def judge_by_rule(
    body: BodyModel,
    hypotheses: Hypotheses,
    observation: Observation,
    camera: Camera,
    noise: KeypointNoise,
    weights: CriticWeights,
) -> Judgement:
    """Score every hypothesis of every person with each critic, and with all of them together."""
    example = Example(observation)
    mix, parts = recorded_mix(MixCritic(weighted_critics(body, noise, weights, (camera.width, camera.height))))
    scores = judge(mix, hypotheses, example)
    return Judgement(scores, {part.name: part.scores for part in parts}, rank(scores))


def weighted_critics(
    body: BodyModel, noise: KeypointNoise, weights: CriticWeights, image_size: tuple[int, int] | None = None
) -> list[tuple[Critic, float]]:
    """The critics that have a say, for a `MixCritic`; `image_size` (width, height) is that of everybody's photo."""
    critics: list[tuple[Critic, float]] = [
        (ReprojectionCritic(body, noise.offsets, noise.sigma[:, -1]), weights.reprojection),
        (SilhouetteCritic(quick_body(body), image_size), weights.silhouette),
        (PlausibilityCritic(body), weights.plausibility),
    ]
    return [(critic, weight) for critic, weight in critics if weight > 0]


def agreement(
    body: BodyModel, hypotheses: Hypotheses, observation: Observation, camera: Camera, noise: KeypointNoise
) -> list[list[Agreement]]:
    """Agreement of each hypothesis of each person; meant for few of them."""
    error = reprojection_error(body, hypotheses, observation, noise.offsets)
    height = (observation.box[:, 3] - observation.box[:, 1])[:, None]
    critic = SilhouetteCritic(quick_body(body), (camera.width, camera.height))
    example = Example(observation)
    overlap, has_mask = judge(critic, hypotheses, example), can_judge(critic, example)
    return [
        [
            Agreement(
                _measured(error.mean_px[i, m]),
                _measured(error.median_px[i, m]),
                _measured((error.mean_px / height)[i, m]),
                float(overlap[i, m]) if bool(has_mask[i]) else None,
            )
            for m in range(hypotheses.num_hypotheses)
        ]
        for i in range(len(height))
    ]


def _measured(value: Float[Tensor, ""]) -> float | None:
    """`ReprojectionError` says NaN where there is nothing to measure; outside of tensors that is None."""
    return None if bool(value.isnan()) else float(value)


def quick_body(body: BodyModel) -> BodyModel:
    """The small mesh of the same body, where there is one: silhouettes of 48 cells do not need more."""
    if load_free_body("3k5").skeleton_hash != body.skeleton_hash:
        return body
    return _small_body(str(body.v_template.device))


@lru_cache(maxsize=4)
def _small_body(device: str) -> BodyModel:
    return load_free_body("3k5").to(device)


def make_silhouette(setting: CriticSetting) -> SilhouetteCritic:
    """By the mask, on the small mesh."""
    return SilhouetteCritic(quick_body(setting.body), setting.image_size)


def make_mix(setting: CriticSetting) -> MixCritic:
    """The critics by rule, with the weights fitted on SynthWild's lab split."""
    weights = CriticWeights(**LAB_WEIGHTS)
    return MixCritic(weighted_critics(setting.body, setting.noise, weights, setting.image_size))
