"""The one idea of a model, in two halves: what denoises, and what proposes bodies for observed persons.

| protocol | gives | needed by |
| --- | --- | --- |
| `BodyProposer` | bodies of observed persons, by diffusion or otherwise | `recover`, `evaluate`, studies |
| `Denoiser` | losses and samples of any vector x_0, a body, an image, views of one | objectives that compare losses |
| `DiffusionPolicy` | both, and the body that an x_0 stands for | preference groups, alignment |
| `NoisePredictor` | the prediction itself | drift (KL), DiffusionNFT, `direct_reward`, x_0-hat losses |
| `PartedPolicy` | losses of parts of the vector | the two sigmoids of the public ADHMR code |
| `BodyEncoder` | x_0 of a body | truth, pseudo-labels and refined bodies as targets |
| `AugmentedPolicy` | variants of a context | cached contexts with augmentation |
| `PersonSampler` | samples of many persons with noise of their own at once | preference groups, sooner |
| `PersonProposer` | bodies of many persons with noise of their own at once | `evaluate`, sooner |
| `SavedPolicy` | a checkpoint of itself | `hmralign align` |
| `PixelPolicy` | how large the crops are that it looks at | whoever observes persons for it |

A policy says what it can by having the methods. Most are a `torch.nn.Module`; what is in the diffused vector is their
own business. `examples/foreign_denoiser.py` wraps a model that knows nothing of this package in about 40 lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.model import BodyModel
from hmralign.diffusion.schedule import Schedule
from hmralign.fitting.evidence import KeypointNoise
from hmralign.structures import BodyParams, Hypotheses, InputError, Observation, PersonGroup


@dataclass(frozen=True)
class SamplerConfig:
    """How hypotheses are sampled."""

    num_hypotheses: int = 100
    """M, per person; the first is the zero-noise mode."""
    num_steps: int = 5
    """Denoiser calls per hypothesis (DDIM, eta 0)."""


@runtime_checkable
class BodyProposer(Protocol):
    """What proposes bodies for observed persons."""

    @property
    def body(self) -> BodyModel:
        """Whose rotations and shapes are proposed, on the device where the policy works."""
        ...

    def propose(self, observation: Observation, sampler: SamplerConfig, generator: torch.Generator) -> PersonGroup:
        """M bodies for each of the persons (one axis), person frame, without gradients.

        The same generator state gives the same bodies, and a person's do not depend on who else is asked for. Raises
        InputError for M < 1.
        """
        ...


@runtime_checkable
class Denoiser(Protocol):
    """A diffusion model of vectors. Contexts are its own type; they can be indexed by persons (`context[index]`)."""

    @property
    def schedule(self) -> Schedule:
        """Noise levels; times t are indices into it."""
        ...

    @property
    def denoiser(self) -> nn.Module:
        """The part that alignment trains unless told otherwise."""
        ...

    def context(self, observation: Observation) -> Any:
        """All that the denoiser sees of persons (one axis)."""
        ...

    def denoising_loss(
        self, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context: Any
    ) -> Float[Tensor, "person hyp"]:
        """Mean over dims of |eps - eps_theta(x_t, t, context)|^2, one number per sample, with gradients."""
        ...

    def sample(self, context: Any, num_hypotheses: int, generator: torch.Generator) -> Float[Tensor, "person hyp dims"]:
        """Clean samples x_0, without gradients; the same generator state gives the same samples."""
        ...


@runtime_checkable
class DiffusionPolicy(Denoiser, BodyProposer, Protocol):
    """A diffusion model of bodies: what groups are sampled from and alignment trains."""

    def to_body(self, x_0: Float[Tensor, "person hyp dims"], observation: Observation) -> Hypotheses:
        """Bodies in the `cam` frame, metres. Must be differentiable for `direct_reward`."""
        ...


@runtime_checkable
class NoisePredictor(Protocol):
    """A policy that shows its prediction."""

    def predict_noise(
        self, x_t: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], context: Any
    ) -> Float[Tensor, "person hyp dims"]:
        """eps_theta(x_t, t, context)."""
        ...


@runtime_checkable
class PartedPolicy(Protocol):
    """A policy whose vector has parts with losses of their own, such as joints and twists."""

    def part_losses(
        self, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context: Any
    ) -> Float[Tensor, "person hyp parts"]:
        """Mean squared noise error over each part."""
        ...


@runtime_checkable
class BodyEncoder(Protocol):
    """A policy that can say which x_0 stands for a body, and which body an x_0 stands for."""

    @property
    def body(self) -> BodyModel:
        """The body that is posed."""
        ...

    @property
    def noise(self) -> KeypointNoise:
        """The noise of the keypoints that bodies are placed by."""
        ...

    def from_body(self, body: BodyParams, observation: Observation) -> Float[Tensor, "person hyp dims"]:
        """x_0 of bodies in the `cam` frame, axes (person, hyp)."""
        ...

    def to_group(self, x_0: Float[Tensor, "person hyp dims"], observation: Observation) -> PersonGroup:
        """Bodies in the person frame."""
        ...

    def from_group(self, group: PersonGroup, observation: Observation) -> Float[Tensor, "person hyp dims"]:
        """x_0 of bodies in the person frame."""
        ...


@runtime_checkable
class AugmentedPolicy(Protocol):
    """A policy that can see a person in several ways, such as mirrored. Variant 0 changes nothing."""

    def context_variant(self, observation: Observation, variant: int) -> Any:
        """Context of one variant, variant = 0, 1, 2, ...; pure: the same variant gives the same context."""
        ...

    def x_0_variant(self, x_0: Float[Tensor, "person hyp dims"], variant: int) -> Tensor:
        """What a sample looks like in that variant; its own inverse."""
        ...


@runtime_checkable
class SavedPolicy(Protocol):
    """A policy that writes itself into a file that its own loader reads."""

    def save(self, path: Path, sources: tuple[str, ...]) -> Path:
        """Write the weights whole or not at all; `sources` say what they were trained on. Returns where they are."""
        ...


@runtime_checkable
class PixelPolicy(Protocol):
    """A policy that looks at the pixels of a person's crop; one without this never gets them."""

    @property
    def crop_side(self) -> int:
        """Side of the crops that it wants, pixels."""
        ...


def crop_side(policy: Any) -> int | None:
    """Side of the crops that a policy looks at; None for one that does not look at pixels."""
    return policy.crop_side if isinstance(policy, PixelPolicy) else None


@runtime_checkable
class PersonSampler(Protocol):
    """A policy that samples many persons at once, each from a generator of its own."""

    def sample_each(
        self, context: Any, num_hypotheses: int, generators: Sequence[torch.Generator]
    ) -> Float[Tensor, "person hyp dims"]:
        """As `sample`; what is drawn for a person depends on its generator alone, one for each person."""
        ...


@runtime_checkable
class PersonProposer(Protocol):
    """A policy that proposes bodies for many persons at once, each from a generator of its own."""

    def propose_each(
        self, observation: Observation, sampler: SamplerConfig, generators: Sequence[torch.Generator]
    ) -> PersonGroup:
        """As `propose`; what is drawn for a person depends on its generator alone, one for each person."""
        ...


@runtime_checkable
class ContextBodies(Protocol):
    """A policy whose bodies need the context, and which need not encode the persons again where it is at hand."""

    def to_body_in(self, x_0: Float[Tensor, "person hyp dims"], observation: Observation, context: Any) -> Hypotheses:
        """As `to_body`; `context` is that of the observation."""
        ...


def bodies_in(
    policy: DiffusionPolicy, x_0: Float[Tensor, "person hyp dims"], observation: Observation, context: Any
) -> Hypotheses:
    """`to_body` of samples whose context is at hand."""
    if isinstance(policy, ContextBodies):
        return policy.to_body_in(x_0, observation, context)
    return policy.to_body(x_0, observation)


def propose_each(
    policy: BodyProposer, observation: Observation, sampler: SamplerConfig, generators: Sequence[torch.Generator]
) -> PersonGroup:
    """Bodies of each person from a generator of its own: all at once by a `PersonProposer`, else one by one."""
    if isinstance(policy, PersonProposer):
        return policy.propose_each(observation, sampler, generators)
    alone = [policy.propose(observation[i : i + 1], sampler, each) for i, each in enumerate(generators)]
    return PersonGroup.cat(alone)


def sample_each(
    policy: Denoiser, context: Any, num_hypotheses: int, generators: Sequence[torch.Generator]
) -> Float[Tensor, "person hyp dims"]:
    """Samples of each person from a generator of its own: all at once by a `PersonSampler`, else one by one."""
    if isinstance(policy, PersonSampler):
        return policy.sample_each(context, num_hypotheses, generators)
    alone = [policy.sample(context[i : i + 1], num_hypotheses, each) for i, each in enumerate(generators)]
    return torch.cat(alone)


def per_sample_loss(
    policy: Denoiser, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context
) -> Float[Tensor, "person hyp"]:
    """`denoising_loss`, held to its contract. Raises InputError for a loss that is not per sample."""
    loss = policy.denoising_loss(x_0, t, eps, context)
    if tuple(loss.shape) != tuple(t.shape):
        raise InputError(
            f"the policy's denoising_loss has shape {tuple(loss.shape)}, expected one loss per sample, "
            f"{tuple(t.shape)}; a reduced loss cannot be weighed"
        )
    return loss


def state_hash(policy: nn.Module) -> str:
    """SHA-256 of a policy's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(policy.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
