import pytest
import torch

from hmralign.geometry.rotations import random_rotmat
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe, pa_pve, plane_and_depth_errors, pve
from hmralign.structures import InputError


def joints(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_mpjpe_is_the_mean_distance():
    a, b = joints(2, 5, seed=1), joints(2, 5, seed=2)
    for i in range(2):
        expected = sum(torch.dist(a[i, j], b[i, j]).item() for j in range(5)) / 5
        assert mpjpe(a, b)[i].item() == pytest.approx(expected)
    offset = torch.tensor([0.03, 0.0, 0.04], dtype=torch.float64)
    torch.testing.assert_close(mpjpe(a + offset, a), torch.full((2,), 0.05, dtype=torch.float64))


def test_root_alignment_is_only_done_when_asked():
    a = joints(4, 24)
    moved = a + torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert mpjpe(moved, a).min() > 0.99
    torch.testing.assert_close(mpjpe(moved, a, root=0), torch.zeros(4, dtype=torch.float64))
    worse = a.clone()
    worse[:, 3] += 1  # the error of the root joint itself is spread over all others
    assert mpjpe(worse, a, root=3).min() > mpjpe(worse, a, root=0).max()


def test_aligned_errors_ignore_similarity():
    a, b = joints(3, 24, seed=1), joints(3, 24, seed=2)
    R = random_rotmat((3,), torch.Generator().manual_seed(3)).double()
    moved = 0.2 * a @ R.mT + torch.tensor([0.0, 1.0, 9.0], dtype=torch.float64)
    torch.testing.assert_close(pa_mpjpe(moved, b), pa_mpjpe(a, b), atol=1e-5, rtol=0)
    torch.testing.assert_close(pa_pve(moved, a), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_aligned_errors_see_mirroring():
    a = joints(3, 24)
    mirrored = a * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert pa_mpjpe(mirrored, a).min() > 0.3
    assert pa_pve(mirrored, a).min() > 0.3


def test_aligned_errors_are_measured_in_the_size_of_the_target():
    a, b = joints(24, seed=1), joints(24, seed=2)
    torch.testing.assert_close(pa_mpjpe(a, 1000 * b), 1000 * pa_mpjpe(a, b))


def test_a_collapsed_prediction_gets_no_flattering_number():
    target = joints(24)
    error = pa_mpjpe(torch.zeros_like(target), target)
    torch.testing.assert_close(error, mpjpe(target.mean(0).expand(24, 3), target))
    with pytest.raises(InputError, match="coincide"):
        pa_mpjpe(target, torch.zeros_like(target))


def test_a_shared_target_broadcasts_but_missing_axes_do_not():
    pred, target = joints(3, 3, 24, seed=1), joints(3, 24, seed=2)
    for metric in (mpjpe, pa_mpjpe, pve, pa_pve):
        errors = metric(pred, target[:, None])
        assert errors.shape == (3, 3)
        torch.testing.assert_close(errors[1, 2], metric(pred[1, 2], target[1]))
        with pytest.raises(InputError, match="number of axes"):
            metric(pred, target)


def test_pve_aligns_roots_of_both_sides_or_of_none():
    a, root = joints(2, 50), joints(2, seed=5)
    offset = torch.tensor([0.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(pve(a + offset, a), torch.full((2,), 5.0, dtype=torch.float64))
    torch.testing.assert_close(pve(a + offset, a, root + offset, root), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(InputError, match="only one side"):
        pve(a, a, pred_root=root)


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe, pve, pa_pve])
def test_values_that_are_not_finite_are_refused(metric):
    bad = joints(24)
    bad[3, 1] = torch.nan
    with pytest.raises(InputError, match="prediction"):
        metric(bad, joints(24))
    with pytest.raises(InputError, match="target"):
        metric(joints(24), bad)


def test_errors_across_and_along_the_line_of_sight():
    target = torch.randn(4, 24, 3, generator=torch.Generator().manual_seed(0)) * 0.3 + torch.tensor([1.0, 0.5, 3.0])
    sight = target[:, :1] / target[:, :1].norm(dim=-1, keepdim=True)
    nearer = target.clone()
    nearer[:, 5] -= 0.2 * sight[:, 0]
    across, along = plane_and_depth_errors(nearer, target)
    torch.testing.assert_close(across, torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(along, torch.full((4,), 0.2 / 24), atol=1e-5, rtol=0)
    sideways = target.clone()
    sideways[:, 5] += 0.1 * torch.nn.functional.normalize(
        torch.linalg.cross(sight[:, 0], torch.eye(3)[1].expand(4, 3)), dim=-1
    )
    across, along = plane_and_depth_errors(sideways, target)
    torch.testing.assert_close(across, torch.full((4,), 0.1 / 24), atol=1e-5, rtol=0)
    torch.testing.assert_close(along, torch.zeros(4), atol=1e-5, rtol=0)


def test_plane_and_depth_are_at_least_the_error_together():
    g = torch.Generator().manual_seed(1)
    target = torch.randn(30, 24, 3, generator=g) + torch.tensor([0.0, 0.0, 6.0])
    pred = target + 0.1 * torch.randn(30, 24, 3, generator=g)
    across, along = plane_and_depth_errors(pred, target)
    error = mpjpe(pred, target, root=0)
    assert (across + along >= error - 1e-6).all() and (across <= error + 1e-6).all() and (along <= error + 1e-6).all()


def test_a_body_at_the_camera_has_no_line_of_sight():
    with pytest.raises(InputError, match="at the camera"):
        plane_and_depth_errors(torch.ones(1, 24, 3), torch.zeros(1, 24, 3))
