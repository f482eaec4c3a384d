import math
from dataclasses import replace

import pytest
import torch
import trimesh
from scipy.stats import spearmanr

from hmralign.body.capsules import self_penetration
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, vertices
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.critics.mesh_penetration import body_parts, mesh_penetration, penetration_depths, winding_number
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.geometry.rotations import axis_rotmat, rotvec_to_rotmat
from hmralign.structures import BodyParams, InputError

BODY = load_free_body("3k5")


def posed(**degrees: tuple[str, float]) -> BodyParams:
    pose = torch.eye(3).repeat(23, 1, 1)
    for joint, (axis, angle) in degrees.items():
        pose[JOINT_NAMES.index(joint) - 1] = axis_rotmat(axis, torch.tensor(math.radians(angle)))
    return BodyParams(torch.eye(3), pose, torch.zeros(10), torch.zeros(3))


def disturbed(n: int) -> BodyParams:
    """Poses of the prior, turned by 0 to 0.6 rad per joint."""
    generator = torch.Generator().manual_seed(1)
    poses, _ = load_pose_prior("train").sample(n, generator)
    angle = torch.linspace(0, 0.6, n)[:, None, None]
    poses = poses @ rotvec_to_rotmat(angle * torch.randn(n, 23, 3, generator=generator) / 3**0.5)
    betas = 0.7 * torch.randn(n, 10, generator=generator)
    return BodyParams(torch.eye(3).expand(n, 3, 3), poses, betas, torch.zeros(n, 3))


def test_winding_numbers_of_a_sphere_are_one_inside_and_zero_outside_and_change_sign_when_it_is_turned_inside_out():
    sphere = trimesh.creation.icosphere(subdivisions=3)
    triangles = torch.tensor(sphere.triangles, dtype=torch.float32)
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    radius = points.norm(dim=1)
    points, radius = points[(radius - 1).abs() > 0.02], radius[(radius - 1).abs() > 0.02]
    found = winding_number(points, triangles)
    assert torch.allclose(found, (radius < 1).float(), atol=1e-3)
    assert torch.allclose(winding_number(points, triangles.flip(1)), -found, atol=1e-5)
    assert torch.allclose(winding_number(points, torch.cat([triangles, triangles])), 2 * found, atol=1e-3)


@pytest.mark.parametrize("size", ["3k5", "7k"])
def test_parts_are_closed_cover_the_body_and_are_judged_both_ways(size):
    body = load_free_body(size)
    parts = body_parts(body)
    assert len(parts.names) == 16
    assert torch.equal(torch.cat(parts.vertices).sort().values, torch.arange(body.num_vertices))
    assert sum(len(s.faces) for s in parts.surfaces) == len(body.faces)
    mesh = vertices(body, disturbed(2)[1])
    for surface in parts.surfaces:
        triangles = torch.cat([mesh[surface.faces], surface.caps(mesh)])
        far = winding_number(torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 4.0]]), triangles)
        assert far.abs().max() < 1e-4, "an open surface would be seen from outside"
    assert {(j, i) for i, j in parts.judged} == set(parts.judged)
    at = parts.names.index
    assert (at("left_thigh"), at("right_thigh")) in parts.judged and (at("left_hand"), at("head")) in parts.judged
    assert (at("left_shank"), at("left_thigh")) not in parts.judged


@pytest.mark.parametrize(
    "pose",
    [
        posed(),
        posed(left_shoulder=("z", -75.0), right_shoulder=("z", 75.0)),
        posed(left_hip=("x", -90.0), right_hip=("x", -90.0), left_knee=("x", 90.0)),
        posed(left_elbow=("y", -140.0), right_knee=("x", 130.0)),
    ],
    ids=["T-pose", "arms down", "sitting", "bent elbow and knee"],
)
def test_possible_poses_have_none(pose):
    found = mesh_penetration(BODY, pose)
    assert found.share.item() == 0 and found.depth.item() == 0


def test_an_arm_through_the_trunk_and_crossing_legs():
    shallow, deep = (mesh_penetration(BODY, posed(left_shoulder=("z", angle))) for angle in (-95.0, -110.0))
    assert 0.01 < shallow.share < deep.share < 0.3 and 0.01 < shallow.depth < deep.depth < 0.15
    legs = mesh_penetration(BODY, posed(left_hip=("z", -25.0), right_hip=("z", 25.0)))
    assert 0.01 < legs.share < 0.2 and 0.03 < legs.depth < 0.1


def test_it_is_found_where_it_is():
    depths = penetration_depths(BODY, vertices(BODY, posed(left_hip=("z", -25.0), right_hip=("z", 25.0))))
    parts = body_parts(BODY)
    legs = torch.cat([v for v, name in zip(parts.vertices, parts.names, strict=True) if name.split("_")[-1] in
                      ("thigh", "shank", "foot")])  # fmt: skip
    assert (depths[legs] > 0).sum() == (depths > 0).sum()


def test_where_the_body_is_and_how_it_is_turned_does_not_matter_and_a_batch_is_a_loop():
    params = disturbed(6)
    moved = replace(
        params,
        global_orient=rotvec_to_rotmat(torch.randn(6, 3, generator=torch.Generator().manual_seed(0))),
        transl=torch.tensor([1.0, -2.0, 30.0]).expand(6, 3),
    )
    here, there = mesh_penetration(BODY, params), mesh_penetration(BODY, moved)
    assert torch.allclose(here.share, there.share, atol=1e-3) and torch.allclose(here.depth, there.depth, atol=2e-3)
    pairs = BodyParams(*(t.unflatten(0, (3, 2)) for t in
                         (params.global_orient, params.body_pose, params.betas, params.transl)))  # fmt: skip
    assert torch.equal(mesh_penetration(BODY, pairs).share, here.share.unflatten(0, (3, 2)))


def test_it_agrees_with_the_capsules():
    params = disturbed(100)  # 0.80 over 200
    found = mesh_penetration(BODY, params)
    capsules = self_penetration(BODY, posed_joints(BODY, params), params.betas)
    assert spearmanr(found.share, capsules).statistic > 0.7
    assert spearmanr(found.depth, capsules).statistic > 0.7


def test_bodies_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="body 0"):
        mesh_penetration(BODY, replace(posed(), betas=torch.full((10,), torch.nan)))
