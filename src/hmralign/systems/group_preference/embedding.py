"""How the groups of a store are compared with the cases of a memory: by what was asked for, or as the memory says.

| asked for | new memory | memory with vectors | memory whose cases have none |
| --- | --- | --- | --- |
| nothing | poses | its own | poses, which nothing is compared with |
| pose, clip, mix | that | refused unless its own | that |
| none | words alone | words alone | words alone |

A memory keeps the hash of the model its vectors are from; with another model, cases that are found would be arbitrary.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from hmralign.critics.vlm.memory.embeddings import ClipEmbedder, Embedder, GroupView, MixEmbedder, PoseEmbedder
from hmralign.critics.vlm.memory.records import EmbeddingSpace
from hmralign.critics.vlm.memory.store import Memory
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.pictures import StoredGroup
from hmralign.systems.group_preference.settings import SHARE_OF_CLIP, EmbeddingConfig


def resolved(config: EmbeddingConfig, memory: Memory | None = None) -> EmbeddingConfig:
    """With kind and weight; those of the memory where it has vectors.

    Raises InputError for another kind or weight than the memory's, and for a CLIP model that nothing needs.
    """
    space = None if memory is None else memory.space
    if space is None or memory is None:
        kind, weight = config.kind or "pose", SHARE_OF_CLIP if config.weight is None else config.weight
    elif config.kind == "none":
        return config
    else:
        kind, weight = space.kind, space.share
        asked = (config.kind or kind, weight if config.weight is None else config.weight)
        if asked != (kind, weight):
            raise InputError(f"the memory {memory.path} finds its cases by {_words(kind, weight)}, and "
                             f"{_words(*asked)} is asked for; expected its own")  # fmt: skip
    return EmbeddingConfig(kind, config.clip, weight if kind == "mix" else config.weight)


def embedder_of(
    config: EmbeddingConfig, memory: Memory | None = None, device: str | torch.device = "cpu"
) -> Embedder | None:
    """The embedder, whose CLIP model is on `device`; None where cases are found by words alone.

    Raises InputError as `resolved`, for CLIP without its folder, a folder without a CLIP model, and another model than
    that of the memory.
    """
    config = resolved(config, memory)
    if config.kind == "none":
        return None
    if config.kind == "pose":
        embedder = PoseEmbedder()
    else:
        clip = ClipEmbedder.from_folder(config.clip_folder, device)
        embedder = clip if config.kind == "clip" else MixEmbedder(clip, PoseEmbedder(), config.weight or SHARE_OF_CLIP)
    if memory is not None and memory.space not in (None, embedder.space):
        raise InputError(_other_model(memory, memory.space, embedder.space, config.clip))
    return embedder


def view_of(group: StoredGroup, *, picture: bool) -> GroupView:
    """What an embedder may look at; the person's picture only where it is wanted."""
    return GroupView(group.hypotheses, group.observation, crop_of(group) if picture else None)


def looks_at_pictures(embedder: Embedder) -> bool:
    """Whether an embedder needs the person's picture."""
    return embedder.space.kind != "pose"


def crop_of(group: StoredGroup) -> UInt8[np.ndarray, "height width 3"]:
    """The person's picture, RGB. Raises InputError where the store has none, or one that cannot be read."""
    if group.crop is None:
        raise InputError(_no_picture(group.id))
    try:
        return np.array(Image.open(BytesIO(group.crop), formats=("JPEG",)).convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"the picture of group '{group.id}' cannot be read: {error}") from error


def require_pictures(store: GroupStore, embedder: Embedder | None) -> None:
    """Raise InputError, before anything is paid, for a store with groups that the embedder cannot look at."""
    if embedder is not None and looks_at_pictures(embedder):
        without = next((entry.id for entry in store.entries if entry.crop is None), None)
        if without is not None:
            raise InputError(f"{store.folder}: {_no_picture(without)}")


def _no_picture(name: str) -> str:
    return f"group '{name}' has no photo, which CLIP needs; expected groups from photos, or the embedding 'pose'"


def _words(kind: str, weight: float | None) -> str:
    return kind if weight is None else f"{kind} with weight {weight:g}"


def _other_model(memory: Memory, own: EmbeddingSpace | None, given: EmbeddingSpace, folder: str | None) -> str:
    source = f" in {Path(folder)}" if folder is not None else ""
    return f"the memory {memory.path} finds its cases by {own}, and the model{source} gives {given}; expected the same"
