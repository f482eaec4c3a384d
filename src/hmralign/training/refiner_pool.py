"""Persons that a refiner learns from: synthetic ones with their truth, a first answer, and what is said of them.

Making them takes far longer than a step, so a pool is made once and drawn from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.data.pose_file import load_pose_file
from hmralign.data.synthetic.generator import Generator, SyntheticMix
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.data.synthetic.reobserved import WIDELY
from hmralign.fitting.person_fit import PersonFit
from hmralign.hypotheses.estimate import fused_group
from hmralign.language.agreement import wanted
from hmralign.language.caption import caption
from hmralign.models.person_frame import person_frame
from hmralign.policies.catalogue import open_policy
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.refinement.start import Start
from hmralign.storage.seeds import seeded
from hmralign.structures import MASK_SIZE, Example, InputError, Observation, PersonGroup, TensorRecord

_AT_ONCE = 500

CAPTION_FRAMES = ("body", "camera")
"""Statements that the refiner learns from: which way is up is not known in a photo from anywhere."""


@dataclass(frozen=True)
class FirstAnswer:
    """Where initial bodies come from: the fused answer of so many hypotheses of a checkpoint of any kind."""

    checkpoint: str = "lite"
    hypotheses: int = 8
    """M; a single one is not moved onto the keypoints, as a regressor's answer is not."""
    share: float = 1.0
    """Share of the persons."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.hypotheses < 1 or self.share <= 0:
            raise InputError("first answers: hypotheses must be at least 1 and share positive")


FIRST_ANSWERS = (FirstAnswer("lite", 8, 0.4), FirstAnswer("lite-lab", 4, 0.3), FirstAnswer("lite", 1, 0.3))


@dataclass(frozen=True)
class RefinerPersons(TensorRecord):
    """Persons of a pool; rotations in the person frame."""

    observation: Observation
    start: Start
    rotmats: Float[Tensor, "n 24 3 3"]
    betas: Float[Tensor, "n betas"]
    context: Float[Tensor, "n channels"]
    wanted: Int8[Tensor, "n statements"]


@dataclass(frozen=True)
class PoolConfig:
    """Which persons."""

    persons: int = 24_000
    """How many."""
    answers: tuple[FirstAnswer, ...] = FIRST_ANSWERS
    """Who answered first."""
    data: SyntheticMix = WIDELY
    """What the persons are like."""
    poses: PoseMix = field(default_factory=PoseMix)
    """Where their poses come from."""
    pose_file: str | None = None
    """Motion-capture poses; without it all poses come from the shipped prior."""
    measured_noise: str = "mediapipe"
    """Detector whose residuals are replayed."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.persons < 2 or not self.answers:
            raise InputError("pool: persons must be at least 2, and somebody must have answered first")


def refiner_pool(config: PoolConfig, seed: int) -> RefinerPersons:
    """All persons; those of one seed are the same every time. Errors as pose files and checkpoints have them."""
    poses = load_pose_file(config.pose_file, "train") if config.pose_file else None
    source = PoseSource(load_pose_prior("train"), config.poses, poses)
    body = load_free_body("3k5")
    generator = Generator(body, source, config.data, load_measured_noise(config.measured_noise))
    reader = LitePolicy.load("lite", body)
    parts = []
    for number, (count, answer) in enumerate(_blocks(config)):
        draw = seeded(seed, "refiner pool", number)
        policy = open_policy(answer.checkpoint, body).policy
        parts.append(answered(generator.sample(count, draw), policy, reader, answer.hypotheses, draw))
    return RefinerPersons.cat(parts)


def _blocks(config: PoolConfig) -> Iterator[tuple[int, FirstAnswer]]:
    total = sum(answer.share for answer in config.answers)
    for answer in config.answers:
        left = round(config.persons * answer.share / total)
        while left > 0:
            yield min(left, _AT_ONCE), answer
            left -= _AT_ONCE


@torch.no_grad()
def answered(
    example: Example, policy: BodyProposer, reader: LitePolicy, hypotheses: int, generator: torch.Generator
) -> RefinerPersons:
    """Persons with a first answer; `reader` is whose encoder reads the keypoints."""
    assert example.annotation is not None
    seen, truth = example.observation, example.annotation.body
    fit = PersonFit.of(policy.body, seen, reader.noise)
    group = policy.propose(seen, SamplerConfig(hypotheses, 3), generator)
    first = fused_group(fit, fit.refined(group)) if hypotheses > 1 else group
    R = person_frame(seen).R_person_cam
    root = R @ truth.global_orient
    said = caption(example.annotation.joints[:, :24], generator, truth.rotmats, frames=CAPTION_FRAMES)
    without = replace(seen, mask=torch.zeros(1, 1, 1).expand(len(R), MASK_SIZE, MASK_SIZE))
    return RefinerPersons(
        observation=without,
        start=start_in_person_frame(first, R, example.annotation.joints[:, 0]),
        rotmats=torch.cat([root[:, None], truth.body_pose], dim=1),
        betas=truth.betas,
        context=reader.context(seen).plain.global_tokens[:, 0],
        wanted=wanted(said).to(torch.int8),
    )


def start_in_person_frame(
    first: PersonGroup, R_person_cam: Float[Tensor, "n 3 3"], pelvis: Float[Tensor, "n 3"]
) -> Start:
    """The start from bodies that have no place yet; the pelvis is where it truly is."""
    return Start(first.rotmats[:, 0], first.betas[:, 0], R_person_cam.mT, pelvis)
