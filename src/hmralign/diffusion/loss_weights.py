"""Weight lambda_t of a squared noise error at a time, relative to the plain eps loss.

| kind | lambda_t | source |
| --- | --- | --- |
| `eps` | 1 | Ho et al. 2020, L_simple |
| `v` | 1 / alpha_bar_t, at most `limit`: the squared error of v | Salimans & Ho 2022, sec. 4 |
| `min_snr` | min(SNR_t, gamma) / SNR_t | Hang et al. 2023, eq. 8 |
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

LossWeight = Literal["eps", "v", "min_snr"]


def loss_weight(
    kind: LossWeight, alpha_bar: Float[Tensor, "*any"], *, gamma: float = 5.0, limit: float = 100.0
) -> Float[Tensor, "*any"]:
    """lambda_t at these alpha_bar_t.

    v = sqrt(ab) eps - sqrt(1 - ab) x_0, and at given x_t an error of eps moves x_0 by -sqrt((1 - ab) / ab) of it, so v
    by 1 / sqrt(ab) of it: hence the weight 1 / ab, which grows without bound towards pure noise and is cut at `limit`.
    """
    if kind == "v":
        return (1 / alpha_bar.clamp(min=1e-12)).clamp(max=limit)
    if kind == "min_snr":
        snr = alpha_bar / (1 - alpha_bar).clamp(min=1e-12)
        return (gamma / snr.clamp(min=1e-12)).clamp(max=1.0)
    return alpha_bar.new_ones(alpha_bar.shape)
