"""Predictions find their records by photo and box; what could be taken for another is told."""

import numpy as np
import pytest

from hmralign.evaluation.prediction_matching import Persons, matched
from hmralign.structures import InputError


def boxes(*corners: float) -> np.ndarray:
    return np.array([[x, 0, x + 10, 20] for x in corners], float)


def persons(images: list[str], where: np.ndarray, names: list[str] | None = None) -> Persons:
    return Persons(names or [f"{image}#{n}" for n, image in enumerate(images)], images, where)


PHOTOS = ["walk/image_0.jpg", "walk/image_0.jpg", "run/image_0.jpg", "run/image_1.jpg"]
RECORDS = persons(PHOTOS, boxes(0, 50, 0, 0), [f"3DPW_test.json:{n}" for n in range(4)])


def test_people_of_a_photo_are_told_apart_by_their_boxes_whatever_the_order():
    there = persons(["/data/imageFiles/walk/image_0.png", "x/walk/image_0.png", "run/image_1.jpg"], boxes(51, 1, 2))
    assert matched(RECORDS, there).tolist() == [1, 0, -1, 2]


def test_a_box_of_somebody_else_matches_nobody():
    there = persons(["walk/image_0.jpg", "walk/image_0.jpg"], boxes(50, 90))
    assert matched(RECORDS, there).tolist() == [-1, 0, -1, -1]


def test_each_prediction_is_of_one_record_even_where_one_overlaps_both():
    records = persons(["a.jpg"] * 2, boxes(0, 4), ["one", "other"])
    assert matched(records, persons(["a.jpg"] * 2, boxes(3, -3))).tolist() == [1, 0]


def test_a_name_alone_finds_its_photo_where_there_is_one_of_that_name():
    assert matched(RECORDS, persons(["image_1"], boxes(0))).tolist() == [-1, -1, -1, 0]
    with pytest.raises(InputError, match="which may be 2 photos of the data set"):
        matched(RECORDS, persons(["image_0.jpg"], boxes(0)))
    with pytest.raises(InputError, match=r"none of 1 prediction is of a record.*'jump/image_1.jpg'"):
        matched(RECORDS, persons(["jump/image_1.jpg"], boxes(0)))


def test_names_of_records_go_before_photos():
    there = persons(["", ""], np.full((2, 4), np.nan), ["3DPW_test.json:3", "3DPW_test.json:0"])
    assert matched(RECORDS, there).tolist() == [1, -1, -1, 0]


def test_without_boxes_only_a_photo_of_one_person_is_clear():
    nowhere = np.full((1, 4), np.nan)
    assert matched(RECORDS, persons(["run/image_1.jpg"], nowhere)).tolist() == [-1, -1, -1, 0]
    with pytest.raises(InputError, match="2 records and 1 prediction, and a box is missing"):
        matched(RECORDS, persons(["walk/image_0.jpg"], nowhere))
