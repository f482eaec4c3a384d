"""What the denoiser of views is told of the front: convolutions read the person off it, and all views hear of it.

Left to the loss of views, a transformer does not find out how the sides follow from the front: from its noisier times
little gradient comes, and the mean of all sides is a plateau. A reader alone stays on it; one that also learns to say
where the joints are (`joints`, a loss of base training alone) does not.
"""

from __future__ import annotations

import math
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import NUM_JOINTS
from hmralign.structures.multi_views import VIEW_CHANNELS


class FrontReader(nn.Module):
    """(front) -> a code of the whole person, and what each patch of each view begins with."""

    def __init__(self, code: int, views: int, places: int, patch: int, width: int) -> None:
        super().__init__()
        self.views, self.places = views, places
        halvings = int(math.log2(patch))
        channels = [VIEW_CHANNELS, *(max(8, width >> (halvings - 1 - step)) for step in range(halvings))]
        layers = [
            layer
            for before, after in pairwise(channels)
            for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU())
        ]
        last = nn.Linear(channels[-1] * places, code), nn.LayerNorm(code), nn.GELU()
        self.read = nn.Sequential(*layers, nn.Flatten(), *last)
        self.to_joints = nn.Linear(code, 3 * NUM_JOINTS)
        self.to_time = nn.Linear(code, width)
        self.to_places = nn.Sequential(nn.Linear(code, places * (width // 2)), nn.GELU())
        self.to_views = nn.Linear(width // 2, views * width)

    def forward(
        self, front: Float[Tensor, "n 4 h w"]
    ) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n view place width"]]:
        """What is added to the embedding of time, and to the patches of each view."""
        code = self.read(front)
        by_place = self.to_places(code).unflatten(-1, (self.places, -1))
        return self.to_time(code), self.to_views(by_place).unflatten(-1, (self.views, -1)).transpose(1, 2)

    def joints(self, front: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n 24 3"]:
        """Joints in metres from the middle of the body's bounding box, in the camera axes of the front."""
        return self.to_joints(self.read(front)).float().unflatten(-1, (NUM_JOINTS, 3))


def is_power_of_two(number: int) -> bool:
    """Whether halving ends at 1."""
    return number > 1 and not number & (number - 1)
