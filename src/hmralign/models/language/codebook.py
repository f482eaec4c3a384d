"""A codebook whose codes are running means of what was assigned to them; codes that nobody uses start anew.

    name in code     symbol in the source
    counts, sums     N_i, m_i
    decay            gamma

Source: van den Oord et al. 2017 (VQ-VAE), appendix A.1; dead codes are reset as in Dhariwal et al. 2020 (Jukebox).
Eq. 2 of the vision-language paper prints no term that moves the codes; this is what moves them here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_LEAST_COUNT = 1e-5
"""Keeps the mean of a code that nobody uses finite until it is reset."""


class Codebook(nn.Module):
    """Codes as buffers: no gradient moves them, `update` does."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(num_codes, dim))
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", self.codes.clone())

    def nearest(self, tokens: Float[Tensor, "*batch dim"]) -> Int[Tensor, "*batch"]:
        """Index of the code nearest to each token."""
        flat = tokens.flatten(0, -2)  # (N, D)
        # |t - c|^2 without |t|^2, which all codes share.
        distance = torch.addmm(self.codes.square().sum(-1), flat, self.codes.mT, alpha=-2)  # (N, codes)
        return distance.argmin(-1).reshape(tokens.shape[:-1])

    def forward(
        self, tokens: Float[Tensor, "*batch dim"], index: Int[Tensor, "*batch"] | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """The code of each token, the nearest one unless told; the gradient passes straight through to the token."""
        index = self.nearest(tokens) if index is None else index
        return tokens + (self.codes[index] - tokens).detach()

    @torch.no_grad()
    def update(
        self,
        tokens: Float[Tensor, "*batch dim"],
        index: Int[Tensor, "*batch"],
        *,
        decay: float,
        dead_below: float,
        generator: torch.Generator,
    ) -> float:
        """Move codes towards the tokens that have them, then reset codes of a mean count below `dead_below`.

        They become tokens of this batch, drawn at random.

        Returns the perplexity of this batch's use of the codes: 1 for a single code, their number for even use.
        """
        flat = tokens.detach().flatten(0, -2)  # (N, D)
        used = torch.bincount(index.flatten(), minlength=len(self.codes)).to(flat)
        self.counts.lerp_(used, 1 - decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, index.flatten(), flat), 1 - decay)
        self._reset(flat, dead_below, generator)
        self.codes.copy_(self.sums / self.counts.clamp(min=_LEAST_COUNT)[:, None])
        share = used / used.sum()
        return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))

    def _reset(self, flat: Float[Tensor, "n dim"], dead_below: float, generator: torch.Generator) -> None:
        dead = (self.counts < dead_below).nonzero()[:, 0]
        drawn = flat[torch.randint(len(flat), (len(dead),), generator=generator)]
        self.counts[dead] = 1.0
        self.sums[dead] = drawn
