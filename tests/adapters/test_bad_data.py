"""What is wrong with somebody else's files is named: a whole file in one sentence, single records one by one."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from hmralign.adapters.persons import AdaptedPersons
from hmralign.body.body_file import load_body
from hmralign.data.dataset import DatasetSetting, open_dataset
from hmralign.data.names import PUBLISHED
from hmralign.structures import InputError
from support.published_datasets import (
    STAND_INS,
    body_file,
    opener,
    people,
    same_shape,
    write_3dpw,
    write_3dpw_json,
    write_bedlam,
    write_ehf,
    write_emdb,
    write_h36m,
    write_human_data,
    write_hybrik_json,
    write_scorer_cache,
)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module")
def who(bodies):
    return people(body_file(str(bodies)))


def opened(dataset: str, folder: Path, split: str = "test", **setting) -> AdaptedPersons:
    persons = opener(dataset)(folder, split, DatasetSetting(**setting))
    assert isinstance(persons, AdaptedPersons)
    return persons


def at(content: dict, *keys, value) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


def without(content: dict, *keys) -> None:
    for key in keys[:-1]:
        content = content[key]
    del content[keys[-1]]


# -- single records ----------------------------------------------------------------------------------------------------

RECORDS = [
    ("h36m", write_h36m, lambda c: without(c, "annotations", 1, "betas"), "has no 'betas'"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "thetas", value=[0.0] * 69), "'thetas' has 69 numbers"),
    (
        "h36m",
        write_h36m,
        lambda c: at(c, "annotations", 1, "thetas", value=[0.0] * 63),
        "without the root and the hands",
    ),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "thetas", value=[0.0] * 71), r"has the shape \(71,\)"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "thetas", value=[99.0] * 72), "more than two turns"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "betas", value=[300.0] * 10), "has a beta beyond 20"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "betas", value=["1.0"] * 10), "no array of numbers"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "betas", value={"a": 1}), "no array of numbers"),
    ("h36m", write_h36m, lambda c: without(c, "images", 1, "cam_param"), "has no 'image.cam_param'"),
    ("h36m", write_h36m, lambda c: at(c, "images", 1, "cam_param", "f", value=[0, 0]), "not positive"),
    (
        "h36m",
        write_h36m,
        lambda c: at(c, "annotations", 1, "smpl_joints", value=[[0.0] * 3] * 28),
        r"has the shape \(28, 3\)",
    ),
    (
        "h36m",
        write_h36m,
        lambda c: at(c, "annotations", 1, "smpl_joints", value=[[0.0] * 3] * 24),
        "neither in metres nor",
    ),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "root_coord", value=[9e3, 0, 9e3]), "nor where the root is"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "image_id", value=3), "its image_id does not name"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, value=[7]), "no object with keys"),
    ("h36m", write_h36m, lambda c: at(c, "annotations", 1, "bbox", value=[5, 5, 0, 9]), "has a box that is empty"),
    (
        "h36m",
        write_h36m,
        lambda c: at(c, "images", 1, "file_name", value="s_09_act_05_subact_02_ca_01/f.jpg"),
        "shifted",
    ),
    (
        "3dpw-json",
        write_3dpw_json,
        lambda c: at(c, "annotations", 1, "image_id", value=7),
        "image that is not in the file",
    ),
    (
        "3dpw-json",
        write_3dpw_json,
        lambda c: at(c, "annotations", 1, "smpl_param", "gender", value="robot"),
        "gender that is none",
    ),
    ("hybrik-json", write_hybrik_json, lambda c: at(c, "annotations", 1, "joint_cam_valid", value=[0.0]), "has no fit"),
    ("hybrik-json", write_hybrik_json, lambda c: without(c, "annotations", 1, "f"), "has no 'f'"),
]


@pytest.mark.parametrize(("dataset", "write", "change", "said"), RECORDS, ids=lambda x: x if isinstance(x, str) else "")
def test_one_wrong_record_is_named_and_counted_and_the_others_are_read(
    dataset, write, change, said, who, tmp_path, caplog
):
    write(tmp_path, who, change=change)
    persons = opened(dataset, tmp_path, "coco" if dataset == "hybrik-json" else "test")
    assert len(persons) == len(who) - 1 and persons.faults.total == 1
    assert "1 record left out: 1 record " in caplog.text and "1 record left out" in persons.agreement
    import re

    assert re.search(said, caplog.text), caplog.text
    assert ":1" in caplog.text or ":2" in caplog.text  # the record's name


def test_where_no_record_is_left_the_reasons_are_said(who, tmp_path):
    write_h36m(tmp_path, who, change=lambda c: [a.pop("betas") for a in c["annotations"]])
    with pytest.raises(
        InputError, match=r"no record of h36m/test can be used: 4 records has no 'betas'|4 records .*betas"
    ):
        opened("h36m", tmp_path)


def test_photos_that_are_not_there_are_missed_only_where_pixels_are_wanted(who, tmp_path, caplog):
    write_h36m(tmp_path, who)
    next((tmp_path / "images").glob("*act_03*/*.jpg")).unlink()
    assert len(opened("h36m", tmp_path)) == 4
    persons = opened("h36m", tmp_path, crop_side=32)
    assert len(persons) == 3 and "has an image that is not there" in caplog.text
    damaged = next((tmp_path / "images").glob("*act_02*/*.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(InputError, match=r"frame_000000\.jpg' is"):
        _ = opened("h36m", tmp_path, crop_side=32).examples


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "a/../../b.jpg", "..\\x.jpg", "C:\\x.jpg"])
def test_paths_that_lead_out_of_the_folder_are_not_followed(name, who, tmp_path, caplog):
    (tmp_path / "secret.jpg").write_bytes(b"")
    write_h36m(tmp_path / "set", who, change=lambda c: at(c, "images", 0, "file_name", value=name))
    persons = opened("h36m", tmp_path / "set", crop_side=32)
    assert len(persons) == 3 and "leads out of the data set's folder" in caplog.text


def test_links_that_lead_out_of_the_folder_are_not_followed(who, tmp_path, caplog):
    write_h36m(tmp_path / "set", who)
    inside = next((tmp_path / "set/images").glob("*/*.jpg"))
    outside = tmp_path / "elsewhere.jpg"
    inside.rename(outside)
    inside.symlink_to(outside)
    assert len(opened("h36m", tmp_path / "set", crop_side=32)) == 3 and "leads out of" in caplog.text
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "set")  # the folder itself may be a link
    assert len(opened("h36m", linked)) == 4


def test_a_photo_of_another_size_is_told_from_the_annotated_one(who, tmp_path):
    write_h36m(tmp_path, who, change=lambda c: [i.update(width=640, height=480) for i in c["images"]])
    with pytest.raises(InputError, match="has 320 x 240 pixels, its annotation says 640 x 480"):
        _ = opened("h36m", tmp_path, crop_side=32).examples


# -- whole files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_a_folder_of_something_else_is_told_and_help_is_named(dataset, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=f"holiday.jpg.*hmralign data check DIR --dataset {dataset}"):
        opened(dataset, tmp_path, "all" if dataset == "amass" else "test")
    with pytest.raises(InputError, match="there is no such folder"):
        opened(dataset, tmp_path / "nowhere", "all" if dataset == "amass" else "test")


def test_an_archive_that_was_not_unpacked_is_pointed_at(tmp_path):
    (tmp_path / "sequenceFiles.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"sequenceFiles\.zip, which is not unpacked or not whole"):
        opened("3dpw", tmp_path)


@pytest.mark.parametrize("dataset", [name for name in STAND_INS if name != "ehf"])  # which has a file for each frame
@pytest.mark.parametrize("share", [0.0, 0.4, 0.97])
def test_a_download_that_broke_off_is_told(dataset, share, who, tmp_path):
    there = STAND_INS[dataset]
    there.write(tmp_path, who)
    path = next(tmp_path.glob(there.annotations))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=path.name) as error:
        opened(dataset, tmp_path, there.split)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("dataset", ["3dpw", "3dpw-json", "h36m", "emdb", "rich", "ehf", "mpi-inf-3dhp"])
def test_a_split_that_there_is_not_is_told_before_the_files_are_blamed(dataset, tmp_path):
    with pytest.raises(InputError, match=f"{dataset} has no split 'tset'; expected .*test"):
        opened(dataset, tmp_path, "tset")


class _Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("dataset", ["3dpw", "emdb", "rich", "human-data", "scorer-cache"])
def test_code_in_a_pickle_is_refused_and_does_not_run(dataset, who, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = STAND_INS[dataset]
    there.write(tmp_path / "set", who)
    path = next((tmp_path / "set").glob(there.annotations))
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"sequence": _Harm()}))
    else:
        key = "smpl" if dataset == "human-data" else "0"
        with np.load(path, allow_pickle=True) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        np.savez(path, **{**content, key: np.array({"a": _Harm()}, dtype=object)})
    with pytest.raises(InputError, match="wants to use"):
        opened(dataset, tmp_path / "set", there.split)
    assert not (tmp_path / "harmed").exists()


def test_an_object_array_in_place_of_numbers_is_refused(who, tmp_path):
    write_bedlam(tmp_path, who, change=lambda c: at(c, "pose_cam", value=np.array([_Harm()] * 4, dtype=object)))
    with pytest.raises(InputError, match="holds objects"):
        opened("bedlam", tmp_path, "train")


EHF = [
    (lambda c: at(c, "meshes", 1, value=np.pad(c["meshes"][1], ((0, 5), (0, 0)))), "has a mesh of"),
    (lambda c: at(c, "meshes", 1, value=1000 * c["meshes"][1]), "near no pose of the label body"),
    (lambda c: at(c, "meshes", 1, value=c["meshes"][1][::-1]), "near no pose of the label body"),
    (lambda c: at(c, "meshes", 1, value=c["meshes"][1] * np.nan), "not finite"),
    (lambda c: at(c, "points", 1, value=[0.5] * 57), "expected 75 or 54"),
    (lambda c: at(c, "points", 1, value=["a"] * 75), "no array of numbers"),
]


@pytest.mark.parametrize(("change", "said"), EHF)
def test_one_wrong_frame_of_ehf_is_named_and_the_others_are_read(change, said, bodies, tmp_path, caplog):
    smplx = body_file(str(bodies), 55)
    write_ehf(tmp_path, people(smplx), change=change)
    persons = opened("ehf", tmp_path, label_body=smplx, body=load_body(smplx))
    assert len(persons) == 3 and persons.faults.total == 1
    assert said in caplog.text and "02_align.ply" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.4, 0.97])
def test_a_mesh_of_ehf_that_broke_off_is_named(share, bodies, tmp_path, caplog):
    smplx = body_file(str(bodies), 55)
    write_ehf(tmp_path, people(smplx))
    path = tmp_path / "03_align.ply"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert len(opened("ehf", tmp_path, label_body=smplx)) == 3
    assert "03_align.ply" in caplog.text


CAMERAS = [
    (lambda text: text.replace("Rotation", "Turn"), "says no rotation"),
    (lambda text: text.replace("[350.000000000]", "[350] [1] [2]"), "has 4 numbers, expected 2 or 1"),
    (lambda text: "", "says no focal"),
]


@pytest.mark.parametrize(("change", "said"), CAMERAS)
def test_a_camera_of_ehf_that_says_something_else_is_refused(change, said, bodies, tmp_path):
    smplx = body_file(str(bodies), 55)
    write_ehf(tmp_path, people(smplx), change=lambda c: c.update(camera=change(c["camera"])))
    with pytest.raises(InputError, match=said):
        opened("ehf", tmp_path, label_body=smplx)


def test_the_camera_of_ehf_may_stand_in_one_line_each_and_as_a_matrix(bodies, tmp_path):
    smplx = body_file(str(bodies), 55)
    who = people(smplx)
    write_ehf(tmp_path, who)
    first = opened("ehf", tmp_path, label_body=smplx)
    K, R, t = who.K, first.labels.R_cam_file[0].ravel(), first.labels.t_cam_file[0]
    (tmp_path / "EHF_camera.txt").write_text(
        f"focal length: f_x={K[0, 0]:.9f}, f_y={K[1, 1]:.9f}\nprincipal point: c_x={K[0, 2]:.9f}, c_y={K[1, 2]:.9f}\n"
        f"rotation (matrix) = {R.tolist()}\ntranslation = {t.tolist()}\n"
    )
    assert np.allclose(opened("ehf", tmp_path, label_body=smplx).labels.K, first.labels.K)
    assert np.allclose(opened("ehf", tmp_path, label_body=smplx).labels.transl, first.labels.transl, atol=1e-4)


UNEQUAL = [
    ("bedlam", write_bedlam, "train", lambda c: at(c, "shape", value=c["shape"][:3]), "'shape' has 3 rows, expected 4"),
    (
        "bedlam",
        write_bedlam,
        "train",
        lambda c: at(c, "cam_int", value=c["cam_int"][:, :2]),
        r"'cam_int' has the shape \(4, 2, 3\)",
    ),
    ("bedlam", write_bedlam, "train", lambda c: without(c, "trans_cam"), r"lacks the arrays \['trans_cam'\]"),
    ("bedlam", write_bedlam, "train", lambda c: at(c, "pose_cam", value=c["pose_cam"][:, :72]), r"expected \(4, 165\)"),
    (
        "human-data",
        write_human_data,
        "toy",
        lambda c: at(c, "smpl", "betas", value=np.zeros((3, 10))),
        "betas' has 3 rows",
    ),
    ("human-data", write_human_data, "toy", lambda c: without(c, "smpl", "betas"), "'smpl' has no betas"),
    (
        "human-data",
        write_human_data,
        "toy",
        lambda c: at(c, "smpl", "body_pose", value=np.zeros((4, 63))),
        r"expected \(4, 23, 3\)",
    ),
    ("human-data", write_human_data, "toy", lambda c: at(c, "meta", "gender", value=["male"]), "gender' has 1 row,"),
    (
        "human-data",
        write_human_data,
        "toy",
        lambda c: at(c, "keypoints2d_original", value=np.zeros((4, 25, 3))),
        "another order of joints",
    ),
    ("human-data", write_human_data, "toy", lambda c: at(c, "smpl", value=[1, 2]), "'smpl' is"),
    ("human-data", write_human_data, "toy", lambda c: without(c, "smpl"), "has no body"),
    ("h36m", write_h36m, "test", lambda c: c["images"].pop(), "has 3 images and 4 annotations"),
    (
        "h36m",
        write_h36m,
        "test",
        lambda c: at(c, "annotations", 1, value=7),
        "item 1 of 'annotations' is 7, expected an",
    ),
    ("h36m", write_h36m, "test", lambda c: c.pop("annotations"), "has no list 'annotations'"),
    ("scorer-cache", write_scorer_cache, "hi4d", lambda c: c.pop("2"), "holds 3 persons, 'data_len' says 4"),
]


@pytest.mark.parametrize(("dataset", "write", "split", "change", "said"), UNEQUAL)
def test_what_is_wrong_with_a_whole_file_is_said(dataset, write, split, change, said, who, tmp_path):
    write(tmp_path, who, change=change)
    with pytest.raises(InputError, match=said):
        opened(dataset, tmp_path, split)


SEQUENCES = [
    ("3dpw", write_3dpw, lambda c: c.pop("genders"), "has no 'genders'"),
    ("3dpw", write_3dpw, lambda c: c.pop("cam_intrinsics"), "has no 'cam_intrinsics'"),
    ("3dpw", write_3dpw, lambda c: c["betas"].clear(), "lists of unequal lengths"),
    ("3dpw", write_3dpw, lambda c: at(c, "poses", 0, value=np.zeros((4, 69))), r"'poses' has the shape \(4, 69\)"),
    ("3dpw", write_3dpw, lambda c: at(c, "trans", 0, value=np.zeros((3, 3))), r"'trans' has the shape \(3, 3\)"),
    ("emdb", write_emdb, lambda c: c["smpl"].pop("betas"), "has no 'smpl.betas'"),
    ("emdb", write_emdb, lambda c: at(c, "smpl", "poses_body", value=np.zeros((4, 63))), r"\(4, 63\)"),
    ("emdb", write_emdb, lambda c: c.pop("camera"), "has no 'camera'"),
]


@pytest.mark.parametrize(("dataset", "write", "change", "said"), SEQUENCES)
def test_a_wrong_sequence_is_left_out_by_name(dataset, write, change, said, who, tmp_path):
    write(tmp_path, same_shape(who), change=change)
    with pytest.raises(InputError, match=said) as error:
        opened(dataset, tmp_path)
    assert "walk" in str(error.value)


def test_labels_of_another_family_than_the_body_are_refused(who, bodies, tmp_path):
    write_bedlam(tmp_path, who)
    with pytest.raises(InputError, match="its labels are of smplx, and the body file is of smpl"):
        opened("bedlam", tmp_path, "train", label_body=body_file(str(bodies)))


def test_a_body_that_is_not_the_free_one_needs_the_file_of_the_labels(who, tmp_path):
    write_h36m(tmp_path, who)
    with pytest.raises(InputError, match="its labels are poses of smpl, and no body file of it was given"):
        opened("h36m", tmp_path, body=who.body)


def test_settings_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="every is 0"):
        DatasetSetting(every=0)
    with pytest.raises(InputError, match="crop_scale is 9"):
        DatasetSetting(crop_scale=9.0)


def test_a_data_set_without_bodies_of_its_own_takes_no_body_file(tmp_path):
    with pytest.raises(InputError, match="its labels need no body file"):
        open_dataset("synthwild", tmp_path, "lab/val", DatasetSetting(label_body=tmp_path / "x.pkl"))


def test_lists_of_numbers_that_are_ragged_or_endless_are_refused(who, tmp_path, caplog):
    write_h36m(tmp_path, who, change=lambda c: at(c, "annotations", 0, "betas", value=[[1.0], [1.0, 2.0]]))
    path = next(tmp_path.glob("annotations/*.json"))
    assert len(opened("h36m", tmp_path)) == 3 and "is no array of numbers" in caplog.text
    content = json.loads(path.read_text())
    content["annotations"][0]["betas"] = 5
    path.write_text(json.dumps(content).replace('"betas": 5', f'"betas": {"[" * 300}{"]" * 300}'))
    with pytest.raises(InputError, match="item 0 of 'annotations' is no JSON"):
        opened("h36m", tmp_path)
