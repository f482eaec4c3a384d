"""Groups of hypotheses with known errors: perturbed truth, as published, and what models really sample.

A scorer that orders perturbed truth well may order a model's own samples badly: the second differ in what the picture
cannot show. Both are made here, for training and for judging a scorer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, pa_pve, pve
from hmralign.models.scorer_features import scorer_input
from hmralign.policies.policy import DiffusionPolicy, bodies_in, sample_each
from hmralign.storage.seeds import seeded
from hmralign.structures import Annotation, BodyParams, Example, InputError
from hmralign.training.scorer import HypothesisSet

logger = logging.getLogger("hmralign.scorer")

VERTEX_STRIDE = 7
"""Vertex errors of training and judging sets are over every seventh vertex of the small mesh (493 of 3.5k)."""

CHUNK = 250
"""Persons at once."""


@dataclass(frozen=True)
class PerturbConfig:
    """Noise on true bodies. Standard deviations of rotation vectors in radians."""

    pose: float = 0.05
    """Per joint (ADHMR's code)."""
    root: float = 0.02
    """Spread of the global orientation."""
    betas: float = 0.05
    """Spread of the shape coefficients."""
    levels: tuple[float, float] = (1.0, 1.0)
    """Each hypothesis has all its noise multiplied by a factor between these, log-uniform."""


PUBLISHED_NOISE = PerturbConfig()
"""ADHMR's public code: 0.05 for joints and shape, 0.02 for the root."""

WIDE_NOISE = PerturbConfig(levels=(0.5, 10.0))
"""From hardly visible to as far off as what models sample."""


def perturbed_truth(
    annotation: Annotation, hypotheses: int, config: PerturbConfig, generator: torch.Generator
) -> BodyParams:
    """Bodies of axes (person, hyp): the truth with independent noise on every joint, the root and the shape."""
    truth = annotation.body
    n = len(truth.transl)
    low, high = (torch.tensor(v).log() for v in config.levels)
    level = (low + (high - low) * torch.rand(n, hypotheses, 1, 1, generator=generator)).exp()
    turn = config.pose * level * torch.randn(n, hypotheses, NUM_JOINTS - 1, 3, generator=generator)
    root = config.root * level[..., 0] * torch.randn(n, hypotheses, 3, generator=generator)
    shape = config.betas * level[..., 0] * torch.randn(n, hypotheses, truth.betas.shape[-1], generator=generator)
    return BodyParams(
        rotvec_to_rotmat(root) @ truth.global_orient[:, None],
        truth.body_pose[:, None] @ rotvec_to_rotmat(turn),
        truth.betas[:, None] + shape,
        truth.transl[:, None].expand(-1, hypotheses, -1),
    )


def body_errors(
    body: BodyModel, hypotheses: BodyParams, annotation: Annotation, *, with_vertices: bool = True
) -> Float[Tensor, "person hyp metrics"]:
    """`models.scorer.METRICS` in metres, pelvis-relative or aligned; joints are the 24 of the annotation.

    Where an annotation's joints are not those of its body (noisy labels), joint metrics go by the joints.
    """
    joints = posed_joints(body, hypotheses)[..., :NUM_JOINTS, :]
    truth = annotation.joints[:, None, :NUM_JOINTS]
    columns = [mpjpe(joints, truth, root=0), pa_mpjpe(joints, truth.expand_as(joints))]
    if with_vertices:
        chosen = torch.arange(0, len(body.v_template), VERTEX_STRIDE)
        mesh = vertices(body, hypotheses, chosen)
        true_mesh = vertices(body, annotation.body, chosen)[:, None]
        roots = posed_joints(body, annotation.body)[:, None, 0]
        columns += [pve(mesh, true_mesh, joints[..., 0, :], roots), pa_pve(mesh, true_mesh.expand_as(mesh))]
    else:
        columns += columns
    return torch.stack(columns, dim=-1)


Proposer = Callable[[Example, range], BodyParams]
"""`(persons, their numbers in the set) -> bodies of axes (person, hyp)`; a person's do not depend on the others."""


def perturbing(hypotheses: int, config: PerturbConfig, seed: int) -> Proposer:
    """Proposals that are perturbed truth, each person's drawn by its number."""

    def propose(example: Example, numbers: range) -> BodyParams:
        if example.annotation is None:
            raise InputError("perturbed truth needs persons with truth")
        place, truth = example.observation.box.device, example.annotation.to("cpu")  # where its noise is drawn
        draws = (seeded(seed, "perturbed truth", number) for number in numbers)
        bodies = [perturbed_truth(truth[i : i + 1], hypotheses, config, d) for i, d in enumerate(draws)]
        return BodyParams.cat(bodies).to(place)

    return propose


def sampling(policy: DiffusionPolicy, hypotheses: int, seed: int) -> Proposer:
    """Proposals that a model samples, each person's from noise drawn by its number."""

    @torch.no_grad()
    def propose(example: Example, numbers: range) -> BodyParams:
        seen, draws = example.observation, [seeded(seed, "samples", number) for number in numbers]
        context = policy.context(seen)
        return bodies_in(policy, sample_each(policy, context, hypotheses, draws), seen, context).body

    return propose


@torch.no_grad()
def hypothesis_set(
    body: BodyModel,
    examples: Example,
    propose: Proposer,
    offsets: Float[Tensor, "27 3"] | None,
    *,
    pixels: bool = False,
) -> HypothesisSet:
    """Propose, measure and describe, chunk by chunk, on the device of the body; the set is on the CPU.

    Raises InputError for persons without truth, and where pixels are wanted, without crops.
    """
    parts = []
    count = len(examples.observation.box)
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        some = examples[numbers.start : numbers.stop].to(body.device)
        if some.annotation is None:
            raise InputError("groups with known errors need persons with truth")
        bodies = propose(some, numbers)
        errors = body_errors(body, bodies, some.annotation)
        described = scorer_input(body, bodies, some.observation, offsets, pixels=pixels)
        parts.append(HypothesisSet(described, errors).to("cpu"))
        logger.info("%d of %d groups", numbers.stop, count)
    return HypothesisSet.join(parts)
