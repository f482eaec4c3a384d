"""The closed form against decompositions, one matrix at a time, with negative determinants and equal values."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hmralign.geometry.nearest_rotation import nearest_rotation
from hmralign.geometry.rotations import random_rotmat

SINGULAR_VALUES = {
    "all equal": (1.0, 1.0, 1.0),
    "two equal": (1.0, 1.0, 0.3),
    "mirrored": (1.0, 0.5, -0.2),
    "mirrored, almost ambiguous": (1.0, 0.5, -0.4995),
    "mirrored, less ambiguous": (1.0, 0.5, -0.49),
    "flat": (1.0, 0.4, 0.0),
    "thin": (1.0, 2e-4, 1e-4),
    "thin and mirrored": (1.0, 1e-2, -1e-3),
}
AMBIGUOUS = {"straight": (1.0, 0.0, 0.0), "mirrored sphere": (1.0, 1.0, -1.0), "mirrored disc": (1.0, 0.5, -0.5)}


def turns(seed: int) -> torch.Tensor:
    return random_rotmat((200,), torch.Generator().manual_seed(seed)).double()


def matrices(values: tuple[float, ...]) -> torch.Tensor:
    return turns(0) @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turns(1)


def decomposed(matrix: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))]) @ vt


def require_rotations(R: torch.Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=R.dtype).expand_as(R), atol=atol, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(len(R), dtype=R.dtype), atol=atol, rtol=0)


@pytest.mark.parametrize("values", SINGULAR_VALUES.values(), ids=SINGULAR_VALUES)
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e4])
def test_is_what_a_decomposition_gives(values, unit):
    M = unit * matrices(values)
    R = nearest_rotation(M)
    require_rotations(R)
    expected = np.stack([decomposed(m) for m in M.numpy()])
    np.testing.assert_allclose(R.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("values", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_of_several_nearest_ones_it_is_one(values):
    M = matrices(values)
    R = nearest_rotation(M)
    require_rotations(R)
    best = np.stack([decomposed(m) for m in M.numpy()])
    np.testing.assert_allclose((R * M).sum((-2, -1)).numpy(), (best * M.numpy()).sum((-2, -1)), atol=1e-10)


def test_random_matrices_of_single_precision():
    M = torch.randn(500, 3, 3, generator=torch.Generator().manual_seed(2))
    expected = np.stack([decomposed(m) for m in M.double().numpy()])
    R = nearest_rotation(M)
    assert R.dtype == torch.float32
    np.testing.assert_allclose(R.numpy(), expected, atol=1e-7)


def test_a_point_cloud_is_turned_as_scipy_turns_it():
    source = torch.randn(30, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    target = torch.randn(30, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected, _ = Rotation.align_vectors(target.numpy(), source.numpy())
    np.testing.assert_allclose(nearest_rotation(target.mT @ source).numpy(), expected.as_matrix(), atol=1e-10)


def test_zeros_give_the_identity_and_their_neighbours_are_not_touched():
    M = matrices((1.0, 0.5, 0.2))[:3].clone()
    alone = nearest_rotation(M)
    M[1] = 0
    R = nearest_rotation(M)
    assert torch.equal(R[1], torch.eye(3, dtype=torch.float64))
    assert torch.equal(R[[0, 2]], alone[[0, 2]])


def test_what_is_not_finite_stays_so():
    M = matrices((1.0, 0.5, 0.2))[:2].clone()
    M[0, 1, 2] = torch.nan
    R = nearest_rotation(M)
    assert R[0].isnan().all() and R[1].isfinite().all()


def test_any_number_of_batch_axes_and_none():
    M = matrices((1.0, 0.5, 0.2))
    R = nearest_rotation(M)
    assert torch.equal(nearest_rotation(M.view(4, 5, 10, 3, 3)).view(200, 3, 3), R)
    assert torch.equal(nearest_rotation(M[7]), nearest_rotation(M[7:8])[0])
    assert nearest_rotation(M[:0]).shape == (0, 3, 3)


@pytest.mark.parametrize("values", [(1.0, 0.5, 0.2), (1.0, 0.5, -0.2), (2.0, 1.0, 1.0)])
def test_its_derivative_is_that_of_small_changes(values):
    M = matrices(values)[:4].requires_grad_()
    assert torch.autograd.gradcheck(nearest_rotation, (M,))


def test_its_derivative_is_bounded_where_it_has_no_limit():
    M = torch.cat([matrices(v)[:5] for v in AMBIGUOUS.values()]).requires_grad_()
    nearest_rotation(M).square().sum().backward()
    nearest_rotation(M)[:, 0].sum().backward()
    assert M.grad is not None and M.grad.isfinite().all()
