"""The shipped noise of the detector: its arrays, its symmetry, and that replaying it is nothing like a Gaussian."""

import numpy as np
import pytest
import torch

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.data.synthetic.observation_noise import body_height, layout, load_measured_noise
from hmralign.structures import InputError
from support.npz_damage import with_broken_stream

NAMES = {name: i for i, name in enumerate(KEYPOINT_NAMES)}
LIMBS = [NAMES[f"{s}_{n}"] for s in ("left", "right") for n in ("elbow", "wrist", "knee", "ankle")]
MIRROR = list(MIRROR_KEYPOINTS)
FLIP = torch.tensor([-1.0, 1.0])


@pytest.fixture(scope="module")
def noise():
    return load_measured_noise()


@pytest.fixture(scope="module")
def replayed(noise):
    """True keypoints of measured layouts at 300 pixels, what is reported, and the residuals in shares of height."""
    truth = 300 * noise.layouts.unflatten(1, (27, 2)).repeat(4, 1, 1) + 200
    reported = noise.report(truth, torch.Generator().manual_seed(3))
    return truth, reported, (reported.keypoints - truth) / body_height(truth)[:, None, None]


def tail(error):
    """The 99th percentile of error sizes over their median."""
    return float(torch.quantile(error, 0.99) / error.median())


def test_arrays_have_the_documented_shapes_and_are_finite(noise):
    count = len(noise.residuals)
    assert count >= 100
    assert noise.residuals.shape == (count, 27, 2) and noise.confidence.shape == (count, 27)
    assert noise.layouts.shape == (count, 54) and noise.offsets.shape == (27, 3) and noise.sigma_bins.shape == (27, 5)
    for array in (noise.residuals, noise.confidence, noise.layouts, noise.offsets, noise.sigma_bins):
        assert torch.isfinite(array).all()
    assert noise.confidence.min() >= 0 and noise.confidence.max() <= 1


def test_layouts_are_centred_and_of_unit_height(noise):
    points = noise.layouts.unflatten(1, (27, 2))
    assert torch.allclose(body_height(points), torch.ones(len(points)), atol=2e-3)
    assert torch.allclose(layout(points), noise.layouts, atol=2e-3)


def test_what_was_not_reported_carries_no_residual(noise):
    assert (noise.residuals[noise.confidence == 0] == 0).all()
    small_toes = [NAMES["left_small_toe"], NAMES["right_small_toe"]]
    assert (noise.confidence[:, small_toes] == 0).all(), "the detector has no small toe"


def test_offsets_are_small_and_the_same_on_both_sides(noise):
    assert noise.offsets.norm(dim=1).max() < 0.08
    assert torch.allclose(noise.offsets[MIRROR] * torch.tensor([-1.0, 1.0, 1.0]), noise.offsets, atol=1e-6)


def test_sigma_is_the_same_on_both_sides_and_never_rises_with_confidence(noise):
    assert torch.allclose(noise.sigma_bins[MIRROR], noise.sigma_bins)
    assert (noise.sigma_bins.diff(dim=1) <= 1e-6).all()
    assert noise.sigma_bins.min() > 0.003 and noise.sigma_bins.max() < 0.4
    assert (noise.sigma_bins[LIMBS, 0] > 2 * noise.sigma_bins[LIMBS, -1]).all(), "low confidence must cost limbs trust"


def test_residuals_have_no_systematic_part_left(noise):
    sure = noise.confidence[:, LIMBS] > 0.8
    middle = noise.residuals[:, LIMBS][sure].median(dim=0).values
    assert middle.abs().max() < 0.005


def test_replayed_noise_has_tails_that_a_gaussian_lacks(replayed):
    _, reported, residual = replayed
    seen = reported.confidence[:, LIMBS] > 0
    error = residual[:, LIMBS].norm(dim=-1)[seen]
    gaussian = torch.randn(len(error), 2, generator=torch.Generator().manual_seed(0)).norm(dim=-1)
    assert tail(error) > 4
    assert tail(gaussian) < 4


def test_replayed_noise_is_correlated_along_limbs(replayed):
    _, reported, residual = replayed
    for first, second in (("elbow", "wrist"), ("knee", "ankle")):
        for side in ("left", "right"):
            i, j = NAMES[f"{side}_{first}"], NAMES[f"{side}_{second}"]
            both = (reported.confidence[:, i] > 0) & (reported.confidence[:, j] > 0)
            pairs = torch.stack([residual[both, i].flatten(), residual[both, j].flatten()]).clamp(-0.2, 0.2)
            assert torch.corrcoef(pairs)[0, 1] > 0.3


def test_replay_treats_left_and_right_alike(noise):
    """A mirror-symmetric layout gets every entry as it is or mirrored, equally often."""
    points = noise.layouts[:1].unflatten(1, (27, 2))
    symmetric = ((points + points[:, MIRROR] * FLIP) / 2).expand(6000, -1, -1).contiguous() * 300
    reported = noise.report(symmetric, torch.Generator().manual_seed(5))
    middle = ((reported.keypoints - symmetric) / body_height(symmetric)[:, None, None]).median(dim=0).values
    assert torch.allclose(middle[MIRROR] * FLIP, middle, atol=0.004)


def test_noise_of_ones_own_is_read_from_a_file(noise, tmp_path):
    arrays = {k: getattr(noise, k).numpy() for k in noise.__dataclass_fields__}
    np.savez(tmp_path / "own.npz", format_version=1, **arrays)
    own = load_measured_noise(tmp_path / "own.npz")
    assert all(torch.equal(getattr(own, k), getattr(noise, k)) for k in arrays)


@pytest.mark.parametrize(
    "spoiled",
    [{"format_version": 2}, {"offsets": np.zeros((27, 2))}, {"residuals": np.full((1, 27, 2), np.nan)},
     {"layouts": np.array([None])}, {"confidence": np.array("x")}, {"residuals": np.zeros((0, 27, 2))}],
)  # fmt: skip
def test_a_file_that_is_no_noise_is_refused(noise, tmp_path, spoiled):
    arrays = {k: getattr(noise, k).numpy() for k in noise.__dataclass_fields__}
    np.savez(tmp_path / "own.npz", **{"format_version": 1, **arrays, **spoiled})
    with pytest.raises(InputError, match=r"own\.npz"):
        load_measured_noise(tmp_path / "own.npz")


def test_a_broken_stream_is_refused(noise, tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, format_version=1, **{k: getattr(noise, k).numpy() for k in noise.__dataclass_fields__})
    with pytest.raises(InputError, match=r"own\.npz: damaged"):
        load_measured_noise(with_broken_stream(path, "residuals"))


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("gone.npz", "text.npz"):
        with pytest.raises(InputError, match=name):
            load_measured_noise(tmp_path / name)


def test_unknown_detector_is_refused():
    with pytest.raises(InputError, match="nobody"):
        load_measured_noise("nobody")
