"""A three-joint body with two limbs, posed and skinned in a few lines, is enough to show a mirror image."""

import pytest
import torch

from hmralign.geometry.frames import mirror_rotmats
from hmralign.geometry.rotations import random_rotmat
from hmralign.structures import BodyParams, InputError

PELVIS = torch.tensor([0.0, -0.3, 0.05], dtype=torch.float64)
JOINTS = torch.stack([PELVIS, PELVIS + torch.tensor([0.2, 0.1, 0.0]), PELVIS + torch.tensor([-0.2, 0.1, 0.0])])
MIRROR = (0, 2, 1)
FLIP = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def rest_vertices() -> torch.Tensor:
    half = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.cat([half, half * FLIP])


def skin(body: BodyParams) -> torch.Tensor:
    """Vertex i and its mirror image i + 8 hang half on the pelvis and half on the left and right limb."""
    v, G = rest_vertices(), body.global_orient
    on_pelvis = (v - PELVIS) @ G.mT
    on_limbs = []
    for limb in (1, 2):
        turned = (v - JOINTS[limb]) @ (G @ body.body_pose[limb - 1]).mT
        on_limbs.append(turned + (JOINTS[limb] - PELVIS) @ G.mT)
    on_limb = torch.cat([on_limbs[0][:8], on_limbs[1][8:]])
    return (on_pelvis + on_limb) / 2 + PELVIS + body.transl


def some_body(seed: int = 0) -> BodyParams:
    rotmats = random_rotmat((3,), torch.Generator().manual_seed(seed)).double()
    transl = torch.tensor([0.3, -0.2, 4.0], dtype=torch.float64)
    return BodyParams(rotmats[0], rotmats[1:], torch.zeros(10, dtype=torch.float64), transl)


@pytest.mark.parametrize("seed", range(5))
def test_mirrored_pose_gives_the_mirror_image(seed):
    body = some_body(seed)
    rotmats = mirror_rotmats(body.rotmats, MIRROR)
    mirrored = BodyParams(rotmats[0], rotmats[1:], body.betas, body.transl * FLIP)
    expected = (skin(body) * FLIP).roll(8, dims=0)  # vertex i of the mirror image is vertex i + 8 of the original
    torch.testing.assert_close(skin(mirrored), expected)


def test_mirroring_twice_changes_nothing_and_keeps_rotations():
    rotmats = random_rotmat((2, 3), torch.Generator().manual_seed(4))
    mirrored = mirror_rotmats(rotmats, MIRROR)
    assert torch.equal(mirror_rotmats(mirrored, MIRROR), rotmats)
    torch.testing.assert_close(torch.linalg.det(mirrored), torch.ones(2, 3))


@pytest.mark.parametrize("table", [(0, 1), (1, 2, 0), (0, 1, 1)])
def test_a_table_that_does_not_pair_joints_is_refused(table):
    with pytest.raises(InputError, match="counterpart"):
        mirror_rotmats(torch.eye(3).expand(3, 3, 3), table)
