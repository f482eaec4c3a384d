"""Local features: what the observed keypoints say of each joint, one token per joint.

Keypoints lie on the surface and are fewer and other points than the joints, so each joint has a learned query and
attends to the keypoints (Jaegle et al. 2021, *Perceiver*, sec. 3.1): which ones matter depends on which were seen.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_KEYPOINTS

HEADS = 2


class JointFeatures(nn.Module):
    """Per keypoint x, y, confidence, seen -> one feature per joint below the pelvis (28 tokens)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.keypoint = nn.Parameter(0.02 * torch.randn(NUM_KEYPOINTS, width))
        self.embed = nn.Linear(4, width)
        self.mix = nn.Linear(width, width)
        self.query = nn.Parameter(torch.randn(NUM_ALL_JOINTS - 1, width))
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, per_keypoint: Float[Tensor, "*batch 27 4"]) -> Float[Tensor, "*batch 28 width"]:
        """Embed and attend; any leading axes."""
        x = self.mix(nn.functional.silu(self.embed(per_keypoint) + self.keypoint))  # (*B, 27, W)
        key_value = self.key_value(x).view(-1, NUM_KEYPOINTS, 2, HEADS, x.shape[-1] // HEADS)  # (B, 27, 2, H, W/H)
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, 27, W/H)
        query = (
            self.query.unflatten(-1, (HEADS, -1)).transpose(0, 1).expand(key.shape[0], -1, -1, -1)
        )  # (B, H, 28, W/H)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)  # (B, H, 28, W/H)
        return self.norm(attended.transpose(1, 2).reshape(*x.shape[:-2], len(self.query), x.shape[-1]))
