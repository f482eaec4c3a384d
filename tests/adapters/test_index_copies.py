"""Kept records of an index are written in its own form: the same reader reads them, and a plain one does too."""

import json

import numpy as np
import pytest

from hmralign.adapters.index_copies import FORMS, write_kept
from hmralign.data.dataset import DatasetSetting
from hmralign.structures import InputError
from support.published_datasets import (
    body_file,
    opener,
    people,
    write_3dpw_json,
    write_bedlam,
    write_h36m,
    write_human_data,
    write_hybrik_json,
    write_scorer_cache,
)

CASES = {
    "human-data": (write_human_data, "toy", {}),
    "human-data compressed": (write_human_data, "toy", {"compressed": True, "family": "smplx"}),
    "hybrik-json": (write_hybrik_json, "coco", {}),
    "3dpw-json": (write_3dpw_json, "test", {}),
    "h36m": (write_h36m, "test", {}),
    "scorer-cache": (write_scorer_cache, "hi4d", {}),
}
OUT = {"human-data": "toy_train", "hybrik-json": "annotations/coco_train", "3dpw-json": "annotations/3DPW_test",
       "h36m": "annotations/Sample_20_test_Human36M_smpl_protocol_2", "scorer-cache": "hi4d_train"}  # fmt: skip


@pytest.fixture(scope="module")
def who(tmp_path_factory):
    return people(body_file(str(tmp_path_factory.mktemp("body"))))


@pytest.mark.parametrize("case", CASES)
def test_the_reader_of_the_index_reads_its_copy(case, who, tmp_path):
    write, split, options = CASES[case]
    dataset = case.split()[0]
    write(tmp_path / "set", who, **options)
    before = opener(dataset)(tmp_path / "set", split, DatasetSetting())
    kept = [str(name) for name in before.labels.name[[1, 3]]]
    out = write_kept(dataset, tmp_path / "set", split, kept, tmp_path / "copy" / OUT[dataset])
    after = opener(dataset)(tmp_path / "copy", split, DatasetSetting())
    assert out.is_file() and len(after) == 2 and after.faults.total == 0
    for column in ("poses", "betas", "image", "points", "keypoints", "box", "joints", "K"):
        a, b = getattr(before.labels, column)[[1, 3]], getattr(after.labels, column)
        assert np.array_equal(a, b, equal_nan=column != "image"), column


def test_every_form_is_tried():
    assert {case.split()[0] for case in CASES} == set(FORMS)


def test_a_copied_archive_is_what_trainers_load(who, tmp_path):
    """As SMPLer-X and MMHuman3D do: numpy with pickles allowed, `.item()` of dictionaries, rows of equal number."""
    write_human_data(tmp_path / "set", who)
    write_kept("human-data", tmp_path / "set", "toy", ["toy_train.npz:0", "toy_train.npz:2"], tmp_path / "kept")
    with (
        np.load(tmp_path / "kept.npz", allow_pickle=True) as new,
        np.load(tmp_path / "set/toy_train.npz", allow_pickle=True) as old,
    ):
        assert set(new.files) == set(old.files)
        assert new["image_path"].tolist() == old["image_path"][[0, 2]].tolist()
        body, before = new["smpl"].item(), old["smpl"].item()
        assert all(np.array_equal(body[key], before[key][[0, 2]]) for key in before)
        assert np.array_equal(new["keypoints2d_smpl_mask"], old["keypoints2d_smpl_mask"])
        assert new["meta"].item()["height"] == old["meta"].item()["height"][:2]
        assert new["misc"].item() == old["misc"].item()


def test_a_copied_json_has_the_images_of_its_annotations_and_all_other_lists(who, tmp_path):
    write_3dpw_json(tmp_path / "set", who, change=lambda c: c.update(categories=[{"id": 1}], info={"year": 2018}))
    before = json.loads((tmp_path / "set/annotations/3DPW_test.json").read_text())
    write_kept("3dpw-json", tmp_path / "set", "test", ["3DPW_test.json:0", "3DPW_test.json:3"], tmp_path / "kept")
    after = json.loads((tmp_path / "kept.json").read_text())
    assert after["annotations"] == [a for a in before["annotations"] if a["id"] in (0, 3)]
    assert after["images"] == [i for i in before["images"] if i["id"] in (100, 103)]
    assert after["categories"] == before["categories"]


def test_what_is_no_single_index_is_refused(who, tmp_path):
    write_bedlam(tmp_path, who)
    with pytest.raises(InputError, match="'bedlam' is no index in one file"):
        write_kept("bedlam", tmp_path, "train", [], tmp_path / "kept")


def test_objects_that_are_no_texts_are_not_written_again(who, tmp_path):
    write_human_data(tmp_path, who, change=lambda c: c["meta"].update(x=np.array([{"a": 1}] * 4, dtype=object)))
    with pytest.raises(InputError, match=r"'meta\.x' holds objects that are no texts"):
        write_kept("human-data", tmp_path, "toy", [], tmp_path / "kept")
    assert not list(tmp_path.glob("kept*"))
