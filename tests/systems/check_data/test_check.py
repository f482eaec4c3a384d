"""A check of a data set measures what a wrong frame does, draws it, and says what is there and what is missing."""

import json

import numpy as np
import pytest
from PIL import Image

from hmralign.adapters.cards import card_of, found_files, looks_like
from hmralign.cli.main import main
from hmralign.data.dataset import DatasetSetting
from hmralign.data.names import PUBLISHED
from hmralign.systems.check_data.check import check_dataset
from support.published_datasets import (
    HEIGHT,
    body_file,
    people,
    same_shape,
    write_3dpw,
    write_bedlam,
    write_emdb,
    write_h36m,
    write_rich,
)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module")
def who(bodies):
    return same_shape(people(body_file(str(bodies))))


def test_right_frames_give_zeros_and_a_picture(who, bodies, tmp_path):
    write_emdb(tmp_path / "emdb", who)
    setting = DatasetSetting(label_body=body_file(str(bodies)), body=who.body)
    document = check_dataset("emdb", tmp_path / "emdb", "test", setting, tmp_path / "out")
    assert document["persons"] == 3 and document["photos_missing"] == 0 and document["left_out"] == {}
    assert document["off_points_px"]["p95"] < 0.01 and document["off_joints_mm"] is None
    assert json.loads((tmp_path / "out/data_check.json").read_text()) == document
    picture = np.asarray(Image.open(tmp_path / "out/data_check.png"))
    orange, ring = np.array([255, 122, 69]), np.array([255, 255, 255])
    assert ((picture == orange).all(-1)).sum() > 200 and ((picture[40:] == ring).all(-1)).sum() > 200


WRONG = {
    "y up": lambda c: c["smpl"].update(poses_root=-c["smpl"]["poses_root"]),
    "millimetres": lambda c: c["smpl"].update(trans=c["smpl"]["trans"] * 1.2),
    "flipped image": lambda c: c["kp2d"].__setitem__((..., 1), HEIGHT - 1 - c["kp2d"][..., 1]),
    "sides exchanged": lambda c: c["kp2d"].__setitem__(slice(None), c["kp2d"][:, _EXCHANGED]),
}
_EXCHANGED = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_frame_is_measured(name, who, bodies, tmp_path):
    write_emdb(tmp_path / "emdb", who, change=WRONG[name])
    setting = DatasetSetting(label_body=body_file(str(bodies)), body=who.body)
    document = check_dataset("emdb", tmp_path / "emdb", "test", setting, tmp_path / "out")
    assert document["off_points_px"]["median" if name != "sides exchanged" else "p95"] > 5


def test_the_command_reads_a_split_and_says_where_to_look(who, bodies, tmp_path, capsys):
    write_3dpw(tmp_path / "3dpw", who)
    words = ["data", "check", str(tmp_path / "3dpw"), "--split", "test", "--out", str(tmp_path / "out")]
    assert main([*words, "--label-body", str(body_file(str(bodies)))]) == 0
    said = capsys.readouterr().out
    assert "3dpw/test: 3 persons can be used" in said and "data_check.png" in said and "carried over" in said
    assert main([*words, "--gender", "neutral", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["persons"] == 3 and document["off_places_mm"]["median"] < 60  # without its body file


def test_without_a_split_files_are_counted_and_what_is_missing_is_named(who, tmp_path, capsys):
    write_h36m(tmp_path / "h36m", who)
    assert main(["data", "check", str(tmp_path / "h36m")]) == 0
    said = capsys.readouterr().out
    assert "Human3.6M" in said and "missing" not in said
    assert main(["data", "check", str(tmp_path / "h36m"), "--dataset", "emdb", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [f["count"] for f in document["files"]] == [0, 0] and "emdb" in document["where"]


@pytest.mark.parametrize(
    ("name", "write"),
    [("3dpw", write_3dpw), ("h36m", write_h36m), ("emdb", write_emdb), ("bedlam", write_bedlam), ("rich", write_rich)],
)
def test_a_folder_tells_what_it_is(name, write, who, tmp_path):
    write(tmp_path, who)
    assert looks_like(tmp_path)[0] == name
    assert all(found.count > 0 for found in found_files(card_of(name), tmp_path))
    assert looks_like(tmp_path / "images") == []


def test_every_card_is_whole_and_the_list_names_all(capsys):
    assert main(["data", "list"]) == 0
    said = capsys.readouterr().out
    for name in PUBLISHED:
        card = card_of(name)
        assert card.name == name and f"{name}: {card.title}" in said
        assert all([card.source, card.licence, card.frame, card.joint_set, card.keypoints, card.where, card.files])
    assert said.count("never run on a real file here") == len(PUBLISHED)


def test_what_is_no_data_set_is_told(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "looks like none of" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path), "--dataset", "mine"]) == 2
    assert "there is no published data set 'mine'" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 2
    assert main(["data", "check", str(tmp_path), "--dataset", "3dpw", "--split", "test"]) == 2
    assert "--out is missing" in capsys.readouterr().err
