"""Prediction files: what is read means what it should, and wrong files are refused with a sentence that names it."""

import time

import numpy as np
import pytest
import torch

from hmralign.data import prediction_file
from hmralign.data.keypoint_box import keypoint_box
from hmralign.data.prediction_file import UNKNOWN_DETECTOR, read_predictions
from hmralign.geometry.rotations import rotmat_to_rotvec
from hmralign.structures import InputError
from support.npz_damage import with_broken_stream
from support.prediction_files import HYP, PERSONS, free_arrays, hypotheses, joint_arrays, observed, without, write

FREE = free_arrays()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.npz"


def refusal(path, *words):
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message, (word, message)


def test_what_is_written_is_read(path):
    read, group, seen = read_predictions(write(path)), hypotheses(), observed()
    assert read.ids == tuple(FREE["id"]) and read.skeleton == "free" and read.detector == UNKNOWN_DETECTOR
    assert (len(read), read.num_hypotheses, read.joints, read.rest_joints) == (PERSONS, HYP, None, None)
    assert torch.equal(read.rotmats, group.body.rotmats)
    assert torch.equal(read.betas, group.body.betas) and torch.equal(read.transl, group.body.transl)
    for name in ("keypoints", "confidence", "box", "K"):
        assert torch.equal(getattr(read.observation, name), getattr(seen, name))
    assert read.observation.knows_camera.all() and not read.observation.has_mask.any()
    part = read[1:3]
    assert part.ids == read.ids[1:3] and torch.equal(part.rotmats, read.rotmats[1:3]) and part.joints is None


@pytest.mark.parametrize("flat", [True, False])
def test_rotation_vectors_are_the_same_as_matrices(path, flat):
    vectors = rotmat_to_rotvec(hypotheses().body.rotmats).numpy()
    pose = vectors[:, :, 1:]
    arrays = FREE | {"global_orient": vectors[:, :, 0], "body_pose": pose.reshape(PERSONS, HYP, 69) if flat else pose}
    read = read_predictions(write(path, arrays))
    torch.testing.assert_close(read.rotmats, hypotheses().body.rotmats, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [17, 23])
def test_fewer_keypoints_are_the_first_ones(path, count):
    arrays = FREE | {"keypoints": FREE["keypoints"][:, :count], "confidence": FREE["confidence"][:, :count]}
    seen = read_predictions(write(path, arrays)).observation
    assert seen.keypoints.shape == (PERSONS, 27, 2) and not seen.confidence[:, count:].any()
    assert torch.equal(seen.keypoints[:, :count], observed().keypoints[:, :count])


def test_what_may_be_left_out(path):
    read = read_predictions(write(path, without(FREE, "betas", "box")))
    assert read.betas is None
    torch.testing.assert_close(read.observation.box, observed().box)
    few = read_predictions(write(path, betas=FREE["betas"][..., :4])).betas
    assert torch.equal(few[..., :4], hypotheses().body.betas[..., :4]) and not few[..., 4:].any()
    read = read_predictions(write(path, joint_arrays()))
    assert read.rotmats is None and read.transl is None and read.joints.shape == (PERSONS, HYP, 24, 3)


def test_masks_cameras_and_detectors(path):
    mask = np.zeros((PERSONS, 48, 48), np.uint8)
    mask[1:, 10:20] = 255
    knows = np.arange(PERSONS) > 2
    read = read_predictions(write(path, mask=mask, knows_camera=knows, detector=np.array("mediapipe")))
    assert read.observation.mask.max() == 1 and read.observation.has_mask.tolist() == [False, *[True] * (PERSONS - 1)]
    assert read.observation.knows_camera.tolist() == knows.tolist() and read.detector == "mediapipe"


def test_one_hypothesis_can_be_read(path):
    names = ("global_orient", "body_pose", "betas", "transl")
    assert read_predictions(write(path, **{n: FREE[n][:, :1] for n in names})).num_hypotheses == 1


# -- large files -------------------------------------------------------------------------------------------------------


def written_many(path, persons, **more):
    """A file of so many persons, the same few again and again."""
    again = -(-persons // PERSONS)
    arrays = {n: a if a.ndim == 0 else np.concatenate([a] * again)[:persons] for n, a in {**FREE, **more}.items()}
    return write(path, arrays | {"id": np.array([f"photo_{n}.jpg" for n in range(persons)])})


def test_nothing_that_is_made_in_between_grows_with_the_file(path, monkeypatch):
    sizes: list[int] = []

    def recorded(function):
        def record(values, *rest, **more):
            sizes.append(values.numel())
            return function(values, *rest, **more)

        return record

    for name in ("isfinite", "linalg.det"):
        owner = torch.linalg if "." in name else torch
        monkeypatch.setattr(owner, name.split(".")[-1], recorded(getattr(owner, name.split(".")[-1])))
    monkeypatch.setattr(prediction_file, "keypoint_box", recorded(keypoint_box))
    read = read_predictions(written_many(path, 3000, mask=np.full((PERSONS, 48, 48), 255, np.uint8)))
    assert len(read) == 3000 and read.observation.has_mask.all() and read.observation.mask.max() == 1
    assert max(sizes) <= 2**18 < 3000 * HYP * 23 * 9, "a part of a megabyte, of arrays of several"
    assert sum(sizes) > 3000 * (HYP * 24 * 9 * 2 + 48 * 48), "and all of it"


def test_masks_that_nobody_has_take_no_memory(path):
    seen = read_predictions(written_many(path, 1000)).observation
    assert seen.mask.shape == (1000, 48, 48) and not seen.has_mask.any()
    assert seen.mask.untyped_storage().nbytes() == 48 * 48 * 4
    assert torch.equal(seen[3:5].mask, torch.zeros(2, 48, 48))


def test_reading_grows_with_the_number_of_persons(tmp_path):
    """Eight times the persons take eight times the time, by the processor's clock; twice that is let pass."""
    spent = []
    for persons in (1000, 8000):
        path = written_many(tmp_path / f"{persons}.npz", persons)
        tries = []
        for _ in range(3):
            started = time.process_time()
            read_predictions(path)
            tries.append(time.process_time() - started)
        spent.append(min(tries))
    assert spent[1] < 16 * spent[0]


def test_a_wrong_person_far_behind_is_named(path):
    with np.load(written_many(path, 12_000)) as content:
        arrays = dict(content)
    arrays["confidence"][11_321, 3] = np.nan
    refusal(write(path, arrays), "'confidence' of person 'photo_11321.jpg' is not finite")


# -- weak perspective --------------------------------------------------------------------------------------------------


def test_pred_cam_in_a_file(path):
    f, size = 1200.0, np.full(PERSONS, 256.0)
    K = np.tile(np.array([[f, 0, 320.0], [0, f, 240.0], [0, 0, 1]]), (PERSONS, 1, 1))
    T = hypotheses().body.transl.numpy().astype(np.float64)
    center = np.tile([300.0, 250.0], (PERSONS, 1))
    s = 2 * f / (size[:, None] * T[..., 2])
    away = 2 * (center - [320.0, 240.0])[:, None] / (size[:, None] * s)[..., None]
    arrays = without(FREE, "transl") | {
        "K": K, "pred_cam": np.concatenate([s[..., None], T[..., :2] - away], -1), "box_center": center,
        "box_size": size, "focal_px": np.full(PERSONS, f), "image_size": np.tile([640.0, 480.0], (PERSONS, 1)),
    }  # fmt: skip
    torch.testing.assert_close(read_predictions(write(path, arrays)).transl, hypotheses().body.transl)
    other = arrays | {"focal_px": np.full(PERSONS, 5000.0)}
    refusal(write(path, other), "'K' of person 'photo_0.jpg#0'", "camera of 'pred_cam'")
    refusal(write(path, arrays | {"transl": T}), "both 'transl' and 'pred_cam'")
    refusal(write(path, without(arrays, "box_size")), "['box_size']", "'pred_cam' needs")
    refusal(write(path, without(arrays, "pred_cam")), "'box_center'", "no 'pred_cam'")


# -- wrong files -------------------------------------------------------------------------------------------------------


def spoiled(name, index, value):
    array = FREE[name].copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"keypoints": FREE["keypoints"][:, :20]}, ["'keypoints'", "(5, 20, 2)", "(P, 17, 2) or (P, 23, 2)", "P = 5"]),
        ({"confidence": FREE["confidence"][:, :17]}, ["'confidence'", "(P, 27)"]),
        ({"betas": FREE["betas"][:, :2]}, ["'betas'", "(5, 2, 10)", "(P, H, 10)", "H = 3"]),
        ({"betas": np.zeros((PERSONS, HYP, 11))}, ["'betas' has 11 components"]),
        ({"transl": FREE["transl"][:4]}, ["'transl'", "P = 5"]),
        ({"global_orient": FREE["global_orient"][0]}, ["'global_orient'", "(3, 3, 3)"]),
        ({"body_pose": np.zeros((PERSONS, HYP, 63))}, ["'body_pose'", "(P, H, 69)"]),
        ({"joints": np.zeros((PERSONS, HYP, 45, 3))}, ["'joints'", "(P, H, 24, 3)"]),
        ({"betas": FREE["betas"].astype(str)}, ["'betas' is <U"]),
        ({"betas": FREE["betas"].astype(object)}, ["'betas'", "cannot be read"]),
        (spoiled("transl", (2, 1, 0), np.nan), ["'transl'", "'photo_2.jpg#0'", "not finite"]),
        (spoiled("keypoints", (4, 3), np.inf), ["'keypoints'", "'photo_4.jpg#0'", "not finite"]),
        (spoiled("body_pose", (3, 1, 5), 2 * np.eye(3)), ["'body_pose'", "'photo_3.jpg#0'", "no rotation"]),
        (spoiled("global_orient", (1, 0), -np.eye(3)), ["'global_orient'", "'photo_1.jpg#0'", "no rotation"]),
        (spoiled("confidence", 1, 0.0), ["'confidence'", "'photo_1.jpg#0'", "0 everywhere"]),
        (spoiled("confidence", (1, 2), 1.5), ["'confidence'", "0 to 1"]),
        (spoiled("box", 1, [5, 5, 5, 9]), ["'box'", "'photo_1.jpg#0'", "empty"]),
        (spoiled("K", (2, 0, 0), 0.0), ["'K'", "'photo_2.jpg#0'", "no camera"]),
        (spoiled("transl", (2, 1, 2), -3.0), ["'transl'", "'photo_2.jpg#0'", "behind the camera"]),
        (spoiled("id", 1, "photo_0.jpg#0"), ["'photo_0.jpg#0' twice"]),
        ({"id": np.arange(PERSONS)}, ["'id'", "text"]),
        ({"skeleton": np.array("smplx")}, ["'skeleton' is 'smplx'"]),
        ({"skeleton": np.array(["free"])}, ["'skeleton'", "one text"]),
        ({"detector": np.array("noise.npz")}, ["'detector'", "not a file"]),
        ({"beta": FREE["betas"]}, ["['beta']", "mean nothing"]),
        ({"mask": np.full((PERSONS, 48, 48), 2.0)}, ["'mask'", "0 to 1"]),
    ],
)
def test_wrong_arrays(path, changes, words):
    refusal(write(path, **changes), *words)


@pytest.mark.parametrize("name", ["id", "skeleton", "keypoints", "confidence", "K", "body_pose", "transl"])
def test_missing_arrays(path, name):
    refusal(write(path, without(FREE, name)), name)


def test_neither_rotations_nor_joints(path):
    refusal(write(path, without(FREE, "global_orient", "body_pose")), "neither rotations")


def test_joints_that_are_not_in_the_camera_frame(path):
    joints = hypotheses().joints[:, :, :24]
    relative = (joints - joints[:, :, :1]).numpy()
    refusal(write(path, joints=relative), "'joints'", "not where the translation is")
    refusal(write(path, joint_arrays() | {"joints": relative}), "'joints'", "behind the camera")


def test_files_that_are_none(path, tmp_path):
    refusal(tmp_path / "none.npz", "no such file")
    path.write_bytes(b"not an archive")
    refusal(path, "not an npz archive")
    refusal(with_broken_stream(write(path), "betas"), "'betas'", "damaged")
