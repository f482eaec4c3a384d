"""A detector that looks at the rendered pictures observes the persons; whom it misses is left out and counted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.cli.main import main
from hmralign.data.keypoint_box import keypoint_box
from hmralign.data.shards import open_shards
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.detection.detection import Detection
from hmralign.detection.environment import detector_environment
from hmralign.detection.mediapipe_detector import ONE_PERSON, MediapipeDetector
from hmralign.detection.person_mask import PersonMask
from hmralign.geometry.cameras import apply_affine, crop_affine, project
from hmralign.rendering.scenes.crops import SceneMix, inside_photo
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.systems.synth.detected import MIN_OVERLAP, Looking, best_match, detected_examples, seen_boxes
from hmralign.systems.synth.write_shards import SynthConfig, write_synthetic_shards
from hmralign.training.base_configuration import BaseTrainingConfig

SIDE, CROP, PERSONS = 64, 32, 6
TRAINING = BaseTrainingConfig(measured_noise=None)
SYNTH = SynthConfig(examples=12, shard_size=6, seed=7, pictures=CROP, detector_side=SIDE)

FAKE = """
import numpy as np
from hmralign.detection.detection import Detection
from hmralign.detection.person_mask import PersonMask

class Fake:
    versions = {"fake": "1"}

    def __call__(self, image):
        if int(image.astype(int).sum()) % 3 == 0:
            return []
        height, width = image.shape[:2]
        box = np.array([0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height], np.float32)
        share = np.linspace(0, 1, 27, dtype=np.float32)[:, None]
        keypoints = (box[:2] + share * (box[2:] - box[:2])).astype(np.float32)
        mask = PersonMask.from_image(np.ones((height, width), bool))
        return [Detection(keypoints, np.full(27, 0.9, np.float32), box, 1.0, mask, detector="fake")]

    def detect_in_box(self, image, box):
        return None

def make(setting):
    assert setting.one_person and setting.folder is None
    return Fake()
"""


@pytest.fixture(scope="module")
def persons():
    source = world_generator("lab", "train")
    example, seen = source.sample_distinct(PERSONS, seeded(3, "detected"))
    return source.model, example, seen


@pytest.fixture
def fake(tmp_path):
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return f"{path}:make"


class Answers:
    """Answers one picture after the other with what it was given."""

    def __init__(self, answers):
        self.answers, self.shapes = list(answers), []

    def __call__(self, image):
        self.shapes.append(image.shape)
        return self.answers[len(self.shapes) - 1]

    def detect_in_box(self, image, box):
        raise AssertionError("not asked")


def shown_corners(persons):
    """Affines from photos to the pictures as the detector is shown them."""
    body, example, seen = persons
    box = seen_boxes(body, example, seen)
    to_picture, _ = crop_affine(box, SIDE)
    inside = inside_photo(replace(example, observation=replace(example.observation, box=box)), SIDE)
    corner = torch.stack([inside.any(1).int().argmax(1), inside.any(2).int().argmax(1)], dim=-1).float()
    to_picture[..., 2] -= corner
    return to_picture, box


def detection_at(affine, keypoints, box, **more):
    """A detection of keypoints and a box that are given in pixels of the photo."""
    there = apply_affine(affine, keypoints).numpy().astype(np.float32)
    corners = apply_affine(affine, box.view(2, 2)).flatten().numpy().astype(np.float32)
    return Detection(there, np.full(27, 0.8, np.float32), corners, 0.9, **more)


def observed(persons, answers):
    body, example, seen = persons
    detector = Answers(answers)
    found, rows = detected_examples(body, example, seen, Looking(detector, SIDE, CROP), SceneMix(), seeded(0, "scene"))
    assert len(detector.shapes) == PERSONS
    return found, rows, detector


def test_what_the_detector_says_comes_back_in_pixels_of_the_photo(persons):
    _, example, _ = persons
    affines, boxes = shown_corners(persons)
    keypoints = torch.stack([box[:2] + (box[2:] - box[:2]) * torch.rand(27, 2) for box in boxes])
    found, rows, detector = observed(
        persons, [[detection_at(a, k, b)] for a, k, b in zip(affines, keypoints, boxes, strict=True)]
    )
    assert rows.tolist() == list(range(PERSONS))
    seen = found.observation
    assert torch.allclose(seen.keypoints, keypoints, atol=0.05)
    assert torch.allclose(seen.box, keypoint_box(seen.keypoints, seen.confidence))
    assert (seen.confidence == 0.8).all() and not seen.has_mask.any()
    assert torch.equal(seen.K, example.observation.K)
    assert torch.equal(seen.knows_camera, example.observation.knows_camera)
    assert found.annotation is not None and torch.equal(found.annotation.joints, example.annotation.joints)
    assert seen.crop is not None and seen.has_crop is not None
    assert seen.crop.shape == (PERSONS, 3, CROP, CROP) and seen.has_crop.all()
    assert seen.crop.float().flatten(1).std(1).gt(3).all(), "there is something to see"
    assert all(0 < height <= SIDE and 0 < width <= SIDE for height, width, _ in detector.shapes)


def test_the_detection_on_the_persons_box_is_taken_and_who_is_missed_is_left_out(persons):
    affines, boxes = shown_corners(persons)
    answers = []
    for row, (affine, box) in enumerate(zip(affines, boxes, strict=True)):
        middle = box.view(2, 2).mean(0).expand(27, 2)
        mine = detection_at(affine, middle + torch.rand(27, 2), box)
        far = detection_at(affine, middle + 3 * (box[2:] - box[:2]), box + 3 * (box[2:] - box[:2]).repeat(2))
        answers.append([[far, mine], [far], [], [mine, far], [mine], [far]][row])
    found, rows, _ = observed(persons, answers)
    assert rows.tolist() == [0, 3, 4] and len(found.observation.box) == 3
    middle = boxes.view(-1, 2, 2).mean(1)[rows]
    assert (found.observation.keypoints.mean(1) - middle).norm(dim=-1).max() < 2
    nobody, rows, _ = observed(persons, [[]] * PERSONS)
    assert nobody.observation.crop is not None
    assert len(rows) == 0 and nobody.observation.crop.shape == (0, 3, CROP, CROP)


def test_the_best_overlap_counts_and_must_be_large_enough():
    box = np.array([0.0, 0.0, 10.0, 10.0], np.float32)
    near, nearer, far = (Detection.of_box(box + shift) for shift in (3.0, 1.0, 6.0))
    assert best_match([far, near, nearer], box) is nearer
    assert best_match([far], box) is None and best_match([], box) is None
    assert 0 < MIN_OVERLAP < 0.5


def test_a_detectors_mask_lies_where_it_was_seen(persons):
    """The left half of the person's box is person: so is the left half of the mask's middle."""
    affines, boxes = shown_corners(persons)
    answers = []
    for affine, box in zip(affines, boxes, strict=True):
        corners = torch.cat([box.view(2, 2), box.view(2, 2).mean(0).expand(25, 2)])
        plain = detection_at(affine, corners, box)
        left, top, right, bottom = plain.box.tolist()
        mask = PersonMask(np.full((2, 2), 255, np.uint8), (left, top, (left + right) / 2, bottom))
        answers.append([replace(plain, mask=mask)])
    found, _, _ = observed(persons, answers)
    mask = found.observation.mask
    assert found.observation.has_mask.all()
    half = mask.shape[-1] // 2
    assert (mask[..., half + 1 :] < 0.01).all() and (mask[..., half - 8 : half - 1, half - 2] > 0.99).all()


def test_boxes_hold_the_body_and_stay_in_the_photo(persons):
    body, example, seen = persons
    box = seen_boxes(body, example, seen)
    size = 2 * example.observation.K[:, :2, 2] + 1
    assert (box >= -0.5).all() and (box.view(-1, 2, 2) <= size[:, None] - 0.5).all()
    joints = project(seen.joints[:, [1, 2, 16, 17]], example.observation.K)
    inside = ((joints >= 0) & (joints <= size[:, None] - 1)).all(-1)
    held = ((joints >= box[:, None, :2]) & (joints <= box[:, None, 2:])).all(-1)
    assert held[inside].all() and inside.any()


def content(folder: Path):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_shards_of_a_detector_hold_who_was_found_and_the_index_says_how_many_were_not(fake, tmp_path, capsys):
    words = ["--examples", "12", "--shard-size", "6", "--seed", "7", "--pictures", str(CROP)]
    assert main(["synth", "--out", str(tmp_path / "a"), *words, "--detector", fake, "--detector-side", str(SIDE)]) == 0
    said = capsys.readouterr()
    index = json.loads((tmp_path / "a" / "index.json").read_text())
    shards = open_shards(tmp_path / "a")
    assert index["not_found"] == 12 - len(shards) > 0 and len(shards) > 0
    assert f"the detector did not find {index['not_found']} of 12 persons" in said.out + said.err
    assert index["synth"]["detector"] == fake and index["synth"]["detector_side"] == SIDE
    assert index["synth"]["detector_versions"] == {"fake": "1"}
    assert (shards.tensors["confidence"] == 0.9).all() and shards.tensors["has_mask"].all()
    config = replace(SYNTH, detector=fake)
    before = content(write_synthetic_shards(config, BaseTrainingConfig(), tmp_path / "b"))
    assert before == content(tmp_path / "a"), "the same seed gives the same shards"
    (tmp_path / "b" / "shard_00001.safetensors").unlink()
    (tmp_path / "b" / "index.json").unlink()
    write_synthetic_shards(config, BaseTrainingConfig(), tmp_path / "b")
    assert content(tmp_path / "b") == before, "continued as it began"
    with pytest.raises(InputError, match="detector_side"):
        write_synthetic_shards(replace(config, detector_side=48), BaseTrainingConfig(), tmp_path / "b")


def test_a_detector_that_finds_nobody_ends_in_a_sentence(tmp_path):
    (tmp_path / "blind.py").write_text(FAKE.replace("% 3 == 0", ">= 0"))
    config = replace(SYNTH, examples=2, detector=f"{tmp_path / 'blind.py'}:make")
    with pytest.raises(InputError, match="found none of 2 rendered persons"):
        write_synthetic_shards(config, TRAINING, tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"detector": "mediapipe", "pictures": None}, "no pictures are drawn that it could look at"),
     ({"detector_folder": "models"}, "but no detector"),
     ({"detector": "mediapipe", "detector_side": 8}, "for the detector of 8 pixels"),
     ({"detector": "mediapipe", "detector_folder": "models"}, "expected it with 'vitpose' only"),
     ({"detector": "nobody"}, "detector is 'nobody'")],
)  # fmt: skip
def test_choices_that_do_not_fit_together_are_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        write_synthetic_shards(replace(SYNTH, **change), TRAINING, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_without_a_detector_environment_one_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HMRALIGN_DETECTOR_ENV", str(tmp_path / "none"))
    words = ["synth", "--out", str(tmp_path / "x"), "--examples", "2", "--pictures", "32", "--detector", "mediapipe"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "run `hmralign setup-detector` once" in said and said.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.detector
@pytest.mark.skipif(detector_environment() is None, reason="run `hmralign setup-detector` first")
def test_the_shipped_detector_finds_rendered_persons(persons):
    """Half of the persons at least, and most of them near where they are: they are in plain clothes."""
    body, example, seen = persons
    with MediapipeDetector(config=ONE_PERSON) as detector:
        looking = Looking(detector, 320, 160)
        found, rows = detected_examples(body, example, seen, looking, SceneMix(), seeded(0, "scene"))
    assert len(rows) >= PERSONS // 2
    hips = project(seen.joints[rows][:, [1, 2]], example.observation.K[rows]).mean(1)
    gap = (found.observation.keypoints[:, [11, 12]].mean(1) - hips).norm(dim=-1)
    box = found.observation.box
    assert (gap / (box[:, 2:] - box[:, :2]).amax(1)).median() < 0.1
