"""The deterministic counterpart of the lite model: same encoder, a residual MLP, one pose instead of a distribution.

It predicts the standardised pose vector by least squares, so where several poses fit it answers with their mean; what a
diffusion model must beat as a single answer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.models.context import KeypointEncoder, KeypointFeatures, ResidualMlp
from hmralign.models.lite import LiteConfig
from hmralign.models.pose_vector import POSE_DIM, PoseCodec


class PoseRegressor(nn.Module):
    """Observation -> standardised pose vector and shape, of the size of a lite model with the same configuration."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.codec = PoseCodec()
        self.encoder = KeypointEncoder(config.context_width, config.context_depth)
        # The denoiser's blocks, with the parameters of its conditioning spent on one more.
        self.widen = nn.Linear(config.context_width, config.width)
        self.blocks = nn.Sequential(*(ResidualMlp(config.width, config.hidden) for _ in range(config.depth + 1)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, POSE_DIM)

    def forward(self, features: KeypointFeatures) -> tuple[Float[Tensor, "*batch 130"], Float[Tensor, "*batch betas"]]:
        """Standardised pose vector and shape coefficients."""
        context = self.encoder(features)
        hidden = self.blocks(self.widen(nn.functional.silu(context.global_tokens[..., 0, :])))  # (*B, W)
        return self.head(self.norm(hidden)), context.betas


def regression_loss(
    model: PoseRegressor,
    features: KeypointFeatures,
    pose_vector: Float[Tensor, "n 130"],
    betas: Float[Tensor, "n betas"],
    betas_weight: float = 0.1,
) -> Float[Tensor, " n"]:
    """Squared error per person: mean over the standardised pose vector, plus the weighted mean over the shape."""
    x_0, shape = model(features)
    pose = (x_0 - model.codec.encode(pose_vector)).square().mean(-1)
    return pose + betas_weight * (shape - betas).square().mean(-1)


@torch.no_grad()
def mirrored_average(
    model: PoseRegressor, plain: KeypointFeatures, mirrored: KeypointFeatures
) -> tuple[Float[Tensor, "*batch 130"], Float[Tensor, "*batch betas"]]:
    """Mean of the answers to a photo and to its mirror image turned back, as the lite model's groups have it."""
    x, shape = model(plain)
    y, other = model(mirrored)
    return (x + model.codec.mirror(y)) / 2, (shape + other) / 2
