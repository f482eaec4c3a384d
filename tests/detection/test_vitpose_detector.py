"""RT-DETR and ViTPose with tiny random weights: places come out where they went in, and bad folders are named."""

import json
import shutil
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hmralign.api import Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS
from hmralign.cli.main import main
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.detection.boxes import box_iou
from hmralign.detection.detection import Detector
from hmralign.detection.heatmaps import cells_to_pixels, decode_heatmaps, region_of_box
from hmralign.detection.keypoint_conventions import COCO_WHOLEBODY
from hmralign.detection.vitpose_detector import VitposeDetector, VitposeDetectorConfig
from hmralign.fitting.detector_noise import noise_of
from hmralign.structures import InputError
from support.recover_example import example_photo, tiny_checkpoint
from support.tiny_detector_models import save_detector_folder, save_person_model, save_pose_model

pytest.importorskip("transformers", minversion="5.5", reason="the extra [vitpose] is not installed")

BOX = np.array([40.0, 30.0, 100.0, 190.0])
ALL = VitposeDetectorConfig(min_person=0.0, min_confidence=0.0, max_overlap=0.5)
"""Random networks are sure of nothing: believe everything."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_detector_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def detector(saved):
    return VitposeDetector(saved, ALL)


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(saved, tmp_path / "models")


@pytest.fixture(scope="module")
def image():
    small = np.random.default_rng(0).integers(0, 256, (23, 17, 3), np.uint8)
    return np.kron(small, np.ones((10, 10, 1), np.uint8))


def edit_config(path, **values):
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**content, **values}))


def test_it_is_a_detector_and_says_what_it_is_made_of(detector, saved):
    assert isinstance(detector, Detector)
    versions = detector.versions
    assert all(isinstance(v, str) for v in versions.values())
    assert len(versions["pose_sha256"]) == len(versions["person_sha256"]) == 64
    assert versions["folder"] == saved.name and versions["transformers"][0] == "5"
    assert detector.name.startswith("vitpose-")
    other = VitposeDetector(saved, VitposeDetectorConfig(flip_test=False))
    assert other.name != detector.name, "settings decide answers"
    assert VitposeDetector(saved, ALL).name == detector.name


def test_a_box_gives_27_keypoints_near_it(detector, image):
    person = detector.detect_in_box(image, BOX)
    assert person.mask is None and person.landmarks3d is None and person.detector == detector.name
    np.testing.assert_array_equal(person.box, BOX)
    assert person.keypoints.shape == (27, 2) and person.confidence.shape == (27,)
    assert (person.confidence >= 0).all() and (person.confidence <= 1).all() and 0 < person.score <= 1
    assert (person.confidence[17:] == 0).all() and np.isfinite(person.keypoints).all()
    seen = person.confidence > 0
    assert seen.sum() > 8
    centre_x, centre_y, width, height = region_of_box(BOX, 0.75)
    off = np.abs(person.keypoints[seen] - [centre_x, centre_y]) / [width, height]
    assert (off <= 0.5 + 1.5 / 47).all()
    again = detector.detect_in_box(image, BOX)
    np.testing.assert_array_equal(again.keypoints, person.keypoints)


def test_nobody_where_no_keypoint_is_seen(saved, image):
    strict = VitposeDetector(saved, VitposeDetectorConfig(min_person=0.0, min_confidence=50.0))
    assert strict.detect_in_box(image, BOX) is None
    assert strict(image) == []


@pytest.mark.parametrize("box", [[30.0, 20, 30, 90], [500.0, 10, 600, 90], [np.nan, 0, 9, 9]])
def test_a_box_that_is_none_is_refused(detector, image, box):
    with pytest.raises(InputError, match="box"):
        detector.detect_in_box(image, np.array(box))


def test_an_array_that_is_no_photo_is_refused(detector):
    with pytest.raises(InputError, match="RGB"):
        detector(np.zeros((40, 3, 3), np.uint8))


def test_a_dot_is_found_where_it_was_painted(detector):
    """The library's crop and our way back agree: no half pixel is lost, whatever the shape of the box."""
    rng = np.random.default_rng(4)
    for box in (BOX, np.array([10.0, 80.0, 150.0, 120.0]), np.array([-0.5, -0.5, 169.5, 229.5])):
        centre_x, centre_y, width, height = region_of_box(box, 0.75)
        low = np.maximum([centre_x - 0.4 * width, centre_y - 0.4 * height], 8)
        high = np.minimum([centre_x + 0.4 * width, centre_y + 0.4 * height], [161, 221])
        for place in rng.uniform(low, high, (5, 2)):
            y, x = np.mgrid[:230, :170]
            blob = 255 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * (0.012 * height) ** 2))
            photo = np.repeat(blob.round().astype(np.uint8)[..., None], 3, axis=2)
            crop = detector._crops(photo, box[None])[:, :1].double().numpy()
            cells, _ = decode_heatmaps(crop - crop.min())
            np.testing.assert_allclose(
                cells_to_pixels(cells[0, 0], region_of_box(box, 0.75), (256, 192)), place, atol=0.3
            )


def test_known_heatmaps_become_known_keypoints(detector, image, monkeypatch):
    """Peaks are put where the true keypoints lie on a grid over the region; they come back in pixels."""
    truth = np.random.default_rng(3).uniform((35, 25), (105, 195), (17, 2))
    centre_x, centre_y, width, height = region_of_box(BOX, 0.75)
    u = (truth[:, 0] - (centre_x - width / 2)) / width * 47
    v = (truth[:, 1] - (centre_y - height / 2)) / height * 63
    rows, columns = np.mgrid[:64, :48]
    maps = np.exp(-((columns - u[:, None, None]) ** 2 + (rows - v[:, None, None]) ** 2) / 8)
    maps *= np.linspace(0.3, 1.3, 17)[:, None, None]
    monkeypatch.setattr(detector, "_heatmaps", lambda crops: torch.from_numpy(maps[None]).float())
    person = detector.detect_in_box(image, BOX)
    np.testing.assert_allclose(person.keypoints[:17], truth, atol=0.1)
    assert person.confidence[0] == pytest.approx(0.3, abs=0.02) and person.confidence[16] == 1.0


def test_keypoints_outside_the_photo_are_not_observed(detector, image, monkeypatch):
    maps = torch.full((1, 17, 64, 48), 0.001)
    maps[:, :, 32, 24] = 0.9
    maps[:, 5, :] = 0.001
    maps[:, 5, 0, 0] = 0.9
    monkeypatch.setattr(detector, "_heatmaps", lambda crops: maps)
    person = detector.detect_in_box(image, np.array([0.0, 0, 60, 160]))
    assert person.confidence[5] == 0 and (np.delete(person.confidence[:17], 5) > 0.8).all()
    assert np.isfinite(person.keypoints).all()


def test_the_mirrored_photo_has_mirrored_people(detector, saved, image):
    mirrored, x_max = np.ascontiguousarray(image[:, ::-1]), image.shape[1] - 1
    box = np.array([x_max - BOX[2], BOX[1], x_max - BOX[0], BOX[3]])
    straight, other = detector.detect_in_box(image, BOX), detector.detect_in_box(mirrored, box)
    flip = list(MIRROR_KEYPOINTS)
    np.testing.assert_allclose(other.confidence[flip], straight.confidence, atol=1e-4)
    seen = straight.confidence > 0
    back = np.stack([x_max - other.keypoints[flip, 0], other.keypoints[flip, 1]], -1)
    # A random network may have two cells of nearly the same height; rounding then chooses.
    assert np.median(np.abs(back - straight.keypoints)[seen]) < 0.01
    assert (np.abs(back - straight.keypoints)[seen] < 0.1).mean() > 0.9
    plain = VitposeDetector(saved, VitposeDetectorConfig(min_confidence=0.0, flip_test=False))
    a, b = plain.detect_in_box(image, BOX), plain.detect_in_box(mirrored, box)
    assert not np.allclose(a.confidence, b.confidence[flip], atol=1e-2), "without the flip a network is not symmetric"


@pytest.mark.parametrize(("kind", "name"), [("RTDetr", "rt_detr"), ("RTDetrV2", "rt_detr_v2")])
def test_people_are_the_person_boxes_of_the_network_best_first(folder, image, kind, name):
    save_person_model(folder / "person", kind=kind, seed=4)
    detector = VitposeDetector(folder, ALL)
    assert detector.versions["person"] == name
    people = detector(image)
    assert len(people) > 1
    scores = [p.score for p in people]
    assert scores == sorted(scores, reverse=True)
    height, width = image.shape[:2]
    for i, person in enumerate(people):
        assert (person.box >= -0.5).all() and (person.box <= np.array([width, height, width, height]) - 0.5).all()
        assert all(box_iou(person.box, p.box) <= 0.5 + 1e-6 for p in people[:i])
    # Another way to the best box: the raw outputs of the network.
    pixels = detector._person.processor(images=[image], return_tensors="pt").pixel_values
    with torch.no_grad():
        raw = detector._person.model(pixel_values=pixels)
    query = int(raw.logits[0, :, 1].argmax())
    x, y, w, h = (raw.pred_boxes[0, query].double().numpy() * [width, height, width, height]).tolist()
    best = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [width, height, width, height]) - 0.5
    np.testing.assert_allclose(people[0].box, best, atol=1e-3)
    assert people[0].score == pytest.approx(float(raw.logits[0, query, 1].sigmoid()), abs=1e-5)
    certain = VitposeDetectorConfig(min_person=float(np.median(scores)), min_confidence=0.0, max_overlap=0.5)
    fewer = VitposeDetector(folder, certain)(image)
    assert [p.score for p in fewer] == [s for s in scores if s > certain.min_person]
    first = VitposeDetector(folder, replace(ALL, max_people=1))(image)
    assert [p.score for p in first] == scores[:1]
    # Read alone, a person is the same as read with the others.
    alone = detector.detect_in_box(image, people[0].box.astype(np.float64))
    np.testing.assert_allclose(alone.confidence, people[0].confidence, atol=1e-4)


def test_133_keypoints_fill_feet_and_knuckles_from_their_places(tmp_path, image):
    save_person_model(tmp_path / "person")
    path = save_pose_model(tmp_path / "pose", keypoints=133) / "model.safetensors"
    tensors = load_file(path)
    tensors["head.conv.weight"] *= 0
    tensors["head.conv.bias"] = torch.arange(133) / 200
    save_file(tensors, path, metadata={"format": "pt"})
    whole = VitposeDetector(tmp_path, VitposeDetectorConfig(min_confidence=0.0, flip_test=False))
    person = whole.detect_in_box(image, np.array([70.0, 100, 100, 140]))
    expected = [COCO_WHOLEBODY.place[name] / 200 for name in KEYPOINT_NAMES]
    np.testing.assert_allclose(person.confidence, expected, atol=1e-6)
    assert len(set(expected)) == 27
    both = VitposeDetector(tmp_path, VitposeDetectorConfig(min_confidence=0.0))
    flipped = both.detect_in_box(image, np.array([70.0, 100, 100, 140])).confidence
    np.testing.assert_allclose(
        flipped, (np.array(expected) + np.array(expected)[list(MIRROR_KEYPOINTS)]) / 2, atol=1e-6
    )


@pytest.mark.parametrize(("keypoints", "expert"), [(17, 0), (133, 5)])
def test_vitpose_plus_uses_the_expert_of_its_data_set(tmp_path, image, keypoints, expert):
    save_detector_folder(tmp_path, keypoints=keypoints, experts=6)
    path = tmp_path / "pose" / "model.safetensors"
    tensors = load_file(path)
    before = VitposeDetector(tmp_path, ALL).detect_in_box(image, BOX)
    for number in range(6):
        changed = {k: v * 0 if f"experts.{number}." in k else v for k, v in tensors.items()}
        assert any(not torch.equal(changed[k], tensors[k]) for k in tensors)
        save_file(changed, path, metadata={"format": "pt"})
        after = VitposeDetector(tmp_path, ALL).detect_in_box(image, BOX)
        assert np.array_equal(before.confidence, after.confidence) == (number != expert), number


def test_nothing_is_fetched(saved, image, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert VitposeDetector(saved, ALL).detect_in_box(image, BOX) is not None


def test_half_precision_weights_are_read_in_float32(folder, image):
    path = folder / "pose" / "model.safetensors"
    save_file({k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}, path)
    edit_config(folder / "pose", dtype="float16")
    half = VitposeDetector(folder, ALL)
    assert next(half._pose.model.parameters()).dtype == torch.float32
    assert half.detect_in_box(image, BOX) is not None


def test_the_library_is_missing(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"hmralign\[vitpose\]"):
        VitposeDetector(saved)


def _remove(name):
    return lambda folder: (folder / name).unlink()


def _pickle(folder):
    (folder / "pose" / "model.safetensors").rename(folder / "pose" / "pytorch_model.bin")


def _damaged(folder):
    path = folder / "pose" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:900])


def _tensor_missing(folder):
    path = folder / "person" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata={"format": "pt"})


def _tensor_of_another_shape(folder):
    path = folder / "pose" / "model.safetensors"
    save_file({**load_file(path), "head.conv.bias": torch.zeros(5)}, path, metadata={"format": "pt"})


def _fields(part, **values):
    return lambda folder: edit_config(folder / part, **values)


def _backbone_to_fetch(folder):
    edit_config(folder / "person", backbone_config={"model_type": "timm_backbone", "backbone": "resnet50"})


def _crops_of_another_size(folder):
    path = folder / "pose" / "preprocessor_config.json"
    path.write_text(path.read_text().replace("256", "384"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: shutil.rmtree(f), ["models", "person and pose", "nothing is downloaded"]),
        (lambda f: shutil.rmtree(f / "pose"), ["models", "lacks pose"]),
        (_remove("pose/model.safetensors"), ["pose", "lacks model.safetensors"]),
        (_remove("person/config.json"), ["person", "lacks config.json"]),
        (_remove("pose/preprocessor_config.json"), ["pose", "lacks preprocessor_config.json"]),
        (_pickle, ["pose", "pytorch_model.bin", "pickle"]),
        (_damaged, ["model.safetensors", "safetensors"]),
        (_tensor_missing, ["person", "lacks 1 tensor"]),
        (_tensor_of_another_shape, ["pose", "no usable vitpose"]),
        (lambda f: (f / "pose" / "config.json").write_text("{"), ["config.json", "model_type"]),
        (lambda f: (f / "pose" / "config.json").write_text("[]"), ["config.json", "model_type"]),
        (_fields("pose", model_type="sapiens"), ["sapiens", "expected vitpose"]),
        (_fields("person", model_type="detr"), ["detr", "expected rt_detr or rt_detr_v2"]),
        (_fields("person", backbone="resnet50"), ["resnet50", "not fetched"]),
        (_fields("person", d_model="wide"), ["person", "no usable rt_detr"]),
        (_backbone_to_fetch, ["timm_backbone"]),
        (_crops_of_another_size, ["384", "256"]),
        (lambda f: save_pose_model(f / "pose", keypoints=18), ["18 keypoints", "17 (COCO) or 133"]),
        (lambda f: save_pose_model(f / "pose", keypoints=133, experts=3), ["3 experts"]),
        (lambda f: save_person_model(f / "person", labels=("cat", "dog")), ["no label 'person'"]),
    ],
)  # fmt: skip
def test_a_folder_that_will_not_do_is_refused_in_one_sentence(folder, spoil, words):
    spoil(folder)
    with pytest.raises(InputError) as caught:
        VitposeDetector(folder)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_noise_is_generic_unless_the_folder_brings_its_own(detector, folder, image):
    assert detector.noise_file is None and "noise_sha256" not in detector.versions
    generic = noise_of(detector.name.split("-")[0])
    torch.testing.assert_close(generic.offsets, torch.zeros(27, 3))
    shipped = load_measured_noise(photos=False)
    arrays = {k: getattr(shipped, k).numpy() for k in shipped.__dataclass_fields__}
    np.savez(folder / "noise.npz", format_version=1, **{**arrays, "offsets": arrays["offsets"] + 0.5})
    measured = VitposeDetector(folder, ALL)
    assert measured.name != detector.name
    person = measured.detect_in_box(image, BOX)
    got = noise_of(person.noise_file)
    torch.testing.assert_close(got.offsets, shipped.offsets + 0.5)
    torch.testing.assert_close(got.sigma, shipped.sigma_bins)


@pytest.fixture
def small_pictures(monkeypatch):
    for name in ("PERSON_SIDE", "TILE_SIDE"):
        monkeypatch.setattr(f"hmralign.systems.recover.pictures.{name}", 40)


def test_recover_records_it_and_does_not_mix_up_weights(folder, tmp_path, small_pictures):
    options = {
        "checkpoint": tiny_checkpoint(tmp_path / "tiny.safetensors"),
        "body": load_free_body("3k5"), "detector": "vitpose", "detector_folder": folder, "num_hypotheses": 2,
    }  # fmt: skip
    recoverer = Recoverer.load(**options)
    photo = tmp_path / "photo.png"
    Image.fromarray(example_photo()[0]).save(photo)
    (person,) = recoverer(photo, boxes=[[20.0, 10.0, 120.0, 190.0]])
    assert person.detection.detector == recoverer.detector.name and not person._person.observation.has_mask
    made = recoverer.provenance.record()["detector"]
    assert made["name"] == recoverer.detector.name and made["versions"] == recoverer.detector.versions
    save_pose_model(folder / "pose", seed=1)
    other = Recoverer.load(**options)
    assert other.provenance.fingerprint() != recoverer.provenance.fingerprint()


def test_recover_asks_for_the_folder(saved):
    with pytest.raises(InputError, match="needs a detector folder"):
        Recoverer.load(detector="vitpose")
    with pytest.raises(InputError, match="'vitpose' only"):
        Recoverer.load(detector_folder=saved)


def test_the_command_line_takes_a_folder(tmp_path, folder, capsys, small_pictures):
    photo, boxes, out = tmp_path / "photo.png", tmp_path / "boxes.json", tmp_path / "out"
    Image.fromarray(example_photo()[0]).save(photo)
    boxes.write_text("[[20, 10, 120, 190]]")
    tiny = tiny_checkpoint(tmp_path / "tiny.safetensors", load_free_body("7k").skeleton_hash)
    call = ["recover", str(photo), "--boxes", str(boxes), "--checkpoint", str(tiny), "--out", str(out),
            "--num-hypotheses", "2", "--detector", "vitpose"]  # fmt: skip
    assert main(call) == 2
    assert "--detector-folder" in capsys.readouterr().err
    assert main([*call, "--detector-folder", str(tmp_path / "gone")]) == 2
    assert "gone" in capsys.readouterr().err
    assert main([*call, "--detector-folder", str(folder)]) == 0
    assert "pose_sha256" in (out / "run.yaml").read_text()
