import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hmralign.geometry.procrustes import procrustes
from hmralign.structures import InputError


def cloud(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rotation(seed: int, dtype=torch.float64) -> torch.Tensor:
    quat = np.random.default_rng(seed).normal(size=4)
    return torch.from_numpy(Rotation.from_quat(quat).as_matrix()).to(dtype)


def test_agrees_with_scipy_item_by_item():
    source, target = cloud(4, 9, seed=1), cloud(4, 9, seed=2)
    weights = torch.rand(4, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    aligned, (R, s, t) = procrustes(source, target, weights)
    for i in range(4):
        w = (weights[i] / weights[i].sum()).numpy()
        x, y = (p[i].numpy() - w @ p[i].numpy() for p in (source, target))
        expected, _ = Rotation.align_vectors(y, x, weights=w)
        np.testing.assert_allclose(R[i].numpy(), expected.as_matrix(), atol=1e-9)
        turned = expected.apply(x)
        scale = np.sum(w[:, None] * turned * y) / np.sum(w[:, None] * x**2)
        assert float(s[i]) == pytest.approx(scale)
        np.testing.assert_allclose(aligned[i].numpy(), scale * turned + w @ target[i].numpy(), atol=1e-9)
    torch.testing.assert_close(s[:, None, None] * source @ R.mT + t[:, None], aligned)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_similarity_is_recovered_far_from_the_origin(dtype):
    source = cloud(3, 24, dtype=dtype)
    R, s, t = rotation(5, dtype), 0.3, torch.tensor([1.0, -2.0, 30.0], dtype=dtype)
    target = s * source @ R.T + t
    aligned, (R_fit, s_fit, _) = procrustes(source, target)
    atol = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(aligned, target, atol=atol, rtol=0)
    torch.testing.assert_close(R_fit, R.expand(3, 3, 3), atol=10 * atol, rtol=0)
    torch.testing.assert_close(s_fit, torch.full((3,), s, dtype=dtype), atol=atol, rtol=0)


def test_no_nearby_similarity_does_better():
    source, target = cloud(12, seed=1), cloud(12, seed=2)
    aligned, _ = procrustes(source, target)
    best = (aligned - target).square().sum()
    middle = target.mean(0)
    for seed in range(20):
        small = torch.from_numpy(Rotation.from_rotvec(np.random.default_rng(seed).normal(size=3) * 0.05).as_matrix())
        assert ((aligned - middle) @ small.T + middle - target).square().sum() > best
        assert ((aligned - middle) * (1 + 0.01 * (seed - 9.5)) + middle - target).square().sum() > best


@pytest.mark.parametrize("seed", range(5))
def test_mirrored_sets_are_never_reflected(seed):
    source = cloud(24, seed=seed)
    target = source * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64) @ rotation(seed).T
    aligned, (R, s, _) = procrustes(source, target)
    assert float(torch.linalg.det(R)) == pytest.approx(1)
    assert float(s) > 0
    assert (aligned - target).norm(dim=-1).mean() > 0.3
    x, y = (p.numpy() - p.numpy().mean(0) for p in (source, target))
    np.testing.assert_allclose(R.numpy(), Rotation.align_vectors(y, x)[0].as_matrix(), atol=1e-7)


def test_flat_and_straight_sets():
    flat = cloud(10) * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    for source in (flat, flat * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)):
        target = 2 * source @ rotation(3).T + 1
        aligned, (R, _, _) = procrustes(source, target)
        torch.testing.assert_close(aligned, target)
        torch.testing.assert_close(torch.linalg.det(R), torch.tensor(1.0, dtype=torch.float64))


def test_points_of_weight_zero_do_not_matter():
    source, target = cloud(10, seed=1), cloud(10, seed=2)
    weights = torch.ones(10, dtype=torch.float64)
    weights[7:] = 0
    _, (R, s, t) = procrustes(source, target, weights)
    _, (R_few, s_few, t_few) = procrustes(source[:7], target[:7])
    for a, b in ((R, R_few), (s, s_few), (t, t_few)):
        torch.testing.assert_close(a, b)


def test_without_scale_lengths_stay():
    source = cloud(5, 9)
    aligned, (_, s, _) = procrustes(source, 3 * source, with_scale=False)
    assert torch.equal(s, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(torch.pdist(aligned[0]), torch.pdist(source[0]))


def test_tiny_units_make_no_difference():
    source, target = cloud(9, seed=1), cloud(9, seed=2)
    _, (R, _, _) = procrustes(source, target)
    _, (R_tiny, _, _) = procrustes(1e-6 * source, 1e-6 * target)
    torch.testing.assert_close(R, R_tiny)


def test_a_collapsed_source_goes_to_the_centroid_and_its_neighbours_are_not_touched():
    source, target = cloud(2, 9, seed=1), cloud(2, 9, seed=2)
    source[0] = torch.tensor([0.1, 0.2, 5.3])
    aligned, (R, s, _) = procrustes(source, target)
    torch.testing.assert_close(aligned[0], target[0].mean(0).expand(9, 3))
    torch.testing.assert_close(R[0], torch.eye(3, dtype=torch.float64))
    assert s[0] == 1
    torch.testing.assert_close(aligned[1], procrustes(source[1], target[1])[0])


def test_useless_input_is_refused():
    good = cloud(9)
    with pytest.raises(InputError, match="target coincide"):
        procrustes(good, torch.full((9, 3), 0.3, dtype=torch.float64))
    for name, arguments in {
        "source": (good * torch.nan, good),
        "target": (good, good / 0),
        "weights": (good, good, -torch.ones(9, dtype=torch.float64)),
    }.items():
        with pytest.raises(InputError, match=name):
            procrustes(*arguments)
    with pytest.raises(InputError, match="weights"):
        procrustes(good, good, torch.zeros(9, dtype=torch.float64))


def test_any_number_of_batch_axes():
    source, target = cloud(2, 3, 4, 9, seed=1), cloud(2, 3, 4, 9, seed=2)
    aligned, (R, s, t) = procrustes(source, target)
    assert (R.shape, s.shape, t.shape) == ((2, 3, 4, 3, 3), (2, 3, 4), (2, 3, 4, 3))
    torch.testing.assert_close(aligned[1, 2, 3], procrustes(source[1, 2, 3], target[1, 2, 3])[0])
