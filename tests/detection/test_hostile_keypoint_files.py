"""Keypoint files with numbers, names and ids that no tool writes end in one sentence, soon and in little memory."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.detection.keypoint_files import read_people
from hmralign.structures import InputError
from support.limits import most_memory

SECONDS, MEMORY = 5, 200 * 2**20
SIZE = (480, 640)
KEYPOINTS = [value for n in range(17) for value in (100 + 10 * n, 100 + 12 * n, 0.9)]


def refusal(tmp_path_factory, content: str, image: str = "7.jpg") -> str:
    path = tmp_path_factory.mktemp("files") / "people.json"
    path.write_text(content)
    begun = time.process_time()
    with most_memory(MEMORY), pytest.raises(InputError) as error:
        read_people(path, image, SIZE)
    assert time.process_time() - begun < SECONDS
    said = str(error.value)
    assert "people.json" in said and len(said) < 600 + len(str(path)) + len(image)
    return said


def results(keypoints: str, image_id: object = 7) -> str:
    return f'[{{"image_id": {json.dumps(image_id)}, "score": 0.9, "keypoints": [{keypoints}]}}]'


def with_number(text: str) -> str:
    return results(", ".join([text, *map(str, KEYPOINTS[1:])]))


@settings(deadline=None, max_examples=20)
@given(st.integers(30, 20_000), st.sampled_from(["", "-", "0.", "1e"]))
def test_a_coordinate_of_any_number_of_digits_is_refused(tmp_path_factory, digits, start):
    if start == "0." and digits <= 300:
        return  # a small number, written out
    refusal(tmp_path_factory, with_number(start + "9" * digits))
    refusal(tmp_path_factory, f"[[0, 0, {'9' * digits}, 100]]")


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(categories=["Nd", "No", "Nl"]), min_size=1, max_size=400))
def test_digits_of_any_writing_in_a_photos_name_are_no_defect(tmp_path_factory, name):
    if not (name.isascii() and int(name[:300]) == 7):
        assert "image_id" in refusal(tmp_path_factory, results(", ".join(map(str, KEYPOINTS))), f"{name}.jpg")


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([True, False, None, 1.0, [1], {"a": 1}]))
def test_an_id_that_is_no_number_is_refused(tmp_path_factory, id_):
    entry = {"image_id": id_, "keypoints": KEYPOINTS}
    refusal(tmp_path_factory, results(", ".join(map(str, KEYPOINTS)), id_), "1.jpg")
    content = {"images": [{"id": id_, "file_name": "1.jpg"}], "annotations": [entry]}
    assert "'1.jpg' has the id" in refusal(tmp_path_factory, json.dumps(content), "1.jpg")


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**30), st.integers(0, 20_000))
def test_two_images_of_one_id_are_refused_by_name(tmp_path_factory, id_, others):
    images = [{"id": -n - 1, "file_name": f"x{n}.jpg"} for n in range(others)]
    images += [{"id": id_, "file_name": name} for name in ("a.jpg", "b.jpg")]
    said = refusal(tmp_path_factory, json.dumps({"images": images, "annotations": []}), "a.jpg")
    assert "'a.jpg' and 'b.jpg' have one id" in said


@settings(deadline=None, max_examples=20)
@given(st.text(min_size=1, max_size=8), st.integers(33, 100_000))
def test_keys_given_twice_and_depth_are_refused(tmp_path_factory, key, depth):
    name = json.dumps(key)
    assert "is given twice" in refusal(tmp_path_factory, f'{{"people": [], {name}: 1, {name}: 2}}')
    assert "nested deeper" in refusal(tmp_path_factory, "[" * depth)
