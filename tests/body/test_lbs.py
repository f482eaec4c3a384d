"""Skinning against an independent implementation, and its invariances."""

import numpy as np
import pytest
import torch

from hmralign.body import lbs
from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import MIRROR_JOINTS, MIRROR_KEYPOINTS, PARENTS
from hmralign.structures import BodyParams, InputError
from support.rest_mesh import rest_vertices
from support.toy_body import random_params, toy_arrays, toy_body


def _loop_vertices(arrays: dict, body: BodyParams) -> np.ndarray:
    """One body, one joint, one vertex at a time."""
    rotmats, betas = body.rotmats.numpy(), body.betas.numpy()
    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas
    joints = arrays["J_regressor"] @ shaped
    shaped = shaped + arrays["posedirs"] @ (rotmats[1:] - np.eye(3)).reshape(-1)
    transforms = []
    for j in range(24):
        local = np.eye(4)
        local[:3, :3] = rotmats[j]
        local[:3, 3] = joints[j] - (joints[PARENTS[j]] if j else 0)
        transforms.append(transforms[PARENTS[j]] @ local if j else local)
    out = np.zeros_like(shaped)
    for v in range(len(shaped)):
        for j in range(24):
            moved = transforms[j][:3, :3] @ (shaped[v] - joints[j]) + transforms[j][:3, 3]
            out[v] += arrays["weights"][v, j] * moved
    return out + body.transl.numpy()


def test_equals_a_loop_with_homogeneous_matrices():
    body = random_params((1,))
    expected = _loop_vertices(toy_arrays(), body[0])
    np.testing.assert_allclose(lbs.vertices(toy_body(), body)[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("posedirs", [False, True])
def test_equals_smplx(posedirs: bool):
    smplx = pytest.importorskip("smplx")
    from smplx.utils import Struct

    free = load_free_body("3k5")
    rng = np.random.default_rng(0)
    vertices = free.num_vertices
    # Any regressor will do, as both sides fold the same one.
    regressor = rng.dirichlet(np.full(vertices, 0.01), 24)
    correctives = rng.normal(0, 0.01, (vertices, 3, 207)) if posedirs else np.zeros((vertices, 3, 207))
    arrays = {
        "v_template": free.v_template.numpy(),
        "shapedirs": free.shapedirs.numpy(),
        "posedirs": correctives,
        "weights": free.weights.numpy(),
        "J_regressor": regressor,
    }
    kintree = np.array([PARENTS[:24], range(24)])
    struct = Struct(f=free.faces.numpy(), kintree_table=kintree, **arrays)
    from smplx.vertex_ids import vertex_ids

    oracle = smplx.SMPL("", data_struct=struct, vertex_ids=dict.fromkeys(vertex_ids["smplh"], 0), batch_size=3)
    ours = BodyModel.from_arrays(
        name="same", faces=free.faces.numpy(), leaf_vertex_ids=(5, 6, 7, 8, 9), **{**arrays, "posedirs": correctives}
    )
    body = random_params((3,), dtype=torch.float32)
    with torch.no_grad():
        expected = oracle(
            betas=body.betas,
            global_orient=body.global_orient[:, None],
            body_pose=body.body_pose,
            transl=body.transl,
            pose2rot=False,
        )
    assert (lbs.vertices(ours, body) - expected.vertices).abs().max() < 1e-5
    assert (lbs.posed_joints(ours, body)[:, :24] - expected.joints[:, :24]).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1, 3), (0,), (2, 0)])
def test_batch_equals_loop(shape: tuple[int, ...]):
    model, body = toy_body(), random_params(shape)
    results = [lbs.vertices(model, body), lbs.posed_joints(model, body), lbs.posed_keypoints(model, body)]
    assert [r.shape for r in results] == [(*shape, n, 3) for n in (60, 29, 27)]
    for index in np.ndindex(*shape):
        one = body[index]
        torch.testing.assert_close(lbs.vertices(model, one), results[0][index], atol=1e-12, rtol=0)
        torch.testing.assert_close(lbs.posed_joints(model, one), results[1][index], atol=1e-12, rtol=0)
        torch.testing.assert_close(lbs.posed_keypoints(model, one), results[2][index], atol=1e-12, rtol=0)


def test_shapes_broadcast_over_poses():
    model, body = toy_body(), random_params((2, 4))
    betas = body.betas[:, :1]
    rest = lbs.rest_joints(model, betas)
    world, joints = lbs.forward_kinematics(rest, body.rotmats, model.parents)
    repeated = BodyParams(body.global_orient, body.body_pose, betas.expand(2, 4, 10), torch.zeros(2, 4, 3).double())
    torch.testing.assert_close(joints, lbs.posed_joints(model, repeated))
    keypoints = lbs.keypoints_from_fk(model, betas, world, joints)
    torch.testing.assert_close(keypoints, lbs.posed_keypoints(model, repeated))
    skin = lbs.vertices_from_fk(model, betas, body.body_pose, world, joints)
    torch.testing.assert_close(skin, lbs.vertices(model, repeated))


def test_vertex_subset_is_a_slice():
    model, body = toy_body(), random_params((3,))
    ids = torch.tensor([7, 3, 3, 59])
    torch.testing.assert_close(lbs.vertices(model, body, ids), lbs.vertices(model, body)[:, ids])


def test_keypoints_equal_the_regressor_on_posed_vertices():
    model, body = toy_body(posedirs=False), random_params((5,))
    regressor = torch.tensor(toy_arrays()["keypoint_regressor"])
    expected = regressor @ lbs.vertices(model, body)
    torch.testing.assert_close(lbs.posed_keypoints(model, body), expected, atol=1e-12, rtol=0)


def test_leaves_ride_rigidly_on_their_parents():
    model, body = toy_body(), random_params((4,))
    rest, posed = lbs.rest_joints(model, body.betas), lbs.posed_joints(model, body)
    for leaf in range(24, 29):
        before = (rest[:, leaf] - rest[:, PARENTS[leaf]]).norm(dim=-1)
        torch.testing.assert_close((posed[:, leaf] - posed[:, PARENTS[leaf]]).norm(dim=-1), before)


def test_gradients_are_exact():
    model, body = toy_body(), random_params((2,))
    ids = torch.tensor([0, 11])

    def everything(rotmats, betas, transl):
        moved = BodyParams(rotmats[:, 0], rotmats[:, 1:], betas, transl)
        return lbs.vertices(model, moved, ids), lbs.posed_joints(model, moved), lbs.posed_keypoints(model, moved)

    inputs = [t.clone().requires_grad_() for t in (body.rotmats, body.betas, body.transl)]
    assert torch.autograd.gradcheck(everything, inputs, fast_mode=True)


def test_caches_filled_in_inference_mode_serve_autograd():
    load_free_body.cache_clear()
    body = random_params((2,), dtype=torch.float32)
    with torch.inference_mode():
        lbs.posed_keypoints(load_free_body("3k5"), body)
    betas = body.betas.clone().requires_grad_()
    moved = BodyParams(body.global_orient, body.body_pose, betas, body.transl)
    lbs.posed_keypoints(load_free_body("3k5"), moved).sum().backward()
    assert torch.isfinite(betas.grad).all()


def test_identity_pose_is_the_rest_pose():
    model = load_free_body("3k5")
    betas = torch.linspace(-2, 2, 10)
    eye = torch.eye(3)
    body = BodyParams(eye, eye.expand(23, 3, 3), betas, torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(lbs.vertices(model, body) - body.transl, rest_vertices(model, betas), atol=2e-6, rtol=0)
    torch.testing.assert_close(lbs.posed_joints(model, body)[0], body.transl)


def test_global_rotation_turns_about_the_pelvis():
    model, body = load_free_body("3k5").to(torch.float64), random_params((3,))
    turn = random_params((1,), seed=5).global_orient
    turned = BodyParams(turn @ body.global_orient, body.body_pose, body.betas, body.transl)
    for pose in (lbs.vertices, lbs.posed_joints, lbs.posed_keypoints):
        expected = (pose(model, body) - body.transl[:, None]) @ turn.mT + body.transl[:, None]
        torch.testing.assert_close(pose(model, turned), expected, atol=1e-6, rtol=0)


def test_mirrored_pose_gives_the_mirror_image():
    model, body = load_free_body("3k5").to(torch.float64), random_params((4,))
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    rotmats = flip @ body.rotmats[:, list(MIRROR_JOINTS[:24])] @ flip
    mirrored = BodyParams(rotmats[:, 0], rotmats[:, 1:], body.betas, body.transl @ flip)
    joints = lbs.posed_joints(model, body)[:, list(MIRROR_JOINTS)] @ flip
    torch.testing.assert_close(lbs.posed_joints(model, mirrored), joints, atol=1e-12, rtol=0)
    keypoints = lbs.posed_keypoints(model, body)[:, list(MIRROR_KEYPOINTS)] @ flip
    torch.testing.assert_close(lbs.posed_keypoints(model, mirrored), keypoints, atol=1e-12, rtol=0)


def test_a_body_without_keypoints_says_so():
    arrays = toy_arrays()
    del arrays["keypoint_regressor"]
    model = BodyModel.from_arrays(name="bare", leaf_vertex_ids=(0, 1, 2, 3, 4), dtype=torch.float64, **arrays)
    with pytest.raises(InputError, match="no surface keypoints"):
        lbs.posed_keypoints(model, random_params((1,)))


@pytest.mark.parametrize("key", ["shapedirs", "weights", "J_regressor", "posedirs", "keypoint_regressor"])
def test_wrong_arrays_are_named(key: str):
    arrays = toy_arrays()
    arrays[key] = arrays[key][:-1]
    with pytest.raises(InputError, match=key):
        BodyModel.from_arrays(name="bad", leaf_vertex_ids=(0, 1, 2, 3, 4), **arrays)
    arrays = toy_arrays()
    arrays[key] = np.full_like(arrays[key], np.nan)
    with pytest.raises(InputError, match="not finite"):
        BodyModel.from_arrays(name="bad", leaf_vertex_ids=(0, 1, 2, 3, 4), **arrays)


@pytest.mark.parametrize("shape", [(7,), (2, 5), (1, 9)])
def test_many_bodies_are_skinned_in_parts(shape, monkeypatch):
    body, some = random_params(shape), torch.tensor([3, 1])
    whole = lbs.vertices(toy_body(), body), lbs.vertices(toy_body(), body, some)
    monkeypatch.setattr(lbs, "_BODIES_AT_ONCE", 3)
    parts = lbs.vertices(toy_body(), body), lbs.vertices(toy_body(), body, some)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
