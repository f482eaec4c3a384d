"""SynthWild's persons as pictures: the square crop around each box, drawn with cloth, light, background and disturbers.

    body as observed -> mesh in cloth -> z-buffer -> colour x light -> over a background -> occluders -> camera effects

A picture agrees with the observation: what was reported as hidden is covered (mostly), and what lies outside the photo
is black. Not shown: hair that hangs, skirts and coats, hands that hold things; shadows fall on the floor only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from hmralign.body.lbs import vertices_from_fk
from hmralign.body.model import BodyModel
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.data.synthetic.generator import SeenBody
from hmralign.geometry.cameras import apply_affine, crop_affine, cropped_intrinsics, project
from hmralign.rendering.scenes.appearance import Appearance, AppearanceMix, draw_appearance
from hmralign.rendering.scenes.background import cut_from, procedural
from hmralign.rendering.scenes.camera_effects import EffectMix, with_effects
from hmralign.rendering.scenes.lighting import Light, draw_light, lit, shadow_points
from hmralign.rendering.scenes.surface import albedo, stand_off
from hmralign.rendering.zbuffer import render, vertex_normals
from hmralign.structures import Example, InputError

AT_ONCE = 64
"""Persons drawn together: bounds memory, and neighbours in it stand beside each other."""

JOINT_NEAR = {11: 1, 12: 2, 13: 4, 14: 5, 15: 7, 16: 8, 5: 16, 6: 17, 7: 18, 8: 19, 9: 20, 10: 21, 0: 15}
"""Keypoint -> joint near it."""


@dataclass(frozen=True)
class SceneMix:
    """What is around persons and before them. Shares are probabilities."""

    looks: AppearanceMix = field(default_factory=AppearanceMix)
    effects: EffectMix = field(default_factory=EffectMix)
    shadow: float = 0.5
    """Pictures with a shadow on the floor."""
    beside: float = 0.2
    """Pictures with somebody else, behind or in front."""
    in_front: float = 0.25
    """Share of other people who stand in front."""
    cover_hidden: float = 0.8
    """Persons whose hidden keypoints are covered by something."""
    thing_in_front: float = 0.15
    """Pictures with a bar or box before the person, whatever is hidden."""
    pixelated_face: float = 0.1
    own_backgrounds: float = 0.5
    """Share of the user's pictures as background, where some are given."""


def rendered_crops(
    body: BodyModel,
    example: Example,
    seen: SeenBody,
    size: int,
    mix: SceneMix,
    generator: torch.Generator,
    backgrounds: Sequence[UInt8[Tensor, "3 _ _"]] = (),
) -> UInt8[Tensor, "n 3 size size"]:
    """RGB crops of persons as observed, as `Observation.crop` wants them.

    Image sizes are twice the principal point, as the generator makes them. Raises InputError for examples without
    truth.
    """
    if example.annotation is None:
        raise InputError("pictures are drawn of annotated persons; the example has no annotation")
    parts = []
    for index in torch.arange(len(example.observation.box)).split(AT_ONCE):
        scene = _Scene(body, example[index], seen[index], size, mix, generator, backgrounds)
        parts.append(with_effects(scene.picture(), mix.effects, generator))
    outside = ~inside_photo(example, size)
    return torch.cat(parts).masked_fill(outside[:, None], 0)


def inside_photo(example: Example, size: int) -> Bool[Tensor, "n size size"]:
    """Pixels of the crops that lie inside the photo."""
    image = 2 * example.observation.K[:, :2, 2] + 1  # (n, 2)
    _, back = crop_affine(example.observation.box, size)
    along = torch.arange(size, dtype=torch.float32)
    pixels = apply_affine(back, torch.stack([along, along], dim=-1).expand(len(back), -1, 2))  # (n, size, 2)
    inside = (pixels > -0.5) & (pixels < image[:, None] - 0.5)
    return inside[:, None, :, 0] & inside[:, :, None, 1]


class _Scene:
    """One batch of pictures on the way."""

    def __init__(self, body, example, seen, size, mix: SceneMix, generator, backgrounds) -> None:
        self.body, self.example, self.seen, self.size, self.mix = body, example, seen, size, mix
        self.generator, self.backgrounds = generator, backgrounds
        self.n = len(example.observation.box)
        self.looks: Appearance = draw_appearance(self.n, mix.looks, generator)
        self.light: Light = draw_light(self.n, generator)
        A, _ = crop_affine(example.observation.box, size)
        self.A, self.K = A, cropped_intrinsics(example.observation.K, A)

    def picture(self) -> Float[Tensor, "n 3 size size"]:
        """Everything but the camera's own effects."""
        vertices = self._mesh()
        color, alpha = self._layer(vertices)
        picture = self._shadowed(self._background(), vertices)
        beside, front, other, other_alpha = self._somebody_else(color, alpha)
        picture = torch.where((beside & ~front)[:, None, None, None] & other_alpha, other, picture)
        picture = torch.where(alpha, color, picture)
        picture = torch.where((beside & front)[:, None, None, None] & other_alpha, other, picture)
        covered = self._covered()[:, None]
        return torch.where(covered, self._coverings(), picture)

    def _happens(self, share: float) -> Bool[Tensor, " n"]:
        return torch.rand(self.n, generator=self.generator) < share

    def _mesh(self) -> Float[Tensor, "n vert 3"]:
        """Bodies as observed, in cloth that stands off them."""
        body, params = self.body, self.example.annotation.body
        mesh = vertices_from_fk(body, params.betas, params.body_pose, self.seen.global_rotmats, self.seen.joints)
        away = stand_off(body.v_template, body.weights, self.looks)
        return mesh + away[..., None] * vertex_normals(mesh, body.faces)

    def _layer(self, vertices: Tensor) -> tuple[Float[Tensor, "n 3 size size"], Bool[Tensor, "n 1 size size"]]:
        """Coloured and lit persons, and where they are seen."""
        out = render(
            vertices, self.body.faces, self.K, (self.size, self.size), ("normals", "face_index", "barycentric")
        )
        assert out.face_index is not None and out.barycentric is not None and out.normals is not None
        seen = out.face_index.flatten() >= 0
        at = seen.nonzero()[:, 0]
        person = at // self.size**2
        corners = self.body.faces.long()[out.face_index.flatten()[at].long()]  # (point, 3)
        weights = out.barycentric.view(-1, 3)[at]
        rest = (self.body.v_template[corners] * weights[..., None]).sum(1)
        color = lit(albedo(rest, person, self.looks), out.normals.view(-1, 3)[at], person, self.light)
        layer = torch.zeros(self.n * self.size**2, 3)
        layer[at] = color
        layer = layer.view(self.n, self.size, self.size, 3).permute(0, 3, 1, 2)
        alpha = seen.view(self.n, 1, self.size, self.size)
        return self._pixelated(layer), alpha

    def _pixelated(self, layer: Tensor) -> Tensor:
        """Some heads in blocks, as faces are made unrecognisable."""
        chosen = self._happens(self.mix.pixelated_face).nonzero()[:, 0]
        if len(chosen) == 0:
            return layer
        ends = project(self.seen.joints[chosen][:, [15, 24]], self.K[chosen])  # (chosen, 2, 2)
        reach = 1.1 * (ends[:, 1] - ends[:, 0]).norm(dim=-1)[:, None].clamp(min=2)
        grid, middle = torch.arange(self.size, dtype=torch.float32), ends.mean(1)
        across, down = ((grid - middle[:, axis, None]).abs() < reach for axis in (0, 1))  # each (chosen, size)
        near = across[:, None, None, :] & down[:, None, :, None]
        part = layer[chosen]
        coarse = interpolate(avg_pool2d(part, max(1, self.size // 24), ceil_mode=True), size=(self.size, self.size))
        return layer.index_copy(0, chosen, torch.where(near, coarse, part))

    def _background(self) -> Float[Tensor, "n 3 size size"]:
        made = procedural(self.n, self.size, self.generator)
        own = self._happens(self.mix.own_backgrounds)
        if len(self.backgrounds) == 0 or not bool(own.any()):
            return made
        made[own] = cut_from(self.backgrounds, int(own.sum()), self.size, self.generator)
        return made

    def _shadowed(self, picture: Tensor, vertices: Tensor) -> Tensor:
        """A soft shadow on the floor under the person."""
        chosen = self._happens(self.mix.shadow).nonzero()[:, 0]
        strength = (0.3 + 0.6 * torch.rand(self.n, generator=self.generator))[chosen]
        if len(chosen) == 0:
            return picture
        pitch = self.seen.pitch[chosen]
        up = torch.stack([torch.zeros_like(pitch), -pitch.cos(), -pitch.sin()], dim=-1)
        fallen = shadow_points(vertices[chosen], up, self.light[chosen])
        half = self.size // 2
        K = cropped_intrinsics(
            self.K[chosen], torch.tensor([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]).expand(len(chosen), 2, 3)
        )
        out = render(fallen, self.body.faces, K, (half, half), ("silhouette",))
        assert out.silhouette is not None
        soft = avg_pool2d(out.silhouette[:, None].float(), 5, stride=1, padding=2)
        dark = 1 - strength[:, None, None, None] * interpolate(soft, size=(self.size, self.size), mode="bilinear")
        return picture.index_copy(0, chosen, picture[chosen] * dark)

    def _somebody_else(self, color: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Whether there is another person, whether in front, and that person's layer, moved aside."""
        beside, front = self._happens(self.mix.beside), self._happens(self.mix.in_front)
        share = 0.2 + 0.4 * torch.rand(self.n, generator=self.generator)
        sign = torch.where(self._happens(0.5), -1.0, 1.0)
        moved = (share * sign * self.size).round().long()
        column = torch.arange(self.size) - moved[:, None]  # (n, size): where each column comes from
        there = (column >= 0) & (column < self.size)
        index = column.clamp(0, self.size - 1)[:, None, None, :]
        other = color.roll(1, dims=0).gather(3, index.expand(-1, 3, self.size, -1))
        other_alpha = alpha.roll(1, dims=0).gather(3, index.expand(-1, 1, self.size, -1)) & there[:, None, None]
        return beside, front, other, other_alpha

    def _covered(self) -> Bool[Tensor, "n size size"]:
        """Pixels that something hides: around hidden keypoints, and now and then a bar or box anywhere."""
        cells = 24
        joints = project(self.seen.joints[:, list(JOINT_NEAR.values())], self.K)
        hidden = self.example.observation.confidence[:, list(JOINT_NEAR)] <= MIN_CONFIDENCE
        step = self.size / cells
        centre = (torch.arange(cells) + 0.5) * step - 0.5
        grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1).flatten(0, 1)  # (cell, 2)
        distance, nearest = torch.cdist(grid.expand(self.n, -1, 2), joints).min(-1)
        cover = hidden.gather(1, nearest) & (distance < 0.16 * self.size)
        # A person without any keypoint was named by a box: nothing is known to be hidden.
        cover &= (~hidden).any(-1, keepdim=True) & self._happens(self.mix.cover_hidden)[:, None]
        coarse = cover.view(self.n, 1, cells, cells).float()
        fine = interpolate(max_pool2d(coarse, 3, 1, 1), size=(self.size, self.size), mode="bilinear")[:, 0] > 0.45
        return fine | self._things()

    def _things(self) -> Bool[Tensor, "n size size"]:
        """Bars and boxes."""
        low = torch.rand(self.n, 2, generator=self.generator) * self.size
        extent = (0.06 + 0.25 * torch.rand(self.n, 2, generator=self.generator)) * self.size
        high = torch.where(self._happens(0.3)[:, None] & torch.tensor([True, False]), 2.0 * self.size, low + extent)
        grid = torch.arange(self.size, dtype=torch.float32)
        inside = (grid >= low[..., None]) & (grid < high[..., None])  # (n, 2, size)
        box = inside[:, 0, None, :] & inside[:, 1, :, None]
        return box & self._happens(self.mix.thing_in_front)[:, None, None]

    def _coverings(self) -> Float[Tensor, "n 3 size size"]:
        return procedural(self.n, self.size, self.generator)
