"""Keypoint files of clips: which entries are of which frame, in every form; what is refused."""

import json

import numpy as np
import pytest

from hmralign.detection.frame_keypoints import FrameKeypoints
from hmralign.structures import InputError
from support.recover_example import alphapose_entry, example_photo

_, POINTS = example_photo()
SIZE = (200, 160)


def moved(number):
    return POINTS + np.array([number, 0, 0])


def coco(number, **extra):
    return {"keypoints": moved(number)[:17].reshape(-1).tolist(), "score": 0.9, **extra}


def openpose(number):
    flat = np.zeros((25, 3))
    flat[[0, 2, 5, 9, 12]] = moved(number)[[0, 6, 5, 12, 11]]
    return {"people": [{"pose_keypoints_2d": flat.reshape(-1).tolist()}]}


def write(folder, kind, by_name):
    names = [f"shot_{n:04d}.png" if by_name else f"{n}.jpg" for n in range(3)]
    path = folder / "k.json"
    if kind == "alphapose":
        path.write_text(json.dumps([alphapose_entry(name, moved(n)) for n, name in enumerate(names)]))
    elif kind == "coco_results":
        path.write_text(json.dumps([coco(n, image_id=n, category_id=1) for n in range(3)]))
    elif kind == "coco_annotations":
        flags = [moved(n)[:17] * [1, 1, 0] + [0, 0, 2] for n in range(3)]
        path.write_text(json.dumps({
            "images": [{"id": 70 + n, "file_name": name} for n, name in enumerate(names)],
            "annotations": [{"image_id": 70 + n, "keypoints": f.reshape(-1).tolist()} for n, f in enumerate(flags)],
        }))  # fmt: skip
    else:
        for n in range(3):
            stem = f"shot_{n:04d}" if by_name else f"dance_{n:012d}"
            (folder / f"{stem}_keypoints.json").write_text(json.dumps(openpose(n)))
        return folder
    return path


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("kind", ["alphapose", "coco_results", "coco_annotations", "openpose"])
def test_every_form_gives_each_frame_its_people(tmp_path, kind, by_name):
    found = FrameKeypoints(write(tmp_path, kind, by_name), by_name=by_name)
    for number in (2, 0, 1):
        name = f"shot_{number:04d}.png" if by_name else f"clip.mp4 frame {number}"
        (person,) = found.people(number, name, SIZE)
        assert np.allclose(person.keypoints[5], moved(number)[5, :2], atol=1e-3) and person.confidence[5] > 0
        found.tell(number, name)
    assert found.people(3, "shot_0003.png", SIZE) == [] and found.unused() == 0


def test_what_the_clip_does_not_have_is_counted(tmp_path):
    found = FrameKeypoints(write(tmp_path, "alphapose", False), by_name=False)
    found.tell(0, "a")
    assert found.unused() == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"boxes": [[0, 0, 9, 9]]}', "speaks of one picture"),
        ('{"people": []}', "speaks of one picture"),
        ("[]", "empty list"),
        ('[{"image_id": "0.jpg"}, 3]', "list of objects"),
        ("no json", "not JSON"),
    ],
)
def test_what_says_nothing_about_frames_is_refused(tmp_path, content, words):
    path = tmp_path / "k.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        FrameKeypoints(path, by_name=False)


def test_an_empty_folder_and_a_damaged_frame_are_named(tmp_path):
    with pytest.raises(InputError, match="for no frame"):
        FrameKeypoints(tmp_path, by_name=False)
    (tmp_path / "a_000000000000_keypoints.json").write_text("{")
    with pytest.raises(InputError, match=r"a_000000000000_keypoints\.json"):
        FrameKeypoints(tmp_path, by_name=False).people(0, "x", SIZE)
