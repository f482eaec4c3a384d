"""What a multi-view model has to beat: views of another person, chosen without or with a look at the front.

| control | whose views | what it shows |
| --- | --- | --- |
| random | somebody's | what no look at all gives |
| central | the one nearest to all others, by joints | the best single answer |
| retrieval | the training person with the view that is nearest in pixels, turned to it | what memory gives |

The fourth is one call of the model itself (`one_step`). It is no regression that was trained as one. Whether sides say
anything of the front is asked by exchanging them alone (`with_sides_of_another`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.rendering.ring_persons import RingPersons
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.structures.multi_views import MultiViews


def retrieved(fronts: Float[Tensor, "person 4 h w"], bank: RingPersons) -> Float[Tensor, "person view 4 h w"]:
    """For each front the views of a bank's person, beginning at the one that is nearest in squared distance of pixels.

    The ring is evenly spaced; mirror images count too, as in training. InputError for an empty bank.
    """
    if len(bank.joints) == 0:
        raise InputError("there is no training person to retrieve")
    flat = fronts.float().flatten(1)
    best = fronts.new_full((len(fronts),), math.inf, dtype=torch.float32)
    found = bank.pixels[:1].expand(len(fronts), *bank.pixels.shape[1:]).float().clone()
    for pixels in (bank.pixels, MultiViews(bank.pixels).mirrored().pixels):
        for first in range(pixels.shape[1]):
            known = pixels[:, first].flatten(1)
            distances = torch.cat([torch.cdist(flat, some.float()) for some in known.split(2048)], 1)
            least, person = distances.min(1)
            nearer = least < best
            best = torch.where(nearer, least, best)
            found[nearer] = pixels[person[nearer]].roll(-first, 1).float()
    return found


def most_central(bank: RingPersons, among: int = 512) -> int:
    """The person with the least mean distance of joints to the others, root-relative, among the first so many."""
    joints = bank.joints[:among]
    joints = (joints - joints[:, :1]).flatten(1)
    return int(torch.cdist(joints, joints).mean(1).argmin())


def at_random(count: int, bank: RingPersons, seed: int) -> Int[Tensor, " person"]:
    """Somebody for each person."""
    return torch.randint(len(bank.joints), (count,), generator=seeded(seed, "random body"))


@torch.no_grad()
def one_step(policy: Any, persons: RingPersons, seed: int = 0) -> Float[Tensor, "person view 4 h w"]:
    """Views by one call at the last time, where x_t is noise alone: the regression that the network contains.

    Noise it must be: the network has seen nothing else at that time, and of zeros it makes no views.
    """
    made, draw = [], seeded(seed, "one step")
    for some in persons.pixels[:, 0].split(32):
        context = policy.context(some.float())
        x_T = torch.randn(len(some), 1, policy.dims, generator=draw)
        t = torch.full((len(some), 1), policy.schedule.num_steps - 1)
        made.append(policy.to_views(policy.predict_x_0(x_T, t, context))[:, 0])
    return torch.cat(made)


def with_sides_of_another(views: Float[Tensor, "person view 4 h w"]) -> Float[Tensor, "person view 4 h w"]:
    """Views of which all but front and back are the next person's. The ring has an even number of views."""
    exchanged, back = views.roll(1, 0), views.shape[1] // 2
    exchanged[:, 0], exchanged[:, back] = views[:, 0], views[:, back]
    return exchanged
