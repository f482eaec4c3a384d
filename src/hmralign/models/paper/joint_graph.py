"""Which joints and twists are near each other: the masks of HypoNet's layers.

Source: ScoreHypo (Xu et al. 2024), described in ADHMR (Shen et al. 2025), sec. 3.2: 52 tokens are a graph. A joint
touches its parent and children; a twist belongs to the joint where its bone ends, and touches that joint and all that
touch it; two twists touch where they have such a joint in common. Everything touches itself.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Bool
from torch import Tensor

from hmralign.body.skeleton import NUM_ALL_JOINTS, NUM_TWISTS, PARENTS

INPUT_HOPS = 2
"""How far in the graph the masked linear layers reach."""


def joint_adjacency() -> Bool[Tensor, "29 29"]:
    """Which joints touch."""
    touching = torch.eye(NUM_ALL_JOINTS, dtype=torch.bool)
    child = torch.arange(1, NUM_ALL_JOINTS)
    parent = torch.tensor(PARENTS[1:])
    touching[child, parent] = touching[parent, child] = True
    return touching


def token_adjacency() -> Bool[Tensor, "52 52"]:
    """Which tokens touch, joints first, then twists."""
    joints = joint_adjacency()
    joint_twist = joints[:, 1 : NUM_TWISTS + 1]  # (29, 23): column i is about joint i + 1, where bone i ends
    twists = (joint_twist.mT.float() @ joint_twist.float()) > 0  # (23, 23)
    return torch.cat([torch.cat([joints, joint_twist], 1), torch.cat([joint_twist.mT, twists], 1)], 0)


def within(adjacency: Bool[Tensor, "n n"], hops: int) -> Bool[Tensor, "n n"]:
    """Which nodes are at most so many steps apart."""
    return torch.matrix_power(adjacency.double(), hops) > 0


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # what is cached must serve autograd too
def input_masks() -> tuple[Bool[Tensor, "29 29"], Bool[Tensor, "23 23"]]:
    """Which blocks of the masked layers are kept: joints among joints, twists among twists."""
    with torch.device("cpu"):
        near = within(token_adjacency(), INPUT_HOPS)
    return near[:NUM_ALL_JOINTS, :NUM_ALL_JOINTS], near[NUM_ALL_JOINTS:, NUM_ALL_JOINTS:]


def hidden_tokens(hops: tuple[int, ...], *, twists: bool) -> Bool[Tensor, "blocks tokens tokens"]:
    """Per block, which tokens (columns) a token (row) does not see; without twists, among joints alone."""
    with torch.device("cpu"):
        adjacency = token_adjacency() if twists else joint_adjacency()
        return torch.stack([~within(adjacency, hop) for hop in hops])
