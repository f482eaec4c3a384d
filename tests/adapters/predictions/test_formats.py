"""Predictions in the formats of other systems come back as the bodies that were written; what is wrong is named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.adapters.predictions.names import FORMATS
from hmralign.adapters.predictions.opened import open_predictions, prediction_cards
from hmralign.adapters.predictions.rows import knows_cameras
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.geometry.cameras import project
from hmralign.preferences.predictions import carried_over
from hmralign.structures import InputError
from support.foreign_predictions import (
    image,
    write_4d_humans,
    write_nlf,
    write_sam_3d_body,
    write_smpl_parameters,
    write_smplerx,
)
from support.published_datasets import body_file, people

FREE = load_free_body("3k5")


@dataclass(frozen=True)
class Case:
    """A format, who writes it, and what of the persons comes back."""

    format: str
    write: Callable[..., Path]
    file: str
    joints: int = 24  # of the body that was predicted
    has_images: bool = True

    @property
    def id(self) -> str:
        return f"{self.format}:{self.file}"


CASES = [
    Case("4d-humans", write_4d_humans, "demo_walk.pkl"),
    Case("smpl-parameters", write_smpl_parameters, "out.npz"),
    Case("smpl-parameters", write_smpl_parameters, "out.pkl"),
    Case("smpl-parameters", write_smpl_parameters, "out.pt"),
    Case("nlf", write_nlf, "nlf.pkl"),
    Case("nlf", write_nlf, "nlf.pt"),
    Case("smplerx", write_smplerx, "smplerx_out", joints=55),
    Case("sam-3d-body", write_sam_3d_body, "sam.pkl"),
    Case("sam-3d-body", write_sam_3d_body, "sam_out", has_images=False),
]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module")
def who(bodies):
    return people(body_file(str(bodies)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_predictions_come_back_where_they_were(case, bodies, tmp_path):
    who = people(body_file(str(bodies), case.joints))
    found = open_predictions([case.write(tmp_path / case.file, who)])
    assert len(found) == len(who) and found.format == case.format and found.num_hypotheses == 1
    assert found.assumed and len(set(found.ids)) == len(who)
    if case.has_images:
        assert sorted(found.images) == [image(row) for row in range(len(who))]
    bodies_found = carried_over(found, who.body, who.body)
    if case.format == "4d-humans":  # in the tracker's camera, which is far away
        here, there = bodies_found.joints[:, 0], who.joints
        assert torch.allclose(here - here[:, :1], there - there[:, :1], atol=2e-5)
        assert float((project(here, found.observation.K) - who.points).abs().max()) < 20
    elif case.format != "sam-3d-body":
        assert torch.allclose(bodies_found.joints[:, 0], who.joints, atol=2e-5)
    else:
        off = (bodies_found.joints[:, 0, :22] - who.joints[:, :22]).norm(dim=-1)
        assert float(off.mean()) < 0.012 and float(off.max()) < 0.08
    if case.format != "4d-humans":  # whose camera is that of the tracker, and no other
        assert torch.allclose(
            project(bodies_found.joints[:, 0], found.observation.K)[:, :22], who.points[:, :22], atol=9
        )
        assert torch.allclose(found.observation.K[:, 0, 0], who.K[0, 0].expand(len(who)))
    low, high = found.observation.box[:, :2], found.observation.box[:, 2:]
    assert case.format == "smpl-parameters" or bool(((high - low) > 20).all())  # whose demos need not save boxes
    assert knows_cameras(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_without_a_body_file_limbs_stay_where_they_were(case, bodies, tmp_path):
    """Rotations as predicted, places by joints or the mean pelvis: half a decimetre where a file has no joints."""
    who = people(body_file(str(bodies), case.joints))
    found = carried_over(open_predictions([case.write(tmp_path / case.file, who)]), FREE)
    assert torch.allclose(found.joints[..., 24:, :], posed_joints(FREE, found.body)[..., 24:, :], atol=1e-4)
    limbs = [4, 5, 7, 8, 18, 19, 20, 21]
    relative = (found.joints[:, 0] - found.joints[:, 0, :1]) - (who.joints - who.joints[:, :1])
    has_shape = case.format in ("nlf", "sam-3d-body")
    assert float(relative[:, limbs].norm(dim=-1).mean()) < (0.03 if has_shape else 0.09)


def test_every_format_is_tried_here_and_has_a_card():
    assert {case.format for case in CASES} == set(FORMATS)
    assert [card.name for card in prediction_cards()] == list(FORMATS)
    assert all("never run on a real file" in card.tried and card.assumed for card in prediction_cards())


def test_tracks_that_were_guessed_for_a_frame_are_left_out(who, tmp_path):
    found = open_predictions([write_4d_humans(tmp_path / "demo.pkl", who, compress=True)])
    assert len(found) == len(who) and found.ids[0] == f"{image(0)}#1"
    assert torch.allclose(found.observation.K[0, 0, 0], torch.tensor(5000 * 320 / 256))


def test_a_crop_camera_becomes_a_place_in_the_full_image(who, tmp_path):
    """`pred_cam` of a box is put where `pred_cam_t_full` puts the body: T_z = 2 f / (b s)."""
    f, centre, side = float(who.K[0, 0]), np.array([150.0, 110.0]), 90.0
    T = who.params.transl.numpy()
    s = 2 * f / (side * T[:, 2])
    cam = np.stack([s, *(T[:, i] - 2 * (centre[i] - (160, 120)[i]) / (side * s) for i in (0, 1))], axis=1)

    def change(content):
        content.pop("pred_cam_t_full")
        n = len(who)
        content |= {"pred_cam": cam, "box_center": np.tile(centre, (n, 1)), "box_size": np.full(n, side)}

    found = open_predictions([write_smpl_parameters(tmp_path / "out.pkl", who, change=change)])
    assert found.transl is not None and torch.allclose(found.transl[:, 0], who.params.transl, atol=1e-4)
    assert torch.allclose(found.observation.box[0], torch.tensor([105.0, 65, 195, 155]))


WRONG = [
    (write_4d_humans, "a.pkl", lambda c: c[image(1)]["smpl"].pop(), "lists of unequal lengths"),
    (write_4d_humans, "a.pkl", lambda c: c[image(1)]["smpl"][0].pop("betas"), "has no 'smpl.betas'"),
    (
        write_4d_humans,
        "a.pkl",
        lambda c: c[image(1)]["camera"].__setitem__(0, np.array([0, 0, -3.0])),
        "behind the cam",
    ),
    (
        write_4d_humans,
        "a.pkl",
        lambda c: c[image(1)]["smpl"][0].update(body_pose=np.eye(3)[None].repeat(21, 0)),
        "21 joints of SMPL-X; expected 23 rotations",
    ),
    (
        write_4d_humans,
        "a.pkl",
        lambda c: c[image(1)]["smpl"][0].update(global_orient=2 * np.eye(3)[None]),
        "no rotation",
    ),
    (write_nlf, "a.pkl", lambda c: c["betas"].__setitem__(1, np.zeros((2, 10))), "unequal numbers of persons"),
    (write_nlf, "a.pkl", lambda c: c["pose"].__setitem__(1, np.zeros((1, 69))), "69 numbers"),
    (write_nlf, "a.pkl", lambda c: c["trans"].__setitem__(1, np.array([[0, 0, 4500.0]])), "expected metres"),
    (write_nlf, "a.pkl", lambda c: c["pose"].__setitem__(1, np.full((1, 72), 90.0)), "are these degrees"),
    (
        write_sam_3d_body,
        "a.pkl",
        lambda c: c[1].update(pred_keypoints_2d=c[0]["pred_keypoints_2d"] * 2),
        "pixels off its 3D",
    ),
    (
        write_sam_3d_body,
        "a.pkl",
        lambda c: c[1].update(pred_keypoints_3d=np.zeros((17, 3))),
        "17 points, expected the 70",
    ),
    (write_sam_3d_body, "a.pkl", lambda c: c[1].pop("pred_cam_t"), "has no 'pred_cam_t'"),
    (write_smpl_parameters, "a.pkl", lambda c: c["pred_smpl_params"]["betas"].__setitem__(1, np.nan), "not finite"),
    (
        write_smplerx,
        "out",
        lambda c, row: row == 1 and c.update(body_pose=np.zeros((23, 3))),
        "SMPL's 23 joints; expected 21",
    ),
]


@pytest.mark.parametrize(("write", "name", "change", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_one_wrong_person_is_named_and_counted_and_the_others_are_read(
    write, name, change, said, who, tmp_path, caplog
):
    found = open_predictions([write(tmp_path / name, who, change=change)])
    assert len(found) == len(who) - 1
    assert "left out: 1 record " in caplog.text and said in caplog.text
    assert any(said in line for line in found.assumed), "a table says it too"


FILES = [
    (
        write_smpl_parameters,
        "a.pkl",
        lambda c: c["pred_smpl_params"].update(betas=np.zeros((2, 10))),
        "lengths are unequal",
    ),
    (
        write_smpl_parameters,
        "a.pkl",
        lambda c: c.update(pred_cam_t=c.pop("pred_cam_t_full")),
        "in the camera of the crop",
    ),
    (write_smpl_parameters, "a.pkl", lambda c: c.update(img_path=["x"]), "expected a name for each person"),
    (write_nlf, "a.pkl", lambda c: c["betas"].pop(), "unequal numbers of images"),
    (write_nlf, "a.pkl", lambda c: c["image_path"].__setitem__(1, image(0)), "twice; expected each one once"),
]


@pytest.mark.parametrize(("write", "name", "change", "said"), FILES, ids=[said for *_, said in FILES])
def test_what_is_wrong_with_a_whole_file_is_said(write, name, change, said, who, tmp_path):
    with pytest.raises(InputError, match=said):
        open_predictions([write(tmp_path / name, who, change=change)])


def test_an_unknown_file_names_what_was_found_and_what_is_read(tmp_path):
    np.savez(tmp_path / "strange.npz", verts=np.zeros((2, 6890, 3)), cam=np.zeros((2, 3)))
    with pytest.raises(
        InputError, match=r"strange\.npz: holds a dictionary with \['verts', 'cam'\].*4d-humans: tracks"
    ) as e:
        open_predictions([tmp_path / "strange.npz"])
    assert all(f"{name}: " in str(e.value) for name in FORMATS)
    np.savez(tmp_path / "list.npz", np.array([{"a": np.zeros(3)}], dtype=object))
    with pytest.raises(InputError, match=r"a list of 1 of \['a'\]"):
        open_predictions([tmp_path / "list.npz"])


def test_files_of_two_formats_and_folders_of_none_are_refused(who, tmp_path):
    first, second = write_4d_humans(tmp_path / "a.pkl", who), write_nlf(tmp_path / "b.pkl", who)
    with pytest.raises(InputError, match=r"b\.pkl: holds predictions of the format nlf, the files before of 4d-humans"):
        open_predictions([first, second])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file of predictions"):
        open_predictions([tmp_path / "empty"])
    with pytest.raises(InputError, match="no such file of predictions"):
        open_predictions([tmp_path / "none.pkl"])


class _Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_code_in_a_file_is_refused_and_does_not_run(who, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="wants to use"):
        open_predictions([write_4d_humans(tmp_path / "a.pkl", who, change=lambda c: c.update(x=_Harm()))])
    np.savez(tmp_path / "b.npz", pose=np.zeros((1, 72)), x=np.array(_Harm(), dtype=object))
    with pytest.raises(InputError, match="wants to use"):
        open_predictions([tmp_path / "b.npz"])
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("write", [write_4d_humans, write_nlf])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_file_that_is_cut_off_is_told(write, share, who, tmp_path):
    path = write(tmp_path / "a.pkl", who)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"a\.pkl"):
        open_predictions([path])


def test_cameras_that_are_not_known_are_so(who, tmp_path):
    found = open_predictions([write_nlf(tmp_path / "a.pkl", who, change=lambda c: c.pop("intrinsic_matrix"))])
    half = np.deg2rad(55 / 2)
    assert torch.allclose(found.observation.K[:, 0, 0], torch.tensor(160 / np.tan(half)).float())
    found = open_predictions([write_smplerx(tmp_path / "out", who, meta=False)])
    assert not knows_cameras(found) and found.images == ("",) * len(who)
