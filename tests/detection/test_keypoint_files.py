"""Files of other tools: what they say arrives unchanged, and every malformed one is refused by name."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.detection.keypoint_conventions import (
    COCO17,
    COCO_WHOLEBODY,
    COCO_WHOLEBODY_FEET,
    HALPE26,
    HALPE136,
    OPENPOSE_BODY25,
    OPENPOSE_COCO18,
)
from hmralign.detection.keypoint_files import people_in, read_people
from hmralign.structures import InputError

FILE = Path("k.json")
SIZE = (400, 300)  # height, width
ALL = (COCO17, COCO_WHOLEBODY, COCO_WHOLEBODY_FEET, HALPE26, HALPE136, OPENPOSE_BODY25, OPENPOSE_COCO18)


def place_of(name):
    """A distinct pixel and confidence for each keypoint name."""
    i = KEYPOINT_NAMES.index(name)
    return 20.0 + 9 * i, 30.0 + 12 * i, 0.3 + 0.02 * i


def flat_for(layout, rows=None):
    flat = [0.0] * (3 * layout.count)
    for name, at in layout.place.items():
        flat[3 * at : 3 * at + 3] = (rows or {}).get(name, place_of(name))
    return flat


def write(tmp_path, content, name="people.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(layout, image_id="a.jpg", **more):
    return {"image_id": image_id, "category_id": 1, "keypoints": flat_for(layout), "score": 0.8, **more}


def openpose(layout, **more):
    return {"version": 1.3, "people": [{"pose_keypoints_2d": flat_for(layout), **more}]}


def coco(people, name="a.jpg"):
    return {
        "images": [{"id": 7, "file_name": name}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 7, "id": i, **p} for i, p in enumerate(people)],
    }


def assert_names_kept(detection, layout):
    for i, name in enumerate(KEYPOINT_NAMES):
        if name in layout.place:
            x, y, c = place_of(name)
            np.testing.assert_allclose(detection.keypoints[i], (x, y), atol=1e-4)
            assert detection.confidence[i] == pytest.approx(c, abs=1e-5)
        else:
            assert detection.confidence[i] == 0


@pytest.mark.parametrize("layout", ALL, ids=lambda c: f"{c.name}-{c.count}")
def test_tables_are_one_to_one_and_keep_sides(layout):
    assert set(layout.place) <= set(KEYPOINT_NAMES)
    assert len(set(layout.place.values())) == len(layout.place)
    assert max(layout.place.values()) < layout.count
    for name in layout.place:
        if name.startswith("left"):
            assert name.replace("left", "right", 1) in layout.place


@pytest.mark.parametrize("layout", [COCO17, COCO_WHOLEBODY_FEET, HALPE26, COCO_WHOLEBODY, HALPE136], ids=str)
@pytest.mark.parametrize("image_id", ["a.jpg", 12])
def test_flat_lists_keep_every_keypoint(tmp_path, layout, image_id):
    path = write(tmp_path, [entry(layout, image_id), entry(COCO17, "other.jpg" if image_id == "a.jpg" else 13)])
    (person,) = read_people(path, "a.jpg" if image_id == "a.jpg" else "000000000012.jpg", SIZE)
    assert_names_kept(person, layout)
    assert person.score == pytest.approx(0.8)


@pytest.mark.parametrize("layout", [OPENPOSE_BODY25, OPENPOSE_COCO18], ids=str)
def test_openpose_keeps_every_keypoint(tmp_path, layout):
    (person,) = read_people(write(tmp_path, openpose(layout)), "a.jpg", SIZE)
    assert_names_kept(person, layout)


def test_openpose_folder_and_hands(tmp_path):
    hand = [0.0] * 63
    hand[15:18] = (100.0, 110.0, 0.9)
    content = openpose(OPENPOSE_BODY25, hand_left_keypoints_2d=hand)
    write(tmp_path, content, "a_keypoints.json")
    (person,) = read_people(tmp_path, "a.jpg", SIZE)
    at = KEYPOINT_NAMES.index("left_index_knuckle")
    np.testing.assert_allclose(person.keypoints[at], (100.0, 110.0))
    assert person.confidence[at] == pytest.approx(0.9)
    with pytest.raises(InputError, match=r"b_keypoints\.json"):
        read_people(tmp_path, "b.jpg", SIZE)


def test_coco_visibility_becomes_confidence(tmp_path):
    rows = {n: (*place_of(n)[:2], 2) for n in KEYPOINT_NAMES[:17]}
    rows["nose"] = (0, 0, 0)
    rows["left_wrist"] = (*place_of("left_wrist")[:2], 1)
    person = {"keypoints": flat_for(COCO17, rows), "bbox": [10, 20, 100, 200]}
    (found,) = read_people(write(tmp_path, coco([person])), "folder/a.jpg", SIZE)
    by_name = dict(zip(KEYPOINT_NAMES, found.confidence.tolist(), strict=True))
    assert (by_name["nose"], by_name["left_wrist"], by_name["right_wrist"]) == (0.0, 0.5, 1.0)
    # COCO boxes are measured from the image's corner, ours from the centre of the first pixel.
    np.testing.assert_allclose(found.box, [9.5, 19.5, 109.5, 219.5])


def test_coco_crowds_are_left_out_and_unlabelled_people_keep_their_box(tmp_path):
    rows = {n: (*place_of(n)[:2], 2) for n in KEYPOINT_NAMES[:17]}
    people = [
        {"keypoints": flat_for(COCO17, rows), "bbox": [10, 20, 100, 200]},
        {"keypoints": [0] * 51, "bbox": [30, 40, 50, 60]},
        {"iscrowd": 1, "keypoints": [0] * 51, "bbox": [0, 0, 300, 100]},
    ]
    found = read_people(write(tmp_path, coco(people)), "a.jpg", SIZE)
    assert [p.has_keypoints for p in found] == [True, False]
    np.testing.assert_allclose(found[1].box, [29.5, 39.5, 79.5, 99.5])


@pytest.mark.parametrize(
    "content", [[[1, 2, 30, 40]], {"boxes": [[1, 2, 30, 40]]}, {"boxes": {"a.jpg": [[1, 2, 30, 40]], "b.jpg": []}}]
)
def test_boxes(tmp_path, content):
    (person,) = read_people(write(tmp_path, content), "a.jpg", SIZE)
    assert not person.has_keypoints
    np.testing.assert_allclose(person.box, [1, 2, 30, 40])


def test_points_outside_the_image_are_unseen(tmp_path):
    rows = {"left_ankle": (150.0, 405.0, 0.9)}
    (person,) = read_people(write(tmp_path, [{**entry(COCO17), "keypoints": flat_for(COCO17, rows)}]), "a.jpg", SIZE)
    assert person.confidence[KEYPOINT_NAMES.index("left_ankle")] == 0
    assert person.confidence[KEYPOINT_NAMES.index("right_ankle")] > 0
    assert person.box[3] <= 399.5


def test_box_without_one_surrounds_the_keypoints(tmp_path):
    (person,) = read_people(write(tmp_path, openpose(OPENPOSE_BODY25)), "a.jpg", SIZE)
    seen = person.keypoints[person.confidence > 0]
    assert (seen.min(0) > person.box[:2]).all() and (seen.max(0) < person.box[2:]).all()


BAD_JOINT = {
    "nan": (math.nan, 5.0, 0.5),
    "infinite": (math.inf, 5.0, 0.5),
    "negative confidence": (5.0, 5.0, -0.1),
    "confidence above 1": (5.0, 5.0, 2.0),
}


@pytest.mark.parametrize("bad", BAD_JOINT.values(), ids=BAD_JOINT.keys())
@pytest.mark.parametrize("kind", ["alphapose", "openpose"])
def test_bad_joint_is_named(tmp_path, bad, kind):
    rows = {"left_elbow": bad}
    if kind == "alphapose":
        content = [{**entry(COCO17), "keypoints": flat_for(COCO17, rows)}]
    else:
        content = {"people": [{"pose_keypoints_2d": flat_for(OPENPOSE_BODY25, rows)}]}
    with pytest.raises(InputError, match=r"people.json', person 0: joint 'left_elbow'"):
        read_people(write(tmp_path, content), "a.jpg", SIZE)


KINDS = ("alphapose", "openpose", "coco results", "coco annotations")


def file_of(kind, flats):
    """(content, image name) of a file of that kind with these people."""
    if kind == "openpose":
        return {"people": [{"pose_keypoints_2d": flat} for flat in flats]}, "a.jpg"
    if kind == "coco annotations":
        return coco([{"category_id": 1, "keypoints": flat} for flat in flats]), "a.jpg"
    image = "a.jpg" if kind == "alphapose" else 12
    return [{"image_id": image, "category_id": 1, "keypoints": flat} for flat in flats], str(image)


def layout_of(kind):
    return OPENPOSE_BODY25 if kind == "openpose" else COCO17


def flat_of(kind, bad=None):
    """A person as a file of that kind says it; `bad` is what is wrong."""
    rows = {n: (*place_of(n)[:2], 2) for n in KEYPOINT_NAMES[:17]} if kind == "coco annotations" else {}
    if bad == "number":
        rows = {**rows, "left_elbow": (math.nan, 5.0, 1)}
    if bad == "few":
        rows = {n: rows.get(n, place_of(n)) if n in ("nose", "left_elbow") else (0, 0, 0) for n in KEYPOINT_NAMES}
    flat = flat_for(layout_of(kind), rows)
    return {"count": flat[:-1], "text": ["x", *flat[1:]], "nothing": []}.get(bad, flat)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    people=st.lists(st.sampled_from([None, None, "number", "few", "count", "text", "nothing"]), min_size=1, max_size=5),
)
@example(kind="openpose", people=[None, "few"])
def test_who_is_wrong_is_left_out_by_number_and_nobody_else(tmp_path_factory, kind, people):
    content, image = file_of(kind, [flat_of(kind, bad) for bad in people])
    path, told = tmp_path_factory.mktemp("some") / "people.json", []
    wrong = [number for number, bad in enumerate(people) if bad]
    if len(wrong) == len(people):
        with pytest.raises(InputError, match="person 0"):
            people_in(content, path, image, SIZE, tell=told.append)
        return
    found = people_in(content, path, image, SIZE, tell=told.append)
    assert len(found) == len(people) - len(wrong)
    (expected,) = people_in(file_of(kind, [flat_of(kind)])[0], path, image, SIZE)
    for person in found:
        np.testing.assert_array_equal(person.keypoints, expected.keypoints)
    assert [f"person {n}:" in "".join(told) for n in range(len(people))] == [n in wrong for n in range(len(people))]


def test_a_warning_names_who_is_left_out(tmp_path, caplog):
    content = [entry(COCO17), {**entry(COCO17), "keypoints": flat_for(COCO17, {"left_elbow": (math.nan, 5.0, 0.5)})}]
    with caplog.at_level("WARNING"):
        assert len(read_people(write(tmp_path, content), "a.jpg", SIZE)) == 1
    (said,) = [record.message for record in caplog.records]
    assert said.startswith("a.jpg: left out of ") and "person 1: joint 'left_elbow'" in said


CATEGORIES = st.lists(st.sampled_from(["person", "Person", "dog", "chair", "traffic light"]), unique=True, min_size=1)


@settings(max_examples=60, deadline=None)
@given(names=CATEGORIES, numbers=st.permutations(range(1, 91)), chosen=st.lists(st.integers(0, 4), min_size=1))
def test_of_named_categories_only_persons_are_people(tmp_path_factory, names, numbers, chosen):
    ids = dict(zip(numbers, names, strict=False))
    at = [list(ids)[i % len(ids)] for i in chosen]
    content = coco([{"category_id": id_, "bbox": [10, 20, 60, 90]} for id_ in at])
    content["categories"] = [{"id": id_, "name": name} for id_, name in ids.items()]
    path, persons = tmp_path_factory.mktemp("some") / "c.json", [i for i in at if ids[i].lower() == "person"]
    told = []
    if not persons:
        with pytest.raises(InputError, match="person"):
            people_in(content, path, "a.jpg", SIZE, tell=told.append)
        return
    assert len(people_in(content, path, "a.jpg", SIZE, tell=told.append)) == len(persons)
    others = {ids[i] for i in at} - {"person", "Person"}
    assert all(f"{name} ({[ids[i] for i in at].count(name)})" in "".join(told) for name in others)
    assert bool(told) == bool(others)


@pytest.mark.parametrize("kind", ["alphapose", "coco results", "coco annotations"])
def test_without_names_the_first_category_is_that_of_persons(kind, caplog):
    content, image = file_of(kind, [flat_of(kind)] * 3)
    entries = content["annotations"] if kind == "coco annotations" else content
    entries[1]["category_id"] = 18
    del entries[2]["category_id"]
    with caplog.at_level("WARNING"):
        assert len(people_in(content, FILE, image, SIZE)) == 2
    assert "what is no person: category 18 (1)" in caplog.text


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.floats(0.01, 1.99), min_size=17, max_size=17))
def test_scores_above_1_count_as_1(scores):
    rows = {n: (*place_of(n)[:2], c) for n, c in zip(KEYPOINT_NAMES, scores, strict=False)}
    (person,) = people_in([{**entry(COCO17), "keypoints": flat_for(COCO17, rows)}], FILE, "a.jpg", SIZE)
    np.testing.assert_allclose(person.confidence[:17], np.minimum(scores, 1.0), rtol=1e-6)


@pytest.mark.parametrize("place", [(None, None), (math.nan, math.nan), (-1e9, 4.0)])
@pytest.mark.parametrize("confidence", [0, 0.0, None])
@pytest.mark.parametrize("kind", KINDS)
def test_an_unobserved_joint_is_nowhere(kind, place, confidence):
    flat = flat_of(kind)
    at = layout_of(kind).place["left_elbow"]
    flat[3 * at : 3 * at + 3] = (*place, confidence)
    content, image = file_of(kind, [flat])
    (person,) = people_in(content, FILE, image, SIZE)
    index = KEYPOINT_NAMES.index("left_elbow")
    assert person.confidence[index] == 0 and person.keypoints[index].tolist() == [0, 0]
    assert (np.delete(person.confidence[:17], index) > 0).all()


def test_an_observed_joint_without_a_place_is_wrong():
    flat = flat_for(COCO17, {"left_elbow": (None, 5.0, 0.5)})
    with pytest.raises(InputError, match=r"joint 'left_elbow' is \(None, 5.0, 0.5\)"):
        people_in([{**entry(COCO17), "keypoints": flat}], FILE, "a.jpg", SIZE)


@pytest.mark.parametrize("box", [[], [0, 0, 0, 0], [12, 30, 0, 50], None])
def test_an_empty_box_beside_keypoints_is_none(box):
    (person,) = people_in([{**entry(COCO17), "bbox": box}], FILE, "a.jpg", SIZE)
    (without,) = people_in([entry(COCO17)], FILE, "a.jpg", SIZE)
    np.testing.assert_array_equal(person.box, without.box)


@pytest.mark.parametrize(("flag", "people"), [(None, 2), (False, 2), (0, 2), (True, 1), (1, 1)])
def test_a_crowd_is_what_says_so(flag, people, caplog):
    persons = [{"bbox": [10, 20, 60, 90], "iscrowd": f} for f in (0, flag)]
    with caplog.at_level("WARNING"):
        assert len(people_in(coco(persons), FILE, "a.jpg", SIZE)) == people
    assert ("person 1: is a crowd" in caplog.text) == (people == 1)


@pytest.mark.parametrize("folder", ["", "C:\\photos\\", "photos\\", "photos/", "..\\photos/x\\"])
@pytest.mark.parametrize("kind", ["alphapose", "coco", "boxes"])
def test_paths_of_every_system_name_a_photo(folder, kind):
    name = f"{folder}a.jpg"
    content = {
        "alphapose": [entry(COCO17, name)],
        "coco": coco([{"bbox": [10, 20, 60, 90]}], name),
        "boxes": {"boxes": {name: [[1, 2, 30, 40]]}},
    }[kind]
    assert len(people_in(content, FILE, "a.jpg", SIZE)) == 1


def test_somebody_cut_by_the_border_is_read_beside_others():
    height = SIZE[0]
    cut = {n: (*place_of(n)[:2], 0.9) for n in KEYPOINT_NAMES[:7]}
    cut |= {n: (100.0, height + 20.0, 0.12) for n in KEYPOINT_NAMES[7:17]}
    (_, person) = people_in([entry(COCO17), {**entry(COCO17), "keypoints": flat_for(COCO17, cut)}], FILE, "a.jpg", SIZE)
    assert person.confidence[:7].tolist() == pytest.approx([0.9] * 7) and not person.confidence[7:].any()


def test_a_file_for_another_size_is_refused_whoever_lies_inside():
    away = {n: (900.0, 900.0, 0.9) for n in KEYPOINT_NAMES[:17]}
    people = [entry(COCO17), *[{**entry(COCO17), "keypoints": flat_for(COCO17, away)}] * 3]
    with pytest.raises(InputError, match="another size"):
        people_in(people, FILE, "a.jpg", SIZE)


MALFORMED = {
    "not JSON": ("{", "not JSON"),
    "binary": ("\x00\x01", "not JSON"),
    "deeply nested": ("[" * 100_000, "not JSON"),
    "empty list": ([], "empty list"),
    "number": (3, "none of the known"),
    "object": ({"a": 1}, "none of the known"),
    "people is no list": ({"people": {}}, "list 'people'"),
    "no people": ({"people": []}, "no person for the image"),
    "wrong count": ([{"image_id": "a.jpg", "keypoints": [1.0] * 50}], "50 keypoint numbers"),
    "coco points in openpose": ({"people": [{"pose_keypoints_2d": [9.0] * 51}]}, "51 keypoint numbers"),
    "text among numbers": ([{"image_id": "a.jpg", "keypoints": ["x"] * 51}], "person 0: 'keypoints.0'"),
    "keypoints missing": ({"people": [{}]}, "person 0: 'pose_keypoints_2d'"),
    "other image": ([entry(COCO17, "z.jpg")], "no entry has the image_id 'a.jpg'"),
    "numbered image": ([entry(COCO17, 12)], "named by its number"),
    "image not listed": (coco([], "z.jpg"), "no entry of 'images'"),
    "image listed twice": ({"images": [{"id": 1, "file_name": "a.jpg"}] * 2, "annotations": []}, "more than one"),
    "annotations is no list": ({"images": [], "annotations": 3}, "lists 'images' and 'annotations'"),
    "visibility 3": (coco([{"keypoints": [9, 9, 3] * 17, "bbox": [1, 2, 30, 40]}]), "visibility 3"),
    "neither keypoints nor box": (coco([{"keypoints": []}]), "neither keypoints nor a box"),
    "normalised": ([{"image_id": "a.jpg", "keypoints": [0.2, 0.3, 0.9] * 17}], "not normalised"),
    "other size": ([{"image_id": "a.jpg", "keypoints": [900, 900, 0.9] * 17}], "another size"),
    "two points only": ([{"image_id": "a.jpg", "keypoints": [9, 9, 0.9] * 2 + [0, 0, 0] * 15}], "at least 3"),
    "three numbers": ({"boxes": [[1, 2, 3]]}, "person 0: box"),
    "turned box": ({"boxes": [[30, 2, 10, 40]]}, "x0 \\+ 2 <= x1"),
    "box with nan": ('{"boxes": [[NaN, 2, 10, 40]]}', "finite"),
    "box outside": ({"boxes": [[500, 2, 600, 40]]}, "outside the image"),
    "boxes of another image": ({"boxes": {"b.jpg": [[1, 2, 30, 40]]}}, "no entry of 'boxes'"),
    "no boxes": ({"boxes": []}, "no person for the image"),
    "negative score": ([entry(COCO17, score=-1.0)], "score is -1"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_files_are_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_people(write(tmp_path, content), "a.jpg", SIZE)
    assert "\n" not in str(caught.value) and "people.json" in str(caught.value)


def test_unreadable_places_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"missing\.json"):
        read_people(tmp_path / "missing.json", "a.jpg", SIZE)
    monkeypatch.setattr("hmralign.detection.keypoint_files.MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match="at most"):
        read_people(write(tmp_path, [entry(COCO17)]), "a.jpg", SIZE)


def test_kind_and_convention_can_be_forced(tmp_path):
    path = write(tmp_path, [entry(HALPE26)])
    with pytest.raises(InputError, match="17"):
        read_people(path, "a.jpg", SIZE, convention="coco17")
    with pytest.raises(InputError, match="list 'people'"):
        read_people(path, "a.jpg", SIZE, kind="openpose")


class Counting(dict):
    """An object of a file that counts how often somebody looks into any of them."""

    looked = 0

    def get(self, *args):
        Counting.looked += 1
        return super().get(*args)


def counted_file(kind, photos):
    """One person in each of so many photos, as `people_in` is given it."""
    seen = 2 if kind == "coco_annotations" else 0.8
    flat = flat_for(COCO17, {name: (*place_of(name)[:2], seen) for name in COCO17.place})
    names = [f"photo_{n:06d}.jpg" for n in range(photos)]
    if kind == "alphapose":
        return names, [Counting({**entry(COCO17, name)}) for name in names]
    people = [Counting({**entry(COCO17, n), "keypoints": flat}) for n in range(photos)]
    if kind == "coco_results":
        return names, people
    images = [Counting(id=n, file_name=name) for n, name in enumerate(names)]
    return names, {"images": images, "annotations": people}


@pytest.mark.parametrize("kind", ["coco_annotations", "coco_results", "alphapose"])
def test_a_file_is_gone_through_once_for_all_of_its_photos(kind):
    """Searched anew for each photo it would take 400 times the looks of 20 photos for 400, not 20 times."""
    looks = []
    for photos in (20, 400):
        names, content = counted_file(kind, photos)
        Counting.looked = 0
        for name in names:
            assert len(people_in(content, FILE, name, SIZE, kind=kind)) == 1
        looks.append(Counting.looked / photos)
    assert looks[1] == pytest.approx(looks[0], rel=0.1)


@pytest.mark.parametrize("kind", ["coco_annotations", "coco_results", "alphapose"])
def test_two_files_in_turn_are_not_mixed_up(kind):
    names, both = counted_file(kind, 2)
    one = {**both, "annotations": both["annotations"][:1]} if isinstance(both, dict) else both[:1]
    for _ in range(2):
        assert len(people_in(both, FILE, names[1], SIZE, kind=kind)) == 1
        try:
            found = people_in(one, FILE, names[1], SIZE, kind=kind)
        except InputError:
            found = []
        assert found == []


def test_a_changed_file_is_read_again(tmp_path):
    path = write(tmp_path, {"boxes": [[1, 2, 30, 40]]})
    assert len(read_people(path, "a.jpg", SIZE)) == 1
    write(tmp_path, {"boxes": [[1, 2, 30, 40], [5, 6, 70, 80]]})
    assert len(read_people(path, "a.jpg", SIZE)) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 999) | st.floats() | st.sampled_from(["a.jpg", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "people",
                    "boxes",
                    "images",
                    "annotations",
                    "image_id",
                    "keypoints",
                    "pose_keypoints_2d",
                    "id",
                    "file_name",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(content=json_values)
@example(content=[[0, 0, 2, 3.4028235677973366e38]])
def test_any_json_either_reads_or_raises_input_error(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("fuzz"), content)
    try:
        people = read_people(path, "a.jpg", SIZE)
    except InputError:
        return
    for person in people:
        assert np.isfinite(person.keypoints).all() and np.isfinite(person.box).all()
