"""A photo in, ranked bodies out: find people -> observe -> estimate -> judge -> rank."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.critics.by_rule import Agreement, CriticWeights, Judgement, agreement, judge_by_rule
from hmralign.critics.learned_scorer import ScorerCritic
from hmralign.critics.weighing import Weighing
from hmralign.data.images import LoadedImage
from hmralign.detection.detection import Detection
from hmralign.detection.observe import observe
from hmralign.detection.person_crop import with_crops
from hmralign.fitting.detector_noise import noise_of
from hmralign.fitting.evidence import KeypointNoise
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.estimate import Estimate, estimate_bodies
from hmralign.hypotheses.sides import (
    OtherSides,
    SideMode,
    SidesConfig,
    followed_and_other,
    other_sides,
    probability_exchanged,
)
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.models.side_gate import shipped_side_gate
from hmralign.policies.policy import BodyProposer, SamplerConfig, crop_side
from hmralign.structures import BodyParams, Camera, Hypotheses, Observation


@dataclass(frozen=True)
class RecoverConfig:
    """How people are recovered from a photo."""

    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Hypotheses per person and steps of the sampler."""
    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    """How hypotheses are moved onto the keypoints."""
    critics: CriticWeights = field(default_factory=CriticWeights)
    """What ranks them."""
    weighed_by: str | None = None
    """Learned scorer, by name or path, that weighs the hypotheses in the fused answer; None counts all alike. It helps
    weights that have not seen persons like these (docs/results/fusion.md)."""
    sides: SidesConfig = field(default_factory=SidesConfig)
    """What is done where left and right, or front and back, may have been read the wrong way round."""
    seed: int = 0
    """Same seed, same photo, same answer; every photo starts from it anew."""


@dataclass(frozen=True)
class RecoveredPerson:
    """All that is known about one person; tensors on the CPU, axes as in the structures without the person axis.

    `scores` (higher is better) are those of the critics in `critic_scores` together; `ranking` lists hypotheses best
    first. `fused` is the one answer made from the group; the spread is metres per joint. `modes` are the readings of
    the person's sides that the group has, the one that `fused` follows first; mostly there is one. `observation` and
    the scores are those of that reading.
    """

    detection: Detection
    observation: Observation
    hypotheses: Hypotheses
    scores: Float[Tensor, " hyp"]
    critic_scores: dict[str, Float[Tensor, " hyp"]]
    ranking: Int[Tensor, " hyp"]
    fused: BodyParams
    fused_joints: Float[Tensor, "29 3"]
    spread: Float[Tensor, " 29"]
    best_agreement: Agreement
    fused_agreement: Agreement
    modes: tuple[SideMode, ...]

    @property
    def box_only(self) -> bool:
        """Whether nothing but a box is known: no keypoint was observed, and the pose is a guess from its shape."""
        return not self.detection.has_keypoints

    @property
    def selected(self) -> int:
        """Index of the hypothesis that the critics like best."""
        return int(self.ranking[0])


@dataclass(frozen=True)
class RecoveredPhoto:
    """A photo's people, the camera they are placed with, and seconds per stage."""

    image: LoadedImage
    camera: Camera
    persons: list[RecoveredPerson]
    seconds: dict[str, float]


@contextmanager
def measured(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall-clock time of a block to `seconds[stage]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start


def recover_people(
    policy: BodyProposer,
    image: LoadedImage,
    camera: Camera,
    found: list[Detection],
    config: RecoverConfig,
    seconds: dict[str, float] | None = None,
) -> RecoveredPhoto:
    """Estimate, judge and rank everybody who was found, in one batch.

    The device of the policy's body is used; results come back on the CPU. `seconds` may already hold the time of
    earlier stages.
    """
    seconds = {} if seconds is None else seconds
    body, device = policy.body, policy.body.v_template.device
    side = crop_side(policy)
    observation = with_crops(Observation.stack([observe(d, camera) for d in found]), image.rgb, side)
    # One detector saw everybody who was seen at all.
    noise = noise_for(next((d for d in found if d.has_keypoints), found[0]))
    generator = torch.Generator().manual_seed(config.seed)
    weighing = weighing_by(config.weighed_by, body, noise)
    with measured(seconds, "estimate"), torch.no_grad():
        estimate = estimate_bodies(
            policy, observation.to(device), config.sampler, config.refinement, noise, generator, weighing
        )
    with measured(seconds, "sides"), torch.no_grad():
        estimate, observation, modes = _with_other_sides(
            policy, found, observation, image.rgb, camera, estimate, config
        )
    with measured(seconds, "critics"), torch.no_grad():
        seen = observation.to(device)
        judgement = judge_by_rule(body, estimate.hypotheses, seen, camera, noise, config.critics)
        fits = agreement(body, _best_and_fused(estimate, judgement), seen, camera, noise)
    hypotheses, fused_body = estimate.hypotheses.to("cpu"), estimate.fused.to("cpu")
    persons = [
        RecoveredPerson(
            detection=found[i],
            observation=observation[i],
            hypotheses=hypotheses[i],
            scores=judgement.scores[i].cpu(),
            critic_scores={name: s[i].cpu() for name, s in judgement.by_critic.items()},
            ranking=judgement.ranking[i].cpu(),
            fused=fused_body[i],
            fused_joints=estimate.fused_joints[i].cpu(),
            spread=estimate.spread[i].cpu(),
            best_agreement=fits[i][0],
            fused_agreement=fits[i][1],
            modes=modes[i],
        )
        for i in range(len(found))
    ]
    return RecoveredPhoto(image, camera, persons, seconds)


def _with_other_sides(
    policy: BodyProposer,
    found: list[Detection],
    observation: Observation,
    rgb: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    estimate: Estimate,
    config: RecoverConfig,
) -> tuple[Estimate, Observation, list[tuple[SideMode, ...]]]:
    """`followed_and_other` with the shipped gate; the other reading starts from the same noise as the first."""

    def again(other_reading: Observation, other: OtherSides) -> Estimate:
        noise, generator = noise_of(other.noise_file or other.detector), torch.Generator().manual_seed(config.seed)
        weighing = weighing_by(config.weighed_by, policy.body, noise)
        place = policy.body.v_template.device
        return estimate_bodies(
            policy, other_reading.to(place), config.sampler, config.refinement, noise, generator, weighing
        )

    seen = [observation[i] for i in range(len(found))]
    likely: list[float | None] = [None] * len(found)
    if config.sides.mode == "both":
        gate = shipped_side_gate()
        likely = [probability_exchanged(d, o, gate) for d, o in zip(found, seen, strict=True)]
    others = [other_sides(d, o, camera, p, config.sides) for d, o, p in zip(found, seen, likely, strict=True)]
    # The other reading has a box of its own, and so another crop.
    others = [o and replace(o, observation=with_crops(o.observation, rgb, crop_side(policy))) for o in others]
    return followed_and_other(observation, estimate, likely, others, config.sides, again)


def weighing_by(scorer: str | None, body: BodyModel, noise: KeypointNoise) -> Weighing | None:
    """How a learned scorer weighs; None for none. Raises InputError for one that was made for another skeleton."""
    if scorer is None:
        return None
    place = body.v_template.device
    scored = load_scorer(scorer, body.skeleton_hash)
    scored = replace(scored, scorer=scored.scorer.to(place))
    return Weighing(ScorerCritic(body, scored, noise.offsets.to(place), Path(scorer).stem))


def _best_and_fused(estimate: Estimate, judgement: Judgement) -> Hypotheses:
    """The two answers of each person as a group of two."""
    everybody = torch.arange(len(judgement.ranking), device=judgement.ranking.device)[:, None]
    best = estimate.hypotheses[everybody, judgement.ranking[:, :1]]
    joints = torch.cat([best.joints, estimate.fused_joints[:, None]], dim=1)
    return Hypotheses(BodyParams.stack([best.body[:, 0], estimate.fused], dim=1), joints)


def noise_for(detection: Detection) -> KeypointNoise:
    """Noise of the detector behind a detection."""
    return noise_of(detection.noise_file or _detector_name(detection))


def _detector_name(detection: Detection) -> str:
    """Detections carry a version ("mediapipe-0.10.21"); noise was measured for the detector of that name."""
    return detection.detector.split("-")[0]
