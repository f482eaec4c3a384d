"""What retrieval looks through: all remembered cases, without their pictures."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hmralign.critics.vlm.memory.reading import images_by_episode, read_space
from hmralign.critics.vlm.memory.tables import PROTOTYPE


@dataclass(frozen=True)
class PrototypeIndex:
    """All remembered cases without their pictures, sorted by id: what retrieval looks through.

    `embeddings` has rows of zeros for cases that were remembered without one; `dim` is 0 where none has one.
    """

    ids: tuple[str, ...]
    embeddings: Float[np.ndarray, "case dim"]
    has_embedding: tuple[bool, ...]
    scores: Float[np.ndarray, " case"]
    tags: tuple[tuple[str, ...], ...]
    reasonings: tuple[str, ...]
    episodes: tuple[str, ...]
    sequences: tuple[str, ...]
    images: tuple[frozenset[str], ...]


def read_index(connection: sqlite3.Connection) -> PrototypeIndex:
    """The index of all cases of a memory."""
    space = read_space(connection)
    dim = space.dim if space else 0
    images = images_by_episode(connection)
    sequences = dict(connection.execute("SELECT id, sequence FROM episode"))
    rows = list(PROTOTYPE.rows(connection))
    vectors = np.zeros((len(rows), dim), np.float32)
    for vector, row in zip(vectors, rows, strict=True):
        if row["embedding"] is not None:
            vector[:] = np.frombuffer(row["embedding"], "<f4")
    episodes = [row["episode"] for row in rows]
    return PrototypeIndex(
        tuple(row["id"] for row in rows), vectors, tuple(row["embedding"] is not None for row in rows),
        np.array([row["score"] for row in rows], np.float64), tuple(tuple(row["tags"]) for row in rows),
        tuple(row["reasoning"] for row in rows), tuple(episodes), tuple(sequences[name] for name in episodes),
        tuple(frozenset(images[name]) for name in episodes),
    )  # fmt: skip
