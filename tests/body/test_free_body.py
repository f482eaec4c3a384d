"""The shipped files: one skeleton, two meshes, mirror symmetry, and refusal of damaged files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from hmralign.body import free_body
from hmralign.body.free_body import load_free_body, read_body, shown_body
from hmralign.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, MIRROR_JOINTS, MIRROR_KEYPOINTS
from hmralign.structures import InputError
from support.rest_mesh import rest_vertices
from support.toy_body import toy_body

ASSETS = Path(free_body.__file__).parent / "assets"
FLIP = torch.tensor([-1.0, 1.0, 1.0])
SIZES = ("7k", "3k5")


def _arrays(size: str = "3k5") -> dict[str, np.ndarray]:
    with np.load(ASSETS / f"free_body_{size}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def test_both_sizes_share_the_skeleton_but_not_the_mesh():
    big, small = (load_free_body(size) for size in SIZES)
    assert big.skeleton_hash == small.skeleton_hash
    assert big.mesh_hash != small.mesh_hash
    for key in ("J_template", "J_shapedirs", "keypoint_moments", "keypoint_moment_dirs", "capsule_radii"):
        assert torch.equal(getattr(big, key), getattr(small, key))
    assert big.num_vertices > 6500 and 3000 < small.num_vertices < 4000


def test_hashes_are_those_of_the_build_report_and_ignore_the_dtype():
    report = json.loads((ASSETS / "build_report.json").read_text())
    for size in SIZES:
        model = load_free_body(size)
        assert model.skeleton_hash == report[model.name]["skeleton"]
        assert model.mesh_hash == report[model.name]["mesh"]
        assert model.to(torch.float64).skeleton_hash == model.skeleton_hash
        assert model.to("cpu").to(torch.float32) is model


@pytest.mark.parametrize("size", SIZES)
def test_files_are_small_and_hold_plain_arrays(size: str):
    assert (ASSETS / f"free_body_{size}.npz").stat().st_size < 1_000_000
    arrays = _arrays(size)
    assert "CC0" in str(arrays["licence"]) and str(arrays["name"]) == f"free_body_{size}"
    assert (np.count_nonzero(arrays["weights"], axis=1) <= 4).all()


def test_people_are_shown_the_large_mesh_and_other_bodies_as_they_are():
    small, large = load_free_body("3k5"), load_free_body("7k")
    assert shown_body(small) is large and shown_body(large) is large
    other = toy_body()
    assert shown_body(other) is other


def test_skeleton_and_keypoints_are_exactly_symmetric():
    model = load_free_body()
    swap, kp_swap = list(MIRROR_JOINTS), list(MIRROR_KEYPOINTS)
    assert torch.equal(model.J_template[swap] * FLIP, model.J_template)
    assert torch.equal(model.J_shapedirs[swap] * FLIP[:, None], model.J_shapedirs)
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0])
    moments = model.keypoint_moments[kp_swap][:, swap[:24]] * flip
    dirs = model.keypoint_moment_dirs[kp_swap][:, swap[:24]] * flip[:, None]
    assert torch.equal(moments, model.keypoint_moments)
    assert torch.equal(dirs, model.keypoint_moment_dirs)


@pytest.mark.parametrize("size", SIZES)
def test_mesh_is_symmetric_closed_and_outward(size: str):
    model = load_free_body(size)
    vertices = rest_vertices(model, torch.linspace(1, -1, 10)).numpy()
    distance, twin = cKDTree(vertices).query(vertices * FLIP.numpy())
    assert distance.max() < 1e-6
    weights = model.weights.numpy()
    np.testing.assert_allclose(weights[twin][:, list(MIRROR_JOINTS[:24])], weights, atol=1e-6)
    faces = model.faces.numpy()
    edges = {tuple(e) for a, b in ((0, 1), (1, 2), (2, 0)) for e in faces[:, [a, b]].tolist()}
    assert len(edges) == 3 * len(faces) and all((b, a) in edges for a, b in edges)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    assert 0.03 < volume < 0.15  # cubic metres; negative if the faces were inside out


@pytest.mark.parametrize("size", SIZES)
def test_t_pose_has_the_stated_axes(size: str):
    model = load_free_body(size)
    joint = dict(zip(JOINT_NAMES, model.J_template, strict=True))
    assert torch.equal(model.J_template[0], torch.zeros(3)) and not model.J_shapedirs[0].any()
    assert joint["head_top"][1] > 0.7 and joint["left_ankle"][1] < -0.7
    assert joint["left_wrist"][0] > 0.5 and joint["left_big_toe_tip"][2] > joint["left_ankle"][2] + 0.1
    arm = joint["left_hand"] - joint["left_shoulder"]
    assert (arm[1:].abs() < 1e-3).all()
    keypoint = dict(zip(KEYPOINT_NAMES, model.keypoint_moments.sum(1)[:, :3], strict=True))
    assert keypoint["nose"][2] > 0.1 and keypoint["left_heel"][2] < 0
    palm = keypoint["left_index_knuckle"] - keypoint["left_pinky_knuckle"]
    assert palm[2] > 0.04 and abs(palm[1]) < 0.01  # thumbs forward, palms down


def test_keypoints_lie_near_their_joints():
    model = load_free_body()
    points = model.keypoint_moments.sum(1)[:, :3]
    for k, name in enumerate(KEYPOINT_NAMES):
        if name in JOINT_NAMES:
            assert (points[k] - model.J_template[JOINT_NAMES.index(name)]).norm() < 0.04, name


def test_shares_of_keypoints_sum_to_one():
    model = load_free_body()
    torch.testing.assert_close(model.keypoint_moments[..., 3].sum(1), torch.ones(27), atol=1e-5, rtol=0)
    assert not model.keypoint_moment_dirs[..., 3, :].any()


def test_betas_have_unit_variance_scale_and_the_first_is_stature():
    model = load_free_body()
    stature = []
    for beta in (-2.0, 0.0, 2.0):
        betas = torch.zeros(10)
        betas[0] = beta
        height = rest_vertices(model, betas)[:, 1]
        stature.append(float(height.max() - height.min()))
    assert 1.4 < stature[0] < 1.6 < stature[1] < 1.8 < stature[2] < 2.0
    spread = model.shapedirs.square().sum((0, 1))
    assert (spread[:-1] > 0.95 * spread[1:]).all()  # sorted by variance


def _write(folder: Path, arrays: dict) -> Path:
    path = folder / "body.npz"
    np.savez(path, **arrays)
    return path


def test_round_trip_through_a_file(tmp_path):
    assert read_body(_write(tmp_path, _arrays())).mesh_hash == load_free_body("3k5").mesh_hash


def test_damaged_files_are_refused(tmp_path):
    def refuses(message: str, **changes):
        arrays = {**_arrays(), **changes}
        arrays = {key: value for key, value in arrays.items() if value is not None}
        with pytest.raises(InputError, match=message):
            read_body(_write(tmp_path, arrays))

    good = _arrays()
    nan = good["J_template"].copy()
    nan[3, 1] = np.nan
    refuses("format version 2", format_version=np.int64(2))
    refuses("format version None", format_version=None)
    refuses("lacks the arrays.*weights", weights=None)
    refuses("J_template.*not finite", J_template=nan)
    refuses("weights.*shape", weights=good["weights"][:, :23])
    refuses("outside its", faces=good["faces"] + np.uint16(100))
    refuses("parents", parents=np.roll(good["parents"], 1))
    refuses("sum to one", weights=good["weights"] * np.float16(0.25))
    refuses("format version abc", format_version=np.array("abc"))
    refuses("'v_template' is of type .*expected an array of numbers", v_template=np.array("none"))
    refuses("'shapedirs' is of type .*expected an array of numbers", shapedirs=np.float32(1))
    refuses("or is empty", faces=good["faces"][:0])


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="Cannot read"):
        read_body(tmp_path / "absent.npz")
    for content in (b"", b"not a zip archive", (ASSETS / "free_body_3k5.npz").read_bytes()[:5000]):
        (tmp_path / "cut.npz").write_bytes(content)
        with pytest.raises(InputError, match="Cannot read"):
            read_body(tmp_path / "cut.npz")
    np.savez(tmp_path / "object.npz", format_version=np.array([{"run": "me"}], dtype=object))
    with pytest.raises(InputError, match="Cannot read"):
        read_body(tmp_path / "object.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="not an npz archive"):
        read_body(tmp_path / "single.npy")
