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
from hmralign.rendering.scenes.background import cut_from, draw_walls
from hmralign.rendering.scenes.camera_effects import EffectMix, draw_effects
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
        effects = draw_effects(len(index), size, mix.effects, generator)
        parts.append(effects.applied(scene.pictures()))
    return torch.cat(parts).mul_(inside_photo(example, size)[:, None])


def inside_photo(example: Example, size: int) -> Bool[Tensor, "n size size"]:
    """Pixels of the crops that lie inside the photo."""
    image = 2 * example.observation.K[:, :2, 2] + 1  # (n, 2)
    _, back = crop_affine(example.observation.box, size)
    along = torch.arange(size, dtype=torch.float32)
    pixels = apply_affine(back, torch.stack([along, along], dim=-1).expand(len(back), -1, 2))  # (n, size, 2)
    inside = (pixels > -0.5) & (pixels < image[:, None] - 0.5)
    return inside[:, None, :, 0] & inside[:, :, None, 1]


class _Scene:
    """One batch of pictures on the way.

    Everything random is drawn at the start, in one order, so that only those pixels are made which are seen.
    """

    def __init__(self, body, example, seen, size, mix: SceneMix, generator, backgrounds) -> None:
        self.body, self.seen, self.size, self.generator = body, seen, size, generator
        self.n = len(example.observation.box)
        self.looks: Appearance = draw_appearance(self.n, mix.looks, generator)
        self.light: Light = draw_light(self.n, generator)
        A, _ = crop_affine(example.observation.box, size)
        self.K = cropped_intrinsics(example.observation.K, A)
        self.pixelated = self._happens(mix.pixelated_face)
        self.walls = draw_walls(self.n, generator)
        self.own = self._own_backgrounds(mix, backgrounds)
        self.shadow = self._happens(mix.shadow) * (0.3 + 0.6 * torch.rand(self.n, generator=generator))
        beside, in_front = self._happens(mix.beside), self._happens(mix.in_front)
        self.behind, self.in_front = beside & ~in_front, beside & in_front
        share = 0.2 + 0.4 * torch.rand(self.n, generator=generator)
        sign = torch.where(self._happens(0.5), -1.0, 1.0)
        self.moved = (share * sign * size).round().long()
        self.covered = self._covered(example, mix)
        self.coverings = draw_walls(self.n, generator)
        self.vertices = self._mesh(example)
        self.color, self.alpha = self._layer()

    def _happens(self, share: float) -> Bool[Tensor, " n"]:
        return torch.rand(self.n, generator=self.generator) < share

    def pictures(self) -> Float[Tensor, "n 3 size size"]:
        """Everything but the camera's own effects."""
        picture = self._background()
        self._cast_shadows(picture)
        self._place_beside(picture, self.behind)
        picture.lerp_(self.color, self.alpha)  # by 0 or 1: chooses, several times as fast as `where`
        self._place_beside(picture, self.in_front)
        self._cover(picture)
        return picture

    def _mesh(self, example: Example) -> Float[Tensor, "n vert 3"]:
        """Bodies as observed, in cloth that stands off them."""
        assert example.annotation is not None
        body, params = self.body, example.annotation.body
        mesh = vertices_from_fk(body, params.betas, params.body_pose, self.seen.global_rotmats, self.seen.joints)
        away = stand_off(body.v_template, body.weights, self.looks)
        return mesh + away[..., None] * vertex_normals(mesh, body.faces)

    def _layer(self) -> tuple[Float[Tensor, "n 3 size size"], Float[Tensor, "n 1 size size"]]:
        """Coloured and lit persons, and 1 where they are seen."""
        out = render(
            self.vertices, self.body.faces, self.K, (self.size, self.size), ("normals", "face_index", "barycentric")
        )
        assert out.face_index is not None and out.barycentric is not None and out.normals is not None
        area = self.size**2
        seen = out.face_index.view(-1) >= 0
        at = seen.nonzero()[:, 0]
        person = at // area
        # `index_select` and `index_copy_` are several times as fast as brackets.
        face = out.face_index.view(-1).index_select(0, at)
        weights, normals = (image.view(-1, 3).index_select(0, at) for image in (out.barycentric, out.normals))
        corners = self.body.v_template[self.body.faces.long()].index_select(0, face)  # (point, 3, 3)
        rest = corners[:, 0] * weights[:, :1] + corners[:, 1] * weights[:, 1:2] + corners[:, 2] * weights[:, 2:]
        lights = lit(albedo(rest, person, self.looks), normals, person, self.light)
        color = torch.zeros(self.n, 3, self.size, self.size)
        first = at + 2 * area * person  # in the first of three planes per person
        for plane, values in enumerate(lights.T):
            color.view(-1).index_copy_(0, first + plane * area, values)
        self._pixelate(color)
        return color, seen.view(self.n, 1, self.size, self.size).float()

    def _pixelate(self, layer: Tensor) -> None:
        """Some heads in blocks, as faces are made unrecognisable."""
        chosen = self.pixelated.nonzero()[:, 0]
        if len(chosen) == 0:
            return
        ends = project(self.seen.joints[chosen][:, [15, 24]], self.K[chosen])  # (chosen, 2, 2)
        reach = 1.1 * (ends[:, 1] - ends[:, 0]).norm(dim=-1)[:, None].clamp(min=2)
        grid, middle = torch.arange(self.size, dtype=torch.float32), ends.mean(1)
        across, down = ((grid - middle[:, axis, None]).abs() < reach for axis in (0, 1))  # each (chosen, size)
        near = across[:, None, None, :] & down[:, None, :, None]
        part = layer[chosen]
        coarse = interpolate(avg_pool2d(part, max(1, self.size // 24), ceil_mode=True), size=(self.size, self.size))
        layer.index_copy_(0, chosen, part.lerp_(coarse, near.float()))

    def _own_backgrounds(self, mix: SceneMix, backgrounds: Sequence[Tensor]) -> dict[int, Float[Tensor, "3 size size"]]:
        """Cuttings of a user's pictures, by person."""
        chosen = self._happens(mix.own_backgrounds).nonzero()[:, 0].tolist()
        if len(backgrounds) == 0 or not chosen:
            return {}
        return dict(zip(chosen, cut_from(backgrounds, len(chosen), self.size, self.generator), strict=True))

    def _background(self) -> Float[Tensor, "n 3 size size"]:
        made = self.walls.pictures(self.size)
        for row, cutting in self.own.items():
            made[row] = cutting
        return made

    def _cast_shadows(self, picture: Tensor) -> None:
        """A soft shadow on the floor under the person."""
        chosen = self.shadow.nonzero()[:, 0]
        if len(chosen) == 0:
            return
        pitch = self.seen.pitch[chosen]
        up = torch.stack([torch.zeros_like(pitch), -pitch.cos(), -pitch.sin()], dim=-1)
        fallen = shadow_points(self.vertices[chosen], up, self.light[chosen])
        half = self.size // 2
        K = cropped_intrinsics(
            self.K[chosen], torch.tensor([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]).expand(len(chosen), 2, 3)
        )
        out = render(fallen, self.body.faces, K, (half, half), ("silhouette",))
        assert out.silhouette is not None
        soft = avg_pool2d(out.silhouette[:, None].float(), 5, stride=1, padding=2)
        soft = interpolate(soft, size=(self.size, self.size), mode="bilinear")
        picture[chosen] *= 1 - self.shadow[chosen][:, None, None, None] * soft

    def _place_beside(self, picture: Tensor, chosen: Bool[Tensor, " n"]) -> None:
        """Draw the person before in the batch, moved aside, into the pictures of the chosen ones."""
        for row in chosen.nonzero()[:, 0].tolist():
            moved = int(self.moved[row])
            there = slice(max(moved, 0), self.size + min(moved, 0))
            source = slice(max(-moved, 0), self.size - max(moved, 0))
            picture[row, :, :, there].lerp_(self.color[row - 1, :, :, source], self.alpha[row - 1, :, :, source])

    def _covered(self, example: Example, mix: SceneMix) -> Bool[Tensor, "n size size"]:
        """Pixels that something hides: around hidden keypoints, and now and then a bar or box anywhere."""
        cells = 24
        joints = project(self.seen.joints[:, list(JOINT_NEAR.values())], self.K)
        hidden = example.observation.confidence[:, list(JOINT_NEAR)] <= MIN_CONFIDENCE
        step = self.size / cells
        centre = (torch.arange(cells) + 0.5) * step - 0.5
        grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1).flatten(0, 1)  # (cell, 2)
        distance, nearest = torch.cdist(grid.expand(self.n, -1, 2), joints).min(-1)
        cover = hidden.gather(1, nearest) & (distance < 0.16 * self.size)
        # A person without any keypoint was named by a box: nothing is known to be hidden.
        cover &= (~hidden).any(-1, keepdim=True) & self._happens(mix.cover_hidden)[:, None]
        coarse = cover.view(self.n, 1, cells, cells).float()
        fine = interpolate(max_pool2d(coarse, 3, 1, 1), size=(self.size, self.size), mode="bilinear")[:, 0] > 0.45
        return fine | self._things(mix)

    def _things(self, mix: SceneMix) -> Bool[Tensor, "n size size"]:
        """Bars and boxes."""
        low = torch.rand(self.n, 2, generator=self.generator) * self.size
        extent = (0.06 + 0.25 * torch.rand(self.n, 2, generator=self.generator)) * self.size
        high = torch.where(self._happens(0.3)[:, None] & torch.tensor([True, False]), 2.0 * self.size, low + extent)
        grid = torch.arange(self.size, dtype=torch.float32)
        inside = (grid >= low[..., None]) & (grid < high[..., None])  # (n, 2, size)
        box = inside[:, 0, None, :] & inside[:, 1, :, None]
        return box & self._happens(mix.thing_in_front)[:, None, None]

    def _cover(self, picture: Tensor) -> None:
        """What hides parts of the person has a pattern of its own."""
        chosen = self.covered.flatten(1).any(1).nonzero()[:, 0]
        thing = self.coverings.some(chosen).pictures(self.size)
        picture[chosen] = picture[chosen].lerp_(thing, self.covered[chosen][:, None].float())
