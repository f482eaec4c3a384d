"""What is drawn of a refined person: the body before and after, over the photo and from the side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import (
    Picture,
    Window,
    cut_photo,
    draw_overlays,
    draw_people,
    draw_side_views,
    person_window,
    picture_camera,
)
from hmralign.preferences.sheet import person_ground
from hmralign.rendering.shading import SKY_BLUE, WARM_GOLD
from hmralign.systems.language_refinement.refined import RefinedPeople, RefinedPerson
from hmralign.systems.recover.pictures import PHOTO_SIDE

SIDE = 560
"""Side of the square pictures of a person, pixels."""


@dataclass(frozen=True)
class RefinedPictures:
    """Pictures of one person; the initial body is blue, the refined one golden."""

    window: Window
    photo: Picture
    """Paper with the keypoints where there is no photo."""
    keypoints: Picture
    before: Picture
    after: Picture
    before_side: Picture
    after_side: Picture

    @property
    def captioned(self) -> list[tuple[str, Picture]]:
        """Pictures with captions, for a report."""
        return [
            ("What was observed", self.keypoints),
            ("Initial body", self.before),
            ("Refined body", self.after),
            ("Initial body from the side", self.before_side),
            ("Refined body from the side", self.after_side),
        ]


def refined_pictures(
    refined: RefinedPeople, person: RefinedPerson, before: Float[Tensor, "vert 3"], after: Float[Tensor, "vert 3"],
    body: BodyModel,
) -> RefinedPictures:  # fmt: skip
    """Draw one person whose meshes (`cam` metres) are `before` and `after`."""
    seen, size, photo = person.start.observation, (SIDE, SIDE), refined.people.photo
    if photo is None:
        ground = person_ground(None, None, seen, SIDE)
        window, plain, camera = ground.window, ground.picture, ground.camera
    else:
        window = person_window(seen.box, margin=0.2)
        plain, _ = cut_photo(photo.rgb, window, size)
        camera = picture_camera(person.start.camera, window, size)
    marked = draw_keypoints(plain, seen.keypoints, seen.confidence, window)
    under = marked if photo is None else plain
    meshes = torch.stack([before, after])
    colors = torch.tensor([SKY_BLUE, WARM_GOLD])[:, None].expand_as(meshes)
    over = draw_overlays(under, meshes, body.faces, camera, vertex_colors=colors)
    turned = draw_side_views(meshes, body.faces, size, vertex_colors=colors)
    return RefinedPictures(window, under, marked, over[0], over[1], turned[0], turned[1])


def refined_overlay(refined: RefinedPeople, after: list[Float[Tensor, "vert 3"]], body: BodyModel) -> Picture | None:
    """Everybody's refined body over the whole photo; None where there is no photo."""
    photo = refined.people.photo
    if photo is None:
        return None
    camera = refined.people.persons[0].camera
    return draw_people(photo.rgb, torch.stack(after), body.faces, camera, max_side=PHOTO_SIDE)
