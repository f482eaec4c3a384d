"""A cut is seen, and motion, pans, flashes of a small part and noise are none."""

import numpy as np

from hmralign.tracking.cuts import CutDetector, colour_histogram
from support.clips import plain_pictures


def found(pictures):
    detector = CutDetector()
    return [n for n, picture in enumerate(pictures) if detector.is_cut(picture)]


def scene(seed, size=(160, 120)):
    rng = np.random.default_rng(seed)
    base = np.kron(rng.integers(0, 255, (6, 8, 3), np.uint8), np.ones((20, 20, 1), np.uint8))
    return base[: size[1], : size[0]]


def test_cuts_between_scenes_are_seen_at_their_frames():
    pictures = [scene(0)] * 10 + [scene(1)] * 5 + [scene(2)] * 8
    assert found(pictures) == [10, 15]


def test_a_still_clip_and_a_moving_thing_have_none():
    assert found([scene(0)] * 30) == []
    assert found(plain_pictures(30, (160, 120))) == []


def test_a_fast_pan_over_one_scene_is_none():
    wide = np.concatenate([scene(0), np.roll(scene(0), 40, axis=1), scene(0)], axis=1)
    assert found([wide[:, 12 * n : 12 * n + 160] for n in range(20)]) == []


def test_noise_and_flicker_are_none():
    rng = np.random.default_rng(0)
    grain = [np.clip(scene(0) + rng.normal(0, 12, (120, 160, 3)), 0, 255).astype(np.uint8) for _ in range(15)]
    assert found(grain) == []
    lamp = [np.clip(scene(0).astype(int) + (8 if n % 2 else 0), 0, 255).astype(np.uint8) for n in range(15)]
    assert found(lamp) == []


def test_another_size_is_a_cut():
    assert found([scene(0), scene(0), scene(0)[:100], scene(0)[:100]]) == [2]


def test_histograms_sum_to_one():
    assert abs(colour_histogram(scene(0)).sum() - 1) < 1e-12
