"""Answered frames on disk: what is committed is read back, another plan starts anew, a damaged one is not trusted."""

import numpy as np
import pytest

from hmralign.tracking.chunks import CHUNK_ARRAYS, Chunk, ChunkFolder

PLAN = {"clip": "abc", "seed": 0}


def chunk(value: float) -> Chunk:
    arrays = {name: np.full((2, 3), value, np.float32) for name in CHUNK_ARRAYS}
    return Chunk(**arrays)


def test_a_committed_chunk_is_read_back_in_another_run(tmp_path):
    with ChunkFolder.held(tmp_path / "work", PLAN) as chunks:
        assert not chunks.has(0) and chunks.finished() is None
        chunks.commit(0, chunk(0.5))
    with ChunkFolder.held(tmp_path / "work", PLAN) as chunks:
        assert chunks.has(0) and not chunks.has(1)
        for name in CHUNK_ARRAYS:
            assert np.array_equal(getattr(chunks.chunk(0), name), np.full((2, 3), 0.5, np.float32))
        assert set(chunks.read(0, ("time", "size"))) == {"time", "size"}
        chunks.finish({"frames": 2})
    with ChunkFolder.held(tmp_path / "work", PLAN) as chunks:
        assert chunks.finished() == {"frames": 2}


@pytest.mark.parametrize("damage", ["another", "unreadable"])
def test_another_plan_starts_anew(tmp_path, damage):
    with ChunkFolder.held(tmp_path, PLAN) as chunks:
        chunks.commit(0, chunk(1.0))
        chunks.finish({"frames": 2})
    if damage == "unreadable":
        (tmp_path / "plan.json").write_text("{")
    with ChunkFolder.held(tmp_path, PLAN if damage == "unreadable" else {**PLAN, "seed": 1}) as chunks:
        assert not chunks.has(0) and chunks.finished() is None


def test_what_is_removed_leaves_nothing_but_the_lock(tmp_path):
    with ChunkFolder.held(tmp_path, PLAN) as chunks:
        chunks.commit(3, chunk(1.0))
        chunks.remove()
        assert [p.suffix for p in tmp_path.iterdir() if p.suffix in (".npz", ".json")] == []
