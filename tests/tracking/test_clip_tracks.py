"""From answered frames to motions: what each setting of a clip changes in the tracks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_keypoints
from hmralign.geometry.cameras import project
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.systems.recover.demo_scene import demo_scene
from hmralign.tracking.chunks import Chunk, ChunkFolder
from hmralign.tracking.clip_tracks import clip_tracks
from hmralign.tracking.smoothing import SmoothingConfig
from hmralign.tracking.video_config import VideoConfig

BODY = load_free_body("3k5")
SCENE = demo_scene(BODY)
FRAMES, HYPOTHESES = 16, 4
PLAIN = VideoConfig(smoothing=SmoothingConfig(rotation_seconds=0.0, place_seconds=0.0))
"""Nothing is smoothed."""


def answered(seen_in: range = range(FRAMES), frames: int = FRAMES) -> Chunk:
    """One person who stands still, whose keypoints and hypotheses jitter from frame to frame.

    The other reading of sides fits badly. The last hypothesis of each frame is bent far away from the others.
    """
    rng = np.random.default_rng(0)
    keypoints = project(posed_keypoints(BODY, SCENE.truth), torch.from_numpy(SCENE.K)).numpy()
    keypoints = keypoints + rng.normal(0, 3.0, (len(seen_in), 27, 2))
    pose = rotmat_to_rotvec(SCENE.truth.rotmats).numpy()
    group = pose + rng.normal(0, 0.05, (len(seen_in), 3, HYPOTHESES, 24, 3))
    group[:, :, -1, 17] += 0.8
    betas = np.broadcast_to(SCENE.truth.betas.numpy(), (len(seen_in), 3, BODY.num_betas))
    return Chunk(
        time=np.arange(frames) / 30,
        size=np.tile([640, 800], (frames, 1)),
        cut=np.zeros(frames, bool),
        K=np.tile(SCENE.K, (frames, 1, 1)).astype(np.float32),
        frame=np.array(seen_in),
        box=np.concatenate([keypoints.min(1), keypoints.max(1)], 1).astype(np.float32),
        keypoints=keypoints.astype(np.float32),
        confidence=np.full((len(seen_in), 27), 0.9, np.float32),
        score=np.full(len(seen_in), 0.9, np.float32),
        group=group.astype(np.float32),
        betas=betas.astype(np.float32),
        misfit=np.tile([0.1, 50.0, np.inf], (len(seen_in), 1)).astype(np.float32),
        probability=np.full((len(seen_in), 3), np.nan, np.float32),
        other=np.zeros((len(seen_in), 27, 3), np.float32),
        left_out=np.zeros(2, np.int64),
        detector=np.array(["tests", ""]),
    )


@pytest.fixture
def tracks(tmp_path):
    """The tracks of a chunk with a configuration."""

    def make(config: VideoConfig, chunk: Chunk | None = None):
        with ChunkFolder.held(tmp_path / "work", {}) as chunks:
            chunks.commit(0, chunk or answered())
            return clip_tracks(chunks, 1, HYPOTHESES, BODY, config)

    return make


def jitter(values: np.ndarray) -> float:
    return float(np.abs(np.diff(values, 2, axis=0)).mean())


def smoothed(**seconds: float) -> VideoConfig:
    return VideoConfig(smoothing=replace(PLAIN.smoothing, **seconds))


def test_rotation_seconds_smooth_rotations_and_zero_leaves_them(tracks):
    (plain,), (short,), (long,) = (tracks(smoothed(rotation_seconds=seconds)).tracks for seconds in (0.0, 0.05, 0.3))
    assert jitter(long.rotmats) < 0.5 * jitter(short.rotmats) < 0.5 * jitter(plain.rotmats)


def test_place_seconds_smooth_the_place_and_no_rotation(tracks):
    (plain,), (short,), (long,) = (tracks(smoothed(place_seconds=seconds)).tracks for seconds in (0.0, 0.05, 0.3))
    assert jitter(long.transl) < 0.5 * jitter(short.transl) < 0.5 * jitter(plain.transl)
    assert np.array_equal(long.rotmats, plain.rotmats)


def test_near_path_is_how_far_other_hypotheses_have_a_say(tracks):
    """The bent hypothesis is far from the linked one: only a wide neighbourhood lets it bend the answer."""
    (narrow,), (wide,) = (tracks(replace(PLAIN, near_path=near)).tracks for near in (0.05, 5.0))
    truth = SCENE.truth.rotmats[17].numpy()
    off_narrow, off_wide = (np.abs(track.rotmats[:, 17] - truth).mean() for track in (narrow, wide))
    assert off_wide > 2 * off_narrow


def test_tracks_of_fewer_than_the_least_sightings_are_left_out_and_counted(tracks):
    brief = answered(range(3, 6))
    assert len(tracks(PLAIN, brief).tracks) == 1
    left_out = tracks(replace(PLAIN, least_sightings=4), brief)
    assert left_out.tracks == [] and any("fewer than 4 sightings" in note for note in left_out.notes)
    clip = answered(range(3), frames=3)
    assert len(tracks(replace(PLAIN, least_sightings=4), clip).tracks) == 1, "the clip itself is shorter"
