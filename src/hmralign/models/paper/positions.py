"""Sinusoids that say which token, and which cell of the picture.

Source: Vaswani et al. 2017, sec. 3.5, as ScoreHypo (Xu et al. 2024) uses them. Token: sines first, then cosines,
frequencies from 1 to exactly 1/10000. Cell: half of the channels for its column and half for its row, sine and cosine
taking turns.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.models.denoiser import time_embedding


def token_positions(tokens: int, channels: int) -> Float[Tensor, "tokens channels"]:
    """One row for each token."""
    return time_embedding(torch.arange(tokens), channels)


def cell_positions(rows: int, columns: int, channels: int) -> Float[Tensor, "cells channels"]:
    """One row for each cell of a map, row by row. `channels` is a multiple of four."""
    half = channels // 2
    column = _alternating(columns, half)[None].expand(rows, columns, half)
    row = _alternating(rows, half)[:, None].expand(rows, columns, half)
    return torch.cat([column, row], -1).flatten(0, 1)


def _alternating(count: int, channels: int) -> Float[Tensor, "count channels"]:
    frequency = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    phase = torch.arange(count)[:, None] * frequency  # (count, channels / 2)
    return torch.stack([phase.sin(), phase.cos()], -1).flatten(1)
