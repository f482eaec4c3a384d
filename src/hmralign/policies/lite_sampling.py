"""How `lite` samples: observation -> group of hypotheses, all persons in one batched call.

Half of the group is sampled from the observation, the other half from its mirror image with the same noise and then
mirrored back. The group of a mirrored photo is therefore exactly the mirrored group, at no extra cost, and every noise
vector is used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import rest_joints
from hmralign.body.model import BodyModel
from hmralign.diffusion import ddim
from hmralign.diffusion.schedule import Schedule
from hmralign.models.context import Context, KeypointFeatures
from hmralign.models.denoiser import LiteConfig, Prepared
from hmralign.models.person_frame import PersonFrame, person_frame
from hmralign.models.pose_vector import POSE_DIM, PoseCodec
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError, Observation, PersonGroup

_LARGE_HALF = 5
"""Hypotheses of a half from which both halves are one batch. Products of fewer rows are rounded in another way, and
samples of a seed shall stay what they were when halves were run one after the other."""

Guidance = Callable[[Tensor, Tensor, bool], Tensor]
"""`(x_0, alpha_bar_t, mirrored) -> x_0`: may displace the predicted clean sample; told which half it is in."""


@runtime_checkable
class StepNetwork(Protocol):
    """What a step of sampling asks of a denoiser."""

    @property
    def schedule(self) -> Schedule:
        """Noise levels."""
        ...

    def prepare(self, context: Context) -> Prepared:
        """Project the context once for all steps and hypotheses."""
        ...

    def __call__(self, x_t: Tensor, t: Tensor, prepared: Prepared, /) -> Tensor:
        """eps of each sample."""
        ...


@runtime_checkable
class LiteNetworks(Protocol):
    """What sampling asks of a model: a `LiteModel`, or one that something else than torch computes."""

    @property
    def config(self) -> LiteConfig:
        """Its `clamp` bounds samples."""
        ...

    @property
    def codec(self) -> PoseCodec:
        """Statistics of poses."""
        ...

    @property
    def denoiser(self) -> StepNetwork:
        """What predicts noise."""
        ...

    def features(self, observation: Observation, frame: PersonFrame, *, mirrored: bool = False) -> KeypointFeatures:
        """What the encoder sees of persons, or of their mirror images."""
        ...

    def context(self, features: KeypointFeatures, /) -> Context:
        """Encode persons."""
        ...


def paired_noise(
    num_hypotheses: int, generator: torch.Generator | Sequence[torch.Generator]
) -> tuple[Float[Tensor, "*person plain 130"], Float[Tensor, "*person mirrored 130"]]:
    """Starting noise of the plain and the mirrored half; index 0 of each is the zero-noise mode.

    A person's answer does not depend on who else is in the photo: all share the noise of one generator, or each has the
    noise of its own.
    """
    if not isinstance(generator, torch.Generator):
        plain, mirrored = zip(*(paired_noise(num_hypotheses, own) for own in generator), strict=True)
        return torch.stack(plain), torch.stack(mirrored)
    pairs = (num_hypotheses + 1) // 2
    noise = torch.randn(pairs, POSE_DIM, generator=generator)
    noise[0] = 0
    return noise, noise[: num_hypotheses - pairs]


@torch.no_grad()
def sample_group(
    model: LiteNetworks,
    body: BodyModel,
    observation: Observation,
    config: SamplerConfig,
    generator: torch.Generator | Sequence[torch.Generator],
    guidance: Guidance | None = None,
) -> PersonGroup:
    """Sample M hypotheses for each of the observed persons (one batch axis), with one noise for all or one for each.

    Raises InputError for M < 1. Plain and mirrored hypotheses alternate, zero-noise modes first.
    """
    plain, mirrored = both_contexts(model, observation, person_frame(observation))
    x_0 = sample_vectors(model, plain, mirrored, config, generator, guidance)
    shape = shapes(plain, mirrored)[:, None].expand(-1, x_0.shape[1], -1)
    rotmats = model.codec.to_rotmats(x_0, rest_joints(body, shape))
    return PersonGroup(rotmats, shape)


@runtime_checkable
class _OfLite(Protocol):
    """A policy whose networks are of kind `lite`."""

    model: Any
    body: BodyModel


@torch.no_grad()
def propose(
    self: _OfLite,
    observation: Observation,
    sampler: SamplerConfig,
    generator: torch.Generator | Sequence[torch.Generator],
) -> PersonGroup:
    """M bodies per person, half of them from the mirror image.

    It is the `propose` of policies, with the noise of one generator, and their `propose_each`, with noise of its own
    for each person; either is one batch.
    """
    return sample_group(self.model, self.body, observation, sampler, generator)


def both_contexts(model: LiteNetworks, observation: Observation, frame: PersonFrame) -> tuple[Context, Context]:
    """What the model sees of each person, and of its mirror image."""
    plain, mirrored = (
        model.context(model.features(observation, frame, mirrored=mirrored)) for mirrored in (False, True)
    )
    return plain, mirrored


def shapes(plain: Context, mirrored: Context) -> Float[Tensor, "person betas"]:
    """One shape per person; a mirrored person has the same one."""
    return (plain.betas + mirrored.betas) / 2


@torch.no_grad()
def sample_vectors(
    model: LiteNetworks,
    plain: Context,
    mirrored: Context,
    config: SamplerConfig,
    generator: torch.Generator | Sequence[torch.Generator],
    guidance: Guidance | None = None,
) -> Float[Tensor, "person hyp 130"]:
    """Standardised pose vectors of M hypotheses per person, all as seen in the photo. Raises InputError for M < 1."""
    if config.num_hypotheses < 1:
        raise InputError(f"number of hypotheses must be at least 1, got {config.num_hypotheses}")
    prepared = [model.denoiser.prepare(context) for context in (plain, mirrored)]
    noise = [half.to(plain.betas.device) for half in paired_noise(config.num_hypotheses, generator)]
    if guidance is None and noise[1].shape[-2] >= _LARGE_HALF:
        halves = _run_together(model, prepared, noise, config)
    else:
        guides = [
            None if guidance is None else partial(_guided, guidance, is_mirrored) for is_mirrored in (False, True)
        ]
        each = zip(prepared, noise, guides, strict=True)
        halves = [_run(model, own, start, config, guide) for own, start, guide in each if start.shape[-2]]
    return _interleave([halves[0], *(model.codec.mirror(half) for half in halves[1:])])


def _run_together(
    model: LiteNetworks, prepared: list[Prepared], noise: list[Tensor], config: SamplerConfig
) -> list[Tensor]:
    """Both halves as one batch, which reads the weights once per step; the same numbers as one after the other."""
    persons, longer = len(prepared[0].modulation), noise[0]
    start = longer.expand(persons, *longer.shape[-2:])
    x_0 = _run(model, Prepared.cat(prepared), torch.cat([start, start]), config, None)
    return [x_0[:persons], x_0[persons:, : noise[1].shape[-2]]]  # of an odd number one more was run than is asked for


def _guided(guidance: Guidance, mirrored: bool, x_0: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return guidance(x_0, alpha_bar_t, mirrored)


def _run(
    model: LiteNetworks,
    prepared: Prepared,
    noise: Tensor,
    config: SamplerConfig,
    guidance: Callable[[Tensor, Tensor], Tensor] | None,
) -> Float[Tensor, "person half 130"]:
    per_hypothesis = prepared.per_hypothesis()
    x_T = noise.expand(len(prepared.modulation), *noise.shape[-2:])
    return ddim.sample(
        lambda x_t, t: model.denoiser(x_t, t, per_hypothesis),
        x_T,
        model.denoiser.schedule,
        num_steps=config.num_steps,
        clamp=model.config.clamp,
        guidance=guidance,
    )


def _interleave(halves: list[Tensor]) -> Float[Tensor, "person hyp 130"]:
    if len(halves) == 1:
        return halves[0]
    plain, mirrored = halves
    out = torch.empty(plain.shape[0], plain.shape[1] + mirrored.shape[1], plain.shape[2], device=plain.device)
    out[:, 0::2], out[:, 1::2] = plain, mirrored
    return out
