"""Files of SMPL, SMPL-H and SMPL-X as bodies of 24 joints: skinned as smplx skins them, or refused in one sentence."""

import pickle

import numpy as np
import pytest
import torch

from hmralign.body import capsules, free_body, lbs, npz_file
from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.hand_fold import TREES, fold_hands
from hmralign.body.leaf_vertices import find_leaf_vertices
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.structures import BodyParams, InputError
from support.body_files import stand_in, write_npz, write_pkl
from support.npz_damage import with_broken_stream
from support.toy_body import random_params

COMPONENTS = {24: 10, 52: 16, 55: 400}


def body_of(folder, joints, **options):
    return load_body(write_npz(folder, stand_in(joints, COMPONENTS[joints], **options)))


def test_smpl_is_skinned_as_smplx_does(tmp_path):
    smplx = pytest.importorskip("smplx")
    from smplx.utils import Struct
    from smplx.vertex_ids import vertex_ids

    path = write_npz(tmp_path, stand_in(24, 300))
    ids = dict.fromkeys(vertex_ids["smplh"], 0)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != "part2num"}
    oracle = smplx.SMPL("", data_struct=Struct(**arrays), vertex_ids=ids, batch_size=4)
    body, ours = random_params((4,), dtype=torch.float32), load_body(path)
    with torch.no_grad():
        expected = oracle(
            betas=body.betas,
            global_orient=body.global_orient[:, None],
            body_pose=body.body_pose,
            transl=body.transl,
            pose2rot=False,
        )
    assert ours.posedirs is not None and ours.num_betas == 10
    assert (lbs.vertices(ours, body) - expected.vertices).abs().max() < 1e-5
    assert (lbs.posed_joints(ours, body)[:, :24] - expected.joints[:, :24]).abs().max() < 1e-5


@pytest.mark.parametrize("joints", [52, 55])
def test_folded_bodies_are_skinned_as_smplx_skins_all_their_joints(tmp_path, joints):
    smplx_lbs = pytest.importorskip("smplx.lbs").lbs
    arrays = stand_in(joints, COMPONENTS[joints])
    body = random_params((3,), dtype=torch.float32)
    still = body.body_pose.clone()
    still[:, 21:] = torch.eye(3)  # fingers stretched, as at rest
    body = BodyParams(body.global_orient, still, body.betas, body.transl)
    pose = torch.eye(3).repeat(3, joints, 1, 1)
    pose[:, :22] = body.rotmats[:, :22]
    numbers = {k: torch.tensor(arrays[k]).float() for k in ("v_template", "J_regressor", "weights")}
    expected, expected_joints = smplx_lbs(
        body.betas,
        pose,
        numbers["v_template"],
        torch.tensor(arrays["shapedirs"][..., :10]).float(),
        torch.tensor(arrays["posedirs"]).float().flatten(0, 1).mT,
        numbers["J_regressor"],
        torch.tensor(TREES[joints]),
        numbers["weights"],
        pose2rot=False,
    )
    ours = body_of(tmp_path, joints)
    move = body.transl[:, None]
    assert (lbs.vertices(ours, body) - expected - move).abs().max() < 1e-5
    posed = lbs.posed_joints(ours, body)
    assert (posed[:, :22] - expected_joints[:, :22] - move).abs().max() < 1e-5
    for hand, first in ((22, joints - 30), (23, joints - 15)):
        roots = expected_joints[:, first : first + 12 : 3].mean(1)
        assert (posed[:, hand] - roots - move[:, 0]).abs().max() < 1e-5


@pytest.mark.parametrize("joints", [52, 55])
def test_a_folded_hand_turns_like_its_four_fingers(joints):
    arrays = stand_in(joints, COMPONENTS[joints])
    weights, _, posedirs = fold_hands(*(arrays[key] for key in ("weights", "J_regressor", "posedirs")))
    assert np.allclose(weights, stand_in(24)["weights"]) and weights.shape[1] == 24
    turn = random_params((), dtype=torch.float64).global_orient
    feature = torch.eye(3, dtype=torch.float64).repeat(joints - 1, 1, 1)
    feature[[joints - 30 - 1 + 3 * finger for finger in range(4)]] = turn
    small = torch.eye(3, dtype=torch.float64).repeat(23, 1, 1)
    small[21] = turn
    eye = torch.eye(3, dtype=torch.float64)
    expected = arrays["posedirs"] @ (feature - eye).flatten().numpy()
    np.testing.assert_allclose(posedirs @ (small - eye).flatten().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("options", [
    {"protocol": 0}, {"protocol": 2}, {"protocol": 2, "python2": False}, {"protocol": 5, "python2": False},
    {"chumpy": False},
])  # fmt: skip
def test_a_pickle_gives_the_same_body_as_an_npz(tmp_path, options):
    arrays = stand_in(24)
    ours, other = load_body(write_pkl(tmp_path, arrays, **options)), load_body(write_npz(tmp_path, arrays))
    assert (ours.skeleton_hash, ours.mesh_hash) == (other.skeleton_hash, other.mesh_hash)
    assert ours.name == "basicModel_neutral_lbs_10_207_0_v1.0.0" and other.name == "SMPL_NEUTRAL"


@pytest.mark.parametrize("joints", [24, 52, 55])
def test_every_kind_serves_keypoints_leaves_capsules_and_gradients(tmp_path, joints):
    with torch.inference_mode():
        model = body_of(tmp_path, joints)
    free = load_free_body("3k5")
    assert model.skeleton_hash != free.skeleton_hash and model.v_template.dtype == torch.float32
    place = model.J_template[0] - free.J_template[0]
    if joints == 24:
        assert (model.J_template[:24] - place - free.J_template[:24]).norm(dim=-1).max() < 1e-4
    assert (model.J_template[24:] - place - free.J_template[24:]).norm(dim=-1).max() < 0.01
    assert (capsules.capsule_radii(model, torch.zeros(10)) - free.capsule_radii).abs().max() < 0.01
    body = random_params((2,), dtype=torch.float32)
    betas = body.betas.clone().requires_grad_()
    moved = BodyParams(body.global_orient, body.body_pose, betas, body.transl)
    keypoints = lbs.posed_keypoints(model, moved)
    (keypoints.sum() + lbs.vertices(model, moved).sum()).backward()
    assert keypoints.shape == (2, 27, 3) and torch.isfinite(betas.grad).all()


def test_a_file_of_our_own_format_is_read_as_one(tmp_path):
    path = free_body._ASSETS / "free_body_3k5.npz"
    assert load_body(str(path)).mesh_hash == load_free_body("3k5").mesh_hash


def test_leaves_are_the_outermost_vertices_of_their_part():
    vertices = np.zeros((12, 3))
    weights = np.zeros((12, 24))
    for row, (joint, point) in enumerate([
        ("head", (0, 1, 0)), ("head", (0, 2, 0)), ("head", (0, 2, 0)), ("neck", (0, 3, 0)),
        ("left_hand", (4, 0, 0)), ("left_hand", (5, 0, 0)), ("right_hand", (-5, 0, 0)), ("right_hand", (-4, 0, 0)),
        ("left_foot", (2, 0, 2)), ("left_foot", (1, 0, 2)), ("right_foot", (-1, 0, 2)), ("left_ankle", (0, 0, 9)),
    ]):  # fmt: skip
        vertices[row], weights[row, JOINT_NAMES.index(joint)] = point, 1.0
    assert find_leaf_vertices(vertices, weights) == (1, 5, 6, 9, 10)
    weights[4:6] = np.eye(24)[20]
    with pytest.raises(InputError, match="left_hand"):
        find_leaf_vertices(vertices, weights)


def _without(array, axis):
    return np.take(array, range(array.shape[axis] - 1), axis)


def _with(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v_template": lambda a: a[:, :2]}, r"'v_template' has shape .*, expected \(V, 3\)"),
        ({"v_template": lambda a: a[:50]}, "100 to 100,000 vertices"),
        ({"v_template": lambda a: _with(a, (7, 1), np.nan)}, "'v_template' holds values that are not finite"),
        ({"v_template": lambda a: a[:, [0, 2, 1]]}, "no T-pose in metres"),
        ({"v_template": lambda a: a * 1000}, "no T-pose in metres"),
        ({"v_template": lambda a: a * [-1, 1, 1]}, "no T-pose in metres"),
        ({"v_template": lambda a: a.astype(str)}, "expected numbers"),
        ({"weights": lambda a: a[:, :16]}, r"expected 24 \(SMPL\), 52 \(SMPL-H\) or 55 joints"),
        ({"weights": lambda a: a * 0.5}, "no shares"),
        ({"weights": lambda a: a[:-1]}, "'weights' has shape"),
        ({"shapedirs": lambda a: a[..., :9]}, "'shapedirs' has shape .*10 or more"),
        ({"posedirs": lambda a: a[..., :93]}, "'posedirs' has shape .*207"),
        ({"J_regressor": lambda a: _without(a, 0)}, "'J_regressor' has shape"),
        ({"kintree_table": lambda a: _with(a, (0, 23), 20)}, "not the joint tree"),
        ({"kintree_table": lambda a: _with(a, (0, 0), 3)}, "not the joint tree"),
        ({"kintree_table": lambda a: a.astype(float)}, "expected numbers"),
        ({"f": lambda a: a + np.uint32(100)}, "'f' points outside"),
        ({"f": lambda a: a[:, :2]}, "'f' has shape"),
        ({"f": lambda a: a[:0]}, "'f' points outside"),
        ({"posedirs": lambda a: None, "f": lambda a: None}, r"lacks \['posedirs', 'f'\]"),
        ({"J_regressor": lambda a: np.array({"a": 1}, dtype=object)}, "Cannot read"),
    ],
)
def test_what_is_no_body_is_refused_in_one_sentence(tmp_path, change, said):
    arrays = stand_in(24)
    for key, alter in change.items():
        arrays[key] = alter(arrays[key])
    path = tmp_path / "bad.npz"
    np.savez(path, **{k: a for k, a in arrays.items() if a is not None})
    with pytest.raises(InputError, match=said) as error:
        load_body(path)
    assert "bad.npz" in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_archives_are_refused(tmp_path, monkeypatch):
    good = write_npz(tmp_path, stand_in(24))
    for name, content in {
        "a.npz": b"", "b.npz": good.read_bytes()[:9000], "c.npz": pickle.dumps({}),
        "d.pkl": good.read_bytes(), "e.txt": b"x", "f.pkl": pickle.dumps({"f": 1}),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_body(tmp_path / name)
    for path in (tmp_path / "absent.npz", tmp_path / "absent.pkl", tmp_path):
        with pytest.raises(InputError, match=path.name):
            load_body(path)
    monkeypatch.setattr(npz_file, "MAX_UNPACKED_BYTES", 1000)
    for path in (good, free_body._ASSETS / "free_body_3k5.npz"):
        with pytest.raises(InputError, match=rf"{path.name}: unpacks to"):
            load_body(path)


def test_a_broken_stream_is_refused_in_both_formats(tmp_path):
    own = tmp_path / "own.npz"
    own.write_bytes((free_body._ASSETS / "free_body_3k5.npz").read_bytes())
    released = tmp_path / "released.npz"
    np.savez(released, **stand_in(24))
    for path in (own, released):
        with pytest.raises(InputError, match=rf"Cannot read the body file .*{path.name}: damaged"):
            load_body(with_broken_stream(path, "v_template"))


def test_a_pickled_array_that_cannot_be_built_is_named(tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({**stand_in(24), "shapedirs": "none"}))
    with pytest.raises(InputError, match=r"bad.pkl: array 'shapedirs' cannot be read: it is a str"):
        load_body(path)


def test_a_mesh_without_skin_around_a_capsule_has_no_capsules_and_says_so(tmp_path):
    arrays = stand_in(24)
    weights = arrays["weights"].copy()
    neck, head = JOINT_NAMES.index("neck"), JOINT_NAMES.index("head")
    weights[:, head] += weights[:, neck]
    weights[:, neck] = 0
    model = load_body(write_npz(tmp_path, {**arrays, "weights": weights}))
    with pytest.raises(InputError, match="no capsule radii"):
        capsules.capsule_radii(model, torch.zeros(10))
