"""What is drawn of a recovered person and photo: bodies as meshes, overlays, the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.detection.observe import photo_title
from hmralign.geometry.cameras import project
from hmralign.hypotheses.spread import surface_spread
from hmralign.overlays.contact_sheet import Tile, hypothesis_tiles, sheet_picture
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.overlays.overlay import (
    SHRINKING,
    Picture,
    Window,
    cut_photo,
    draw_overlays,
    draw_people,
    person_window,
    picture_camera,
)
from hmralign.rendering.shading import SKY_BLUE, WARM_GOLD
from hmralign.rendering.zbuffer import NEAR
from hmralign.reports.report_data import MAX_HYPOTHESES
from hmralign.structures import Camera
from hmralign.structures.counted import counted
from hmralign.structures.shown_name import shown_name
from hmralign.systems.recover.people import RecoveredPerson, RecoveredPhoto

PERSON_SIDE = 560
"""Side of the square pictures of a person, pixels."""
TILE_SIDE = 256
"""Side of the pictures on the contact sheet."""
PHOTO_SIDE = 1600
"""Longer side of the overlay of a photo, at most."""


@dataclass(frozen=True)
class PersonMeshes:
    """Meshes of one person, `cam` metres: all hypotheses as sampled, and the fused body.

    `spread` is the disagreement of the hypotheses at each vertex, pelvis-relative metres.
    """

    hypotheses: Float[Tensor, "hyp vert 3"]
    fused: Float[Tensor, "vert 3"]
    spread: Float[Tensor, " vert"]


@dataclass(frozen=True)
class PersonPictures:
    """Pictures of one person; `tiles` are the photo, the fused body, then the best hypotheses, best first."""

    window: tuple[int, int, int, int]
    photo: Picture
    keypoints: Picture
    best: Picture
    fused: Picture
    tiles: list[Tile]


def person_meshes(person: RecoveredPerson, body: BodyModel) -> PersonMeshes:
    """Skin the hypotheses and the fused body."""
    everyone = vertices(body, person.hypotheses.body)
    spread = surface_spread(person.hypotheses.joints, everyone)
    return PersonMeshes(everyone, vertices(body, person.fused), spread)


def picture_box(person: RecoveredPerson) -> Float[Tensor, " 4"]:
    """What a picture of the person must show: the keypoints' box, which ends at the eyes, and the detector's."""
    seen, said = person.observation.box, torch.from_numpy(person.detection.box)
    reach = 0.05 * (seen[2:] - seen[:2]).max()
    around = torch.cat([seen[:2] - reach, seen[2:] + reach])
    return torch.cat([torch.minimum(around[:2], said[:2]), torch.maximum(around[2:], said[2:])])


def person_pictures(
    photo: RecoveredPhoto,
    person: RecoveredPerson,
    meshes: PersonMeshes,
    body: BodyModel,
    others: Sequence[Float[Tensor, "vert 3"]] = (),
) -> PersonPictures:
    """Draw one person; the body is faint where one of the `others`, fused bodies of the photo, stands in front."""
    image, camera, observation = photo.image.rgb, photo.camera, person.observation
    box, best = picture_box(person), person.ranking[:MAX_HYPOTHESES]
    window, size = person_window(box), (PERSON_SIDE, PERSON_SIDE)
    plain, _ = cut_photo(image, window, size, resampling=SHRINKING)
    small, _ = cut_photo(plain, size=(TILE_SIDE, TILE_SIDE), resampling=SHRINKING)
    view = picture_camera(camera, window, size)
    near = [mesh for mesh in others if _may_be_seen(mesh, camera, window)]
    in_front = torch.stack(near) if near else None
    tiles = hypothesis_tiles(
        image,
        meshes.hypotheses[best],
        body.faces,
        camera,
        box,
        fused=meshes.fused,
        keypoints=observation.keypoints,
        confidence=observation.confidence,
        in_front=in_front,
        photo=small,
        side=TILE_SIDE,
    )
    tiles[2:] = [_labelled(tile, person, rank) for rank, tile in enumerate(tiles[2:])]

    def over(mesh: Float[Tensor, "vert 3"], color: tuple[float, float, float]) -> Picture:
        return draw_overlays(plain, mesh[None], body.faces, view, color=color, in_front=in_front)[0]

    return PersonPictures(
        window=window,
        photo=plain,
        keypoints=draw_keypoints(plain, observation.keypoints, observation.confidence, window),
        best=over(meshes.hypotheses[person.selected], SKY_BLUE),
        fused=over(meshes.fused, WARM_GOLD),
        tiles=tiles,
    )


def _may_be_seen(mesh: Float[Tensor, "vert 3"], camera: Camera, window: Window) -> bool:
    """Whether the box around the projected mesh touches the window: of a crowd most people stand elsewhere."""
    ahead = mesh[mesh[:, 2] > NEAR]
    if len(ahead) == 0:
        return False
    pixels = project(ahead, camera.K)
    (left, top), (right, bottom) = pixels.amin(0).tolist(), pixels.amax(0).tolist()
    return left < window[2] and right > window[0] and top < window[3] and bottom > window[1]


def _labelled(tile: Tile, person: RecoveredPerson, rank: int) -> Tile:
    """The drawn meshes are a selection: name the hypothesis by its number in the whole group."""
    index = int(person.ranking[rank])
    return replace(tile, label=f"#{rank + 1}  (hyp {index})", note=f"score {float(person.scores[index]):.3f}")


def person_sheet(photo: RecoveredPhoto, number: int, pictures: PersonPictures) -> Picture:
    """The contact sheet of one person."""
    count = photo.persons[number].hypotheses.num_hypotheses
    shown = len(pictures.tiles) - 2
    group = f"{shown} of {counted(count, 'hypothesis')}"
    title = f"{shown_name(photo_title(photo.image))}, person {number}: fused, the answer, and {group}"
    return sheet_picture(pictures.tiles, title=title)


def photo_overlay(
    photo: RecoveredPhoto, plain: Picture, fused: list[Float[Tensor, "vert 3"]], body: BodyModel
) -> Picture:
    """All people's fused bodies over the whole photo, which `plain` shows."""
    camera = picture_camera(photo.camera, (0, 0, photo.camera.width, photo.camera.height), plain.shape[:2])
    return draw_people(plain, torch.stack(fused), body.faces, camera, max_side=PHOTO_SIDE)


def plain_photo(photo: RecoveredPhoto) -> Picture:
    """The photo, reduced as far as it is shown."""
    return cut_photo(photo.image.rgb, max_side=PHOTO_SIDE, resampling=SHRINKING)[0]
