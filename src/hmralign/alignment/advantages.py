"""Group-relative advantages: a hypothesis' reward against the others of its group.

Source: Shao et al. 2024 (GRPO), sec. 4.1. The floor and its two uses are ours: judges that score in whole numbers tie.

Everything is computed in float64: rewards that nearly tie lose most of their digits when their mean is taken away, and
in float32 what is left, divided by a small spread, would no longer sum to zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.structures import InputError
from hmralign.structures.counted import counted

BelowFloor = Literal["drop", "divide", "add"]


def group_advantages(
    rewards: Float[Tensor, "*batch hyp"],
    *,
    normalize: bool = True,
    std_floor: float = 1e-3,
    below_floor: BelowFloor = "drop",
    clip: float | None = None,
) -> Float[Tensor, "*batch hyp"]:
    """(reward - mean) / std within each group, in the dtype of the rewards; without `normalize` only centred.

    A group whose standard deviation (population) is below `std_floor`, in units of the reward, has nothing to say: with
    `drop` its advantages are zero, with `divide` they are divided by the floor instead. With `add` there is no such
    line: the floor is added to every standard deviation, as the public GPA code adds 1e-8. Equal rewards give zeros,
    never NaN. Groups sum to zero, up to the rounding of each advantage, unless `clip` cuts them. Raises InputError for
    groups of fewer than two, rewards that are not finite, and a floor that is not positive.

    >>> group_advantages(torch.tensor([1.0, 2.0, 3.0]), normalize=False)
    tensor([-1.,  0.,  1.])
    """
    if rewards.shape[-1] < 2:
        raise InputError(f"a group has {counted(rewards.shape[-1], 'hypothesis')}; an advantage needs at least 2")
    if not bool(torch.isfinite(rewards).all()):
        raise InputError("a reward is NaN or infinite; score that hypothesis again or leave its group out")
    if not std_floor > 0:
        raise InputError(f"std_floor is {std_floor}; expected a positive number")
    centred, variance = _centred(rewards)
    advantages = centred
    if normalize and below_floor == "add":
        # Without the smallest number the root would have no gradient where all rewards are equal.
        advantages = centred / (variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt() + std_floor)
    elif normalize:
        advantages = centred / variance.clamp(min=std_floor**2).sqrt()  # clamped first: the root of 0 has no gradient
        if below_floor == "drop":
            advantages = torch.where(variance < std_floor**2, torch.zeros_like(advantages), advantages)
    return (advantages if clip is None else advantages.clamp(-clip, clip)).to(rewards.dtype)


def silent_groups(rewards: Float[Tensor, "*batch hyp"], std_floor: float = 1e-3) -> Bool[Tensor, "*batch"]:
    """Groups whose rewards are (almost) equal, to be counted and reported: those that `group_advantages` drops."""
    return _centred(rewards)[1][..., 0] < std_floor**2


def _centred(rewards: Float[Tensor, "*batch hyp"]) -> tuple[Float[Tensor, "*batch hyp"], Float[Tensor, "*batch 1"]]:
    """Rewards minus their group's mean, and their variance (population), in float64."""
    rewards = rewards.double()
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred, centred.square().mean(-1, keepdim=True)
