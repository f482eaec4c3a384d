"""How well a body's silhouette fills the observed low-resolution mask.

Soft intersection over union, sum(min) / sum(max), of shares of person per cell of the square crop around the box. The
segmenter sees clothes and hair, so even the true body does not reach 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.geometry.cameras import apply_affine, crop_affine, cropped_intrinsics
from hmralign.rendering.zbuffer import render
from hmralign.structures import MASK_SIZE, BodyParams, Example, Hypotheses, Observation

_FINE = 2 * MASK_SIZE
_BAND = 2
_BODIES_AT_ONCE = 64


def crop_silhouettes(
    body: BodyModel, params: BodyParams, box: Float[Tensor, "mesh 4"], K: Float[Tensor, "mesh 3 3"]
) -> Bool[Tensor, "mesh fine fine"]:
    """Silhouettes in the square crop around each box, at twice the resolution of `Observation.mask`.

    `params` have one batch axis and are in the `cam` frame of the full image.
    """
    return crop_silhouettes_of(vertices(body, params), body.faces, box, K)


def crop_silhouettes_of(
    mesh: Float[Tensor, "mesh vert 3"],
    faces: Int[Tensor, "face 3"],
    box: Float[Tensor, "mesh 4"],
    K: Float[Tensor, "mesh 3 3"],
) -> Bool[Tensor, "mesh fine fine"]:
    """`crop_silhouettes` of vertices (`cam`, metres)."""
    affine, _ = crop_affine(box, _FINE)
    seen = render(mesh, faces, cropped_intrinsics(K, affine), (_FINE, _FINE), ("silhouette",))
    assert seen.silhouette is not None
    return seen.silhouette


def cells_inside_image(box: Float[Tensor, "person 4"], image_size: tuple[int, int]) -> Bool[Tensor, "person fine fine"]:
    """Fine cells of the crop whose centre is inside the image of (width, height) pixels."""
    _, A_image_crop = crop_affine(box, _FINE)
    steps = torch.arange(_FINE, dtype=box.dtype, device=box.device)
    cells = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).flatten(0, 1)
    pixels = apply_affine(A_image_crop, cells.expand(len(box), -1, 2))
    border = torch.tensor(image_size, dtype=box.dtype, device=box.device) - 0.5
    return ((pixels > -0.5) & (pixels < border)).all(-1).unflatten(1, (_FINE, _FINE))


def cells_near_mask(mask: Float[Tensor, "person mask_h mask_w"]) -> Bool[Tensor, "person fine fine"]:
    """Fine cells within the bounding box of each mask, widened by two coarse cells."""

    def span(occupied: Bool[Tensor, "person n"]) -> Bool[Tensor, "person n"]:
        index = torch.arange(MASK_SIZE, device=mask.device)
        low = torch.where(occupied, index, MASK_SIZE).amin(-1, keepdim=True)
        high = torch.where(occupied, index, -1).amax(-1, keepdim=True)
        return (index >= low - _BAND) & (index <= high + _BAND) & (high >= 0)

    rows, columns = span((mask > 0).any(-1)), span((mask > 0).any(-2))
    coarse = rows[:, :, None] & columns[:, None, :]
    return coarse.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


@dataclass(frozen=True)
class SilhouetteCritic:
    """Soft IoU in [0, 1] of the observed mask and each hypothesis' silhouette; use the small body for speed.

    Where nobody can be seen, nothing is held against a hypothesis. With `image_size` (width, height), the same for
    all persons, cells outside the image do not count. Without it only cells in the bounding box of the mask, widened
    by two cells, count: whatever cut the person off lies just beyond its mask, and a limb that sticks out is still
    noticed. Parts hidden behind other things are not known, and count against hypotheses that put a limb there.

    Persons without a mask, or with an empty one, cannot be judged and get zeros.
    """

    body: BodyModel
    image_size: tuple[int, int] | None = None

    name = "silhouette"
    needs_truth = False

    def can_judge(self, example: Example) -> Bool[Tensor, " person"]:
        """Persons with a mask that is not empty."""
        observation = example.observation
        return observation.has_mask & (observation.mask > 0).flatten(1).any(-1)

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores in [0, 1]."""
        scores = hypotheses.joints.new_zeros(hypotheses.joints.shape[:2])
        for person in self.can_judge(example).nonzero()[:, 0].tolist():
            scores[person] = self._of_person(hypotheses.body[person], example.observation[person : person + 1])
        return scores

    def _of_person(self, bodies: BodyParams, observation: Observation) -> Float[Tensor, " hyp"]:
        """`bodies` have the axis hyp, `observation` a person axis of size 1."""
        counted = self._counted_cells(observation)
        parts = []
        for start in range(0, bodies.batch_shape[0], _BODIES_AT_ONCE):
            chunk = bodies[start : start + _BODIES_AT_ONCE]
            n = chunk.batch_shape[0]
            seen = crop_silhouettes(self.body, chunk, observation.box.expand(n, 4), observation.K.expand(n, 3, 3))
            shares = avg_pool2d((seen & counted).to(observation.mask), 2)
            parts.append(_soft_iou(shares, observation.mask))
        return torch.cat(parts)

    def _counted_cells(self, observation: Observation) -> Bool[Tensor, "1 fine fine"]:
        if self.image_size is None:
            return cells_near_mask(observation.mask)
        return cells_inside_image(observation.box, self.image_size)


def _soft_iou(a: Float[Tensor, "*#batch h w"], b: Float[Tensor, "*#batch h w"]) -> Float[Tensor, "*batch"]:
    return torch.minimum(a, b).sum((-2, -1)) / torch.maximum(a, b).sum((-2, -1))
