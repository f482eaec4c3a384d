"""The latent space of poses: a VQ-VAE over the rotations of 24 joints, and the plain autoencoder it is measured by.

    name in code            symbol in the paper
    encode, decode          E_p, D_p
    codebook                Z
    rotmats                 theta

Source: eq. 2 of "Adapting Human Mesh Recovery with Vision-Language Feedback" (III.C), van den Oord et al. 2017. The
paper says neither how many tokens nor codes there are.

The root rotation is kept as the camera sees it, heading included: descriptions of a photo say which hand is nearer to
the camera and whether the person is turned away, and a space without heading could not hold them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.geometry.rotations import rot6d_to_rotmat, rotmat_to_rot6d
from hmralign.models.context import ResidualMlp
from hmralign.models.language.codebook import Codebook
from hmralign.structures import InputError

ROT6D = NUM_JOINTS * 6
"""Numbers of a pose: two columns of the rotation of each joint."""


@dataclass(frozen=True)
class PoseSpaceConfig:
    """Size of the space and of its networks."""

    width: int = 256
    """Channels."""
    depth: int = 3
    """Residual blocks of the encoder, and of the decoder."""
    tokens: int = 64
    """Tokens of a pose."""
    code_dim: int = 4
    """Numbers of a token."""
    codes: int = 512
    """Codes that all tokens share; 0 is the plain autoencoder of the same latent size."""

    def __post_init__(self) -> None:
        """Raise InputError for sizes without meaning."""
        if min(self.width, self.depth, self.tokens, self.code_dim) < 1 or self.codes < 0:
            raise InputError("pose space: width, depth, tokens and code_dim must be at least 1, codes not negative")

    @property
    def latent(self) -> int:
        """Numbers of a latent."""
        return self.tokens * self.code_dim


def _tower(inputs: int, outputs: int, config: PoseSpaceConfig) -> nn.Sequential:
    blocks = (ResidualMlp(config.width, 2 * config.width) for _ in range(config.depth))
    return nn.Sequential(
        nn.Linear(inputs, config.width), *blocks, nn.LayerNorm(config.width), nn.Linear(config.width, outputs)
    )


class PoseSpace(nn.Module):
    """Poses to latents and back. `rotmats` are parent-relative, the root first, in `cam` (y down) axes."""

    def __init__(self, config: PoseSpaceConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _tower(ROT6D, config.latent, config)
        self.decoder = _tower(config.latent, ROT6D, config)
        self.codebook = Codebook(config.codes, config.code_dim) if config.codes else None

    def encode(self, rotmats: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch latent"]:
        """Latent before quantisation: continuous in the rotations, and differentiable."""
        return self.encoder(rotmat_to_rot6d(rotmats).flatten(-2))

    def decode(self, latent: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch 24 3 3"]:
        """Rotations of any latent, quantised or not."""
        return rot6d_to_rotmat(self.decoder(latent).unflatten(-1, (NUM_JOINTS, 6)))

    def split(self, latent: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch tokens dim"]:
        """The tokens of a latent."""
        return latent.unflatten(-1, (self.config.tokens, self.config.code_dim))

    def quantize(self, latent: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """Each token's nearest code, the gradient passing straight through; the latent itself without a codebook."""
        return latent if self.codebook is None else self.codebook(self.split(latent)).flatten(-2)

    def codes(self, rotmats: Float[Tensor, "*batch 24 3 3"]) -> Int[Tensor, "*batch tokens"]:
        """Indices of the codes of poses. Raises InputError for a space without a codebook."""
        if self.codebook is None:
            raise InputError("a plain autoencoder has no codes; expected a pose space with `codes` > 0")
        return self.codebook.nearest(self.split(self.encode(rotmats)))

    def forward(self, rotmats: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
        """Poses through the whole model."""
        return self.decode(self.quantize(self.encode(rotmats)))


def mirrored_rotmats(rotmats: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """The pose that a mirror shows: S R S with S = diag(-1, 1, 1), sides exchanged."""
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=rotmats.dtype, device=rotmats.device)
    return rotmats[..., list(MIRROR_JOINTS[:NUM_JOINTS]), :, :] * flip[:, None] * flip
