"""Small stores of preference groups: groups that need no model, the facts of a store, shard folders, file hashes."""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from hmralign.data.shards import write_index, write_shard
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.store import StoreFacts
from hmralign.structures import BodyParams, Example, Hypotheses, Landmarks3d, PreferenceGroups
from support.synthetic_persons import BODY, persons, seeded, tiny_model

SIZE = 3
STEPS = 2


def store_facts(**changes) -> StoreFacts:
    facts = StoreFacts(
        checkpoint_sha256="c" * 64,
        trained_on=("lab/train",),
        skeleton_hash=BODY.skeleton_hash,
        mesh_hash=BODY.mesh_hash,
        source="wild/train",
        source_sha256="d" * 64,
        group_size=SIZE,
        sampler_steps=STEPS,
        detector="mediapipe",
        seed=0,
        options={"why": ["a", 1]},
    )
    return replace(facts, **changes)


def some_groups(
    ids: str | tuple[str, ...], *, size: int = SIZE, seed: int = 0, truth: bool = False, photos: bool = False
) -> PreferenceGroups:
    """Random bodies of the first synthetic persons; `ids` may be one word with a letter for each.

    With `photos` there are landmarks, crops (of every other person) and windows.
    """
    ids, g = tuple(ids), seeded(seed)
    n = len(ids)
    example = persons(8)[torch.arange(n)]
    mask = torch.rand(example.observation.mask.shape, generator=g)
    rotmats = rotvec_to_rotmat(torch.randn(n, size, 24, 3, generator=g))
    body = BodyParams(
        rotmats[:, :, 0], rotmats[:, :, 1:], torch.randn(n, size, 10, generator=g), torch.randn(n, size, 3, generator=g)
    )
    return PreferenceGroups(
        ids,
        torch.randn(n, size, 130, generator=g),
        Hypotheses(body, torch.randn(n, size, 29, 3, generator=g)),
        Example(
            replace(example.observation, mask=mask),
            example.annotation if truth else None,
            Landmarks3d(torch.randn(n, 27, 3, generator=g), torch.rand(n, 27, generator=g)) if photos else None,
        ),
        tuple(None if k % 2 else f"\xff\xd8 {id_}".encode() for k, id_ in enumerate(ids)) if photos else None,
        torch.rand(n, 4, generator=g) if photos else None,
    )


def tiny_policy() -> LitePolicy:
    return LitePolicy(tiny_model(), BODY, num_steps=STEPS)


def shard_folder(folder: Path, number: int = 8, per_shard: int = 5, seed: int = 5) -> Path:
    """Synthetic persons as `hmralign synth` writes them."""
    folder.mkdir(parents=True)
    for shard, start in enumerate(range(0, number, per_shard)):
        write_shard(folder, shard, persons(number, seed)[torch.arange(start, min(start + per_shard, number))])
    write_index(folder, examples=number)
    return folder


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the lock, by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
