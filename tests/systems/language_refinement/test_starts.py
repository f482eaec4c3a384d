"""Where a refinement starts: folders of `recover` and prediction files, checked before anything is done with them."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.npz_file import read_npz, write_npz
from hmralign.data.images import load_image
from hmralign.detection.find_people import find_people
from hmralign.structures import InputError
from hmralign.systems.language_refinement.starts import box_overlap, read_start, with_keypoints
from support.foreign_predictions import tracker_place, write_4d_humans, write_sam_3d_body, write_smplerx
from support.prediction_files import free_arrays, joint_arrays
from support.published_datasets import body_file, people
from support.recover_example import example_photo, write_keypoints
from support.synthetic_persons import BODY

FREE = load_free_body("7k")


@pytest.fixture
def folder(recovered, tmp_path):
    """A copy to damage."""
    return shutil.copytree(recovered[1], tmp_path / "copy")


def changed(folder, **arrays):
    path = folder / "person_0" / "hypotheses.npz"
    write_npz(path, {**read_npz(path), **arrays})
    return folder


def test_a_folder_of_recover_gives_its_fused_body_its_group_and_what_was_observed(recovered):
    photo, folder, _ = recovered
    people = read_start(folder, FREE, photo)
    (person,) = people.persons
    arrays = read_npz(folder / "person_0" / "hypotheses.npz")
    np.testing.assert_array_equal(person.initial.transl.numpy(), arrays["fused_transl"])
    np.testing.assert_array_equal(person.observation.keypoints.numpy(), arrays["keypoints"])
    assert person.hypotheses is not None and len(person.hypotheses.transl) == 3
    assert (person.camera.width, person.camera.height) == (people.photo.width, people.photo.height) == (160, 200)
    assert read_start(folder.parent, FREE).persons[0].name == "person_0", "the folder of a single photo will do"
    assert read_start(folder, FREE).photo is None


def test_another_photo_is_refused(recovered, tmp_path):
    Image.new("RGB", (160, 200)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match="is not the photo of"):
        read_start(recovered[1], FREE, tmp_path / "other.png")


def test_another_skeleton_is_refused(recovered, folder):
    changed(folder, skeleton_hash=np.array("0" * 64), body_name=np.array("smpl_neutral"))
    with pytest.raises(InputError, match=r"skeleton of body 'smpl_neutral'.*--body FILE"):
        read_start(folder, FREE)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"K": np.eye(4)}, "'K' is float64"),
        ({"keypoints": np.zeros((17, 2))}, "'keypoints'"),
        ({"camera_source": np.array("dream")}, "'camera_source' is 'dream'"),
        ({"confidence": np.array(["a"] * 27)}, "'confidence'"),
    ],
)
def test_arrays_that_are_none_are_refused_by_name(folder, arrays, words):
    with pytest.raises(InputError, match=words):
        read_start(changed(folder, **arrays), FREE)


def test_a_folder_without_a_finished_photo_or_with_several_is_refused(recovered, tmp_path):
    with pytest.raises(InputError, match="no finished photo"):
        read_start(tmp_path, FREE)
    for name in ("a", "b"):
        shutil.copytree(recovered[1], tmp_path / "both" / name)
    with pytest.raises(InputError, match=r"holds 2 photos \(a, b\)"):
        read_start(tmp_path / "both", FREE)


def test_a_prediction_file_gives_its_first_hypothesis(tmp_path):
    path = write_npz(tmp_path / "p.npz", free_arrays())
    people = read_start(path, BODY)
    assert len(people.persons) == 5 and people.persons[0].name == "photo_0.jpg#0"
    assert any("the first is refined" in note for note in people.notes)
    expected = torch.from_numpy(free_arrays()["body_pose"][:, 0])
    torch.testing.assert_close(torch.stack([p.initial.body_pose for p in people.persons]), expected)
    chosen = people.chosen(["1", "photo_0.jpg#0"])
    assert [p.name for p in chosen.persons] == ["photo_1.jpg#0", "photo_0.jpg#0"]
    with pytest.raises(InputError, match="no person 'nobody'"):
        people.chosen(["nobody"])
    with pytest.raises(InputError, match=r"person 'photo_1\.jpg#0' is named twice"):
        people.chosen(["0", "1", "photo_1.jpg#0"])


def test_smpls_bodies_are_carried_over_and_said_to_be(tmp_path):
    path = write_npz(tmp_path / "p.npz", free_arrays() | {"skeleton": np.array("smpl")})
    assert any("carried over" in note for note in read_start(path, BODY).notes)


def test_joints_alone_are_no_start(tmp_path):
    with pytest.raises(InputError, match="joints alone"):
        read_start(write_npz(tmp_path / "p.npz", joint_arrays()), BODY)


def test_a_prediction_that_is_not_finite_is_refused_by_name(tmp_path):
    arrays = free_arrays()
    arrays["transl"][2, 0, 1] = np.nan
    with pytest.raises(InputError, match=r"'transl' of person 'photo_2.jpg#0' is not finite"):
        read_start(write_npz(tmp_path / "p.npz", arrays), BODY)


def test_given_keypoints_replace_the_stored_ones(recovered, tmp_path):
    photo, folder, keypoints = recovered
    points = np.array(json.loads(keypoints.read_text())[0]["keypoints"])
    moved = json.loads(keypoints.read_text())
    moved[0]["keypoints"] = [v + 2.0 if n % 3 != 2 and points[n] else v for n, v in enumerate(points.tolist())]
    (tmp_path / "moved.json").write_text(json.dumps(moved))
    before, after = (read_start(folder, FREE, photo, k).persons[0] for k in (None, tmp_path / "moved.json"))
    seen = (before.observation.confidence > 0) & (after.observation.confidence > 0)
    shift = (after.observation.keypoints - before.observation.keypoints)[seen]
    torch.testing.assert_close(shift, torch.full_like(shift, 2.0), atol=0.01, rtol=0)


def test_keypoints_need_the_photo_and_must_be_of_somebody_who_is_there(recovered, tmp_path):
    photo, folder, keypoints = recovered
    with pytest.raises(InputError, match="and no photo"):
        read_start(folder, FREE, None, keypoints)
    people = read_start(folder, FREE, photo)
    _, points = example_photo()
    small = points.copy()
    small[:, :2] = points[:, :2].min(0) + 0.05 * (points[:, :2] - points[:, :2].min(0))
    found = find_people(load_image(photo), None, None, write_keypoints(tmp_path / "k.json", {"photo.png": [small]}))
    with pytest.raises(InputError, match="of nobody in"):
        with_keypoints(people, found)


def test_overlap_of_boxes():
    a = torch.tensor([0.0, 0.0, 2.0, 2.0])
    assert box_overlap(a, a) == pytest.approx(1.0) and box_overlap(a, a + 2) == 0.0
    assert box_overlap(a, torch.tensor([1.0, 0.0, 3.0, 2.0])) == pytest.approx(2 / 6)


def test_predictions_of_other_systems_start_a_refinement_in_their_own_formats(tmp_path):
    """On their own body as they are; on another one carried over, which is said, as is what was assumed."""
    path = body_file(str(tmp_path))
    who, own = people(path), load_body(path)
    tracks = write_4d_humans(tmp_path / "demo.pkl", who)
    there = read_start(tracks, own, family="smpl")
    assert len(there.persons) == len(who) and not any("carried over" in note for note in there.notes)
    assert torch.allclose(there.persons[1].initial.transl, torch.from_numpy(tracker_place(who, 1)).float(), atol=1e-3)
    assert float(there.persons[0].observation.confidence.max()) == 0 and there.persons[0].camera.source == "estimated"
    other = read_start(tracks, FREE)
    assert any("bodies of SMPL; they were carried over" in note for note in other.notes)
    assert any("focal length 5000" in note for note in other.notes)
    fitted = read_start(write_sam_3d_body(tmp_path / "sam.pkl", who), FREE)
    assert any("MHR; they were carried over" in n and "fitted to 27 keypoints" in n for n in fitted.notes)
    gap = fitted.persons[2].initial.transl - (who.params.transl + who.rest_pelvis)[2]
    assert float(gap.norm()) < 0.1
    with pytest.raises(InputError, match="neither the camera nor the size of the photo"):
        read_start(write_smplerx(tmp_path / "out", who, meta=False) / "smplx/00000_0.npz", FREE)
