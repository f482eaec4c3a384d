"""Groups of a store, one at a time, and what a judge sees of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.critics.controls import OracleCritic
from hmralign.overlays.hypothesis_tile import GroupPictures, TileStyle, group_pictures
from hmralign.preferences.sheet import person_ground
from hmralign.preferences.store import Entry, GroupStore
from hmralign.rendering.views import body_up
from hmralign.structures import Hypotheses, InputError, Observation
from hmralign.systems.group_preference.settings import TruthError


@dataclass(frozen=True)
class StoredGroup:
    """One person's group: `hypotheses` have the batch shape `(hyp,)`, `observation` none."""

    entry: Entry
    images: tuple[str, ...]
    """What stands for the person in a memory: hash of the picture (of what was observed where there is none), and of
    the photo's name within its source."""
    hypotheses: Hypotheses
    observation: Observation
    crop: bytes | None = None
    window: Float[Tensor, " 4"] | None = None
    errors: Float[np.ndarray, " hyp"] | None = None
    """Metres, against the truth; None where it is not looked at."""

    @property
    def id(self) -> str:
        """In the store."""
        return self.entry.id

    @property
    def episode(self) -> str:
        """Name in a memory: these hypotheses of this person."""
        return f"{self.entry.id}@{self.entry.shard_sha256[:12]}"

    @property
    def size(self) -> int:
        """Hypotheses."""
        return len(self.hypotheses.joints)


def read_groups(
    store: GroupStore, shard: int, truth: TruthError | None = None, body: BodyModel | None = None
) -> list[StoredGroup]:
    """Groups of one shard, with their errors where `truth` says which. Raises InputError as `GroupStore.read`."""
    groups = store.read(shard, truth=truth is not None)
    errors = None
    if truth is not None:
        errors = -OracleCritic(truth, body)(groups.hypotheses, groups.example).double().numpy()
    first = next(n for n, entry in enumerate(store.entries) if entry.shard == shard)
    found = []
    for row in range(len(groups)):
        entry, crop = store.entries[first + row], store.crop(first + row)
        seen = groups.example.observation[row]
        hypotheses = groups.hypotheses[row]
        window = None if groups.crop_windows is None else groups.crop_windows[row]
        images = image_names(store.facts.source_sha256, entry.id, crop, seen)
        found.append(
            StoredGroup(entry, images, hypotheses, seen, crop, window, None if errors is None else errors[row])
        )
    return found


def image_names(source_sha256: str, group: str, crop: bytes | None, seen: Observation) -> tuple[str, str]:
    """By what a person is known again: by content, whatever it is called, and by photo, whoever else is in it."""
    content = crop
    if content is None:
        arrays = (seen.keypoints, seen.confidence, seen.box)
        content = b"".join(a.float().contiguous().numpy().tobytes() for a in arrays)
    photo = f"{source_sha256}\n{group.rsplit('#', 1)[0]}".encode(errors="surrogateescape")
    return hashlib.sha256(content).hexdigest(), hashlib.sha256(photo).hexdigest()


def draw_group(group: StoredGroup, body: BodyModel, style: TileStyle) -> GroupPictures:
    """All hypotheses, drawn in the same way. Raises InputError naming the group that cannot be drawn."""
    try:
        ground = person_ground(group.crop, group.window, group.observation, style.side)
        return group_pictures(
            ground.picture, ground.window, ground.camera, group.observation,
            vertices(body, group.hypotheses.body), body.faces,
            is_photo=ground.is_photo, trunks=body_up(group.hypotheses.body.global_orient), style=style,
        )  # fmt: skip
    except (InputError, OSError) as error:  # OSError: a stored picture that is no JPEG file
        raise InputError(f"group '{group.id}' cannot be drawn: {error}") from error
