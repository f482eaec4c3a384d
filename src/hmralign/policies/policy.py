"""What alignment asks of a diffusion model of bodies, so that every objective trains any of them.

A policy is a `torch.nn.Module` that diffuses a vector x_0 per hypothesis; what is in the vector is its own business.
Four methods are enough for the objectives that compare losses (`sft`, `best_of_n`, `dpo`, `kto`, `group`). What needs
more asks for it by the further protocols here.

| protocol | gives | needed by |
| --- | --- | --- |
| `DiffusionPolicy` | losses, samples, bodies | every objective |
| `NoisePredictor` | the prediction itself | drift (KL), DiffusionNFT, `direct_reward`, x_0-hat losses |
| `PartedPolicy` | losses of parts of the vector | the two sigmoids of the public ADHMR code |
| `BodyEncoder` | x_0 of a body | truth, pseudo-labels and refined bodies as targets |
| `AugmentedPolicy` | variants of a context | cached contexts with augmentation |
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.diffusion.schedule import Schedule
from hmralign.structures import BodyParams, Hypotheses, InputError, Observation


@runtime_checkable
class DiffusionPolicy(Protocol):
    """A diffusion model of bodies. Contexts are its own type; they can be indexed by persons (`context[index]`)."""

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
    """A policy that can say which x_0 stands for a body."""

    def from_body(self, body: BodyParams, observation: Observation) -> Float[Tensor, "person hyp dims"]:
        """x_0 of bodies in the `cam` frame, axes (person, hyp)."""
        ...

    def refined(self, x_0: Float[Tensor, "person hyp dims"], observation: Observation) -> Tensor:
        """x_0 of the bodies moved onto the observed keypoints, each with its group as prior."""
        ...

    def mean(self, x_0: Float[Tensor, "person hyp dims"], observation: Observation, *, refine: bool) -> Tensor:
        """x_0 (person, 1, dims) of the one body that a group is fused into, moved onto the keypoints on request."""
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


def per_sample_loss(
    policy: DiffusionPolicy, x_0: Float[Tensor, "person hyp dims"], t: Int[Tensor, "person hyp"], eps: Tensor, context
) -> Float[Tensor, "person hyp"]:
    """`denoising_loss`, held to its contract. Raises InputError for a loss that is not per sample."""
    loss = policy.denoising_loss(x_0, t, eps, context)
    if tuple(loss.shape) != tuple(t.shape):
        raise InputError(
            f"the policy's denoising_loss has shape {tuple(loss.shape)}, expected one loss per sample, "
            f"{tuple(t.shape)}; a reduced loss cannot be weighed"
        )
    return loss
