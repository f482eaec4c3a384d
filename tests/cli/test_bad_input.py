"""Every wrong input ends in exit code 2 and one sentence that names the offender; unusual photos simply work."""

import json
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.cli.main import main
from hmralign.detection.detection import Detection
from support.recover_example import alphapose_entry, tiny_checkpoint


def refused(capsys, code, *words):
    """One sentence on stderr, no traceback, nothing on stdout."""
    out, err = capsys.readouterr()
    assert code == 2 and out == "", (code, out, err)
    assert err.startswith("hmralign: ") and err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert word in err, (word, err)


def named(example, name, content=b""):
    path = example.folder / name
    path.write_bytes(content)
    example.write_keypoints(name)
    return path


# --- images -----------------------------------------------------------------------------------------------------------


def test_not_an_image(example, capsys):
    refused(capsys, example.recover(named(example, "notes.jpg", b"dear diary")), "notes.jpg", "not an image")


def test_an_empty_file(example, capsys):
    refused(capsys, example.recover(named(example, "empty.jpg")), "empty.jpg", "empty")


def test_a_truncated_jpeg(example, capsys):
    path = example.folder / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8)).save(path)
    refused(capsys, example.recover(named(example, "cut.jpg", path.read_bytes()[:8000])), "cut.jpg", "cut off")


def test_one_pixel(example, capsys):
    path = example.folder / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    refused(capsys, example.recover(path), "dot.png", "1 x 1")


def test_a_decompression_bomb(example, capsys):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    refused(capsys, example.recover(named(example, "bomb.png", bomb)), "bomb.png", "megapixels")


def test_a_missing_file_and_no_input(example, capsys):
    refused(capsys, example.recover(example.folder / "nowhere.jpg"), "nowhere.jpg", "does not exist")
    refused(capsys, main(["recover"]), "No input")


def unusual_photos(folder, rgb):
    """The same picture in unusual clothes, one file each."""
    image = Image.fromarray(rgb)
    made = {
        "grey.png": image.convert("L"),
        "rgba.png": Image.merge("RGBA", (*image.split(), Image.new("L", image.size, 200))),
        "deep.png": Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257),
        "cmyk.jpg": image.convert("CMYK"),
        "palette.gif": image.quantize(64),
    }
    for name, picture in made.items():
        picture.save(folder / name)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned by 270 degrees
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    return [*made, "turned.jpg"]


def test_unusual_photos_give_the_answer_of_the_plain_one(example):
    folder = example.folder / "unusual"
    folder.mkdir()
    names = unusual_photos(folder, example.rgb)
    keypoints = example.write_keypoints("photo.png", *names)
    assert example.recover(folder, example.photo, keypoints=keypoints) == 0

    def answer(name):
        path = example.out / name.split(".")[0] / "person_0" / "hypotheses.npz"
        return np.load(path, allow_pickle=False)["joints"]

    for name in names:
        assert np.array_equal(answer(name), answer("photo.png")), name


# --- people -----------------------------------------------------------------------------------------------------------


class EmptyScene:
    """A detector for landscapes."""

    versions: dict = {}  # noqa: RUF012

    def __call__(self, image) -> list[Detection]:
        return []

    def detect_in_box(self, image, box) -> Detection | None:
        return None

    def close(self):
        pass


def test_nobody_in_the_photo(example, capsys, monkeypatch):
    monkeypatch.setattr("hmralign.detection.mediapipe_detector.MediapipeDetector", EmptyScene)
    code = main(["recover", str(example.photo), "--checkpoint", str(example.checkpoint), "--out", str(example.out)])
    refused(capsys, code, "nobody was found", "photo.png")


def test_boxes_that_show_nobody(example, capsys):
    boxes = example.folder / "boxes.json"
    boxes.write_text('{"boxes": {"photo.png": [[10, 20, 60, 120], [30, 30, 35, 90]]}}')
    code = main(["recover", str(example.photo), "--boxes", str(boxes), "--checkpoint", str(example.checkpoint),
                 "--detector", "none", "--out", str(example.out)])  # fmt: skip
    refused(capsys, code, "box 1", "photo.png", "30, 30, 35, 90", "too small")


def test_the_detector_is_missing(example, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HMRALIGN_DETECTOR_ENV", str(tmp_path / "none"))
    code = main(["recover", str(example.photo), "--checkpoint", str(example.checkpoint), "--out", str(example.out)])
    refused(capsys, code, "hmralign setup-detector")


def test_half_a_person_is_recovered_with_more_doubt_below(example):
    half = example.points.copy()
    half[[i for i in range(13, 23)], 2] = 0
    keypoints = example.write_keypoints("photo.png", points=half)
    assert example.recover(keypoints=keypoints) == 0
    summary = json.loads((example.out / "photo" / "person_0" / "summary.json").read_text())
    assert "left_knee" not in summary["keypoints"] and "left_wrist" in summary["keypoints"]


# --- keypoint files ---------------------------------------------------------------------------------------------------


def changed(example, change):
    entry = alphapose_entry("photo.png", example.points)
    entry = change(entry) or entry
    path = example.folder / "changed.json"
    path.write_text(json.dumps([entry]))
    return path


def not_a_number(entry):
    entry["keypoints"][0] = float("nan")


def too_few(entry):
    entry["keypoints"] = entry["keypoints"][:30]


def too_many(entry):
    entry["keypoints"] += [1.0, 2.0, 1.0]


def normalised(entry):
    entry["keypoints"] = [v / 200 if i % 3 < 2 else v for i, v in enumerate(entry["keypoints"])]


def no_joints(entry):
    entry["keypoints"] = [0.0] * len(entry["keypoints"])


def other_image(entry):
    entry["image_id"] = "other.png"


def words(entry):
    entry["keypoints"] = "here and there"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (not_a_number, "finite"), (too_few, "keypoint numbers"), (too_many, "keypoint numbers"),
        (normalised, "pixels"), (no_joints, "at least 3"), (other_image, "photo.png"), (words, "keypoints"),
    ],
)  # fmt: skip
def test_wrong_keypoint_files(example, capsys, change, said):
    refused(capsys, example.recover(keypoints=changed(example, change)), "changed.json", said)
    assert not (example.out / "photo").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\x00\xff"])
def test_files_that_are_no_keypoint_files(example, capsys, content):
    path = example.folder / "broken.json"
    path.write_bytes(content.encode("latin-1"))
    refused(capsys, example.recover(keypoints=path), "broken.json")


def test_boxes_as_keypoints(example, capsys):
    path = example.folder / "boxes.json"
    path.write_text("[[10, 20, 60, 120]]")
    refused(capsys, example.recover(keypoints=path), "no keypoints")


# --- settings ---------------------------------------------------------------------------------------------------------


def test_no_hypotheses(example, capsys):
    for number in (0, -3):
        refused(capsys, example.recover(num_hypotheses=number), str(number), "at least 1")


def test_impossible_settings(example, capsys):
    refused(capsys, example.recover(keep=0), "keep", "at least 1")
    refused(capsys, example.recover(device="abacus"), "abacus")
    refused(capsys, example.recover(device="cuda:77"), "cuda:77")
    refused(capsys, example.recover(focal_px=-5.0), "positive")
    refused(capsys, example.recover(boxes=example.keypoints), "at most one")
    refused(capsys, example.recover(keypoints=example.folder / "gone.json"), "gone.json")
    assert not (example.out / "photo").exists()


def test_detector_none_needs_keypoints_or_boxes(example, capsys):
    refused(capsys, main(["recover", str(example.photo), "--detector", "none", "--out", str(example.out)]), "keypoints")


def test_an_output_folder_that_is_a_file(example, capsys):
    (example.folder / "taken").write_text("")
    refused(capsys, example.recover(out=example.folder / "taken"), "taken")
    refused(capsys, example.recover(out=example.folder / "taken" / "below"), "taken")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_an_output_folder_without_permission(example, capsys):
    locked = example.folder / "locked"
    locked.mkdir(mode=0o500)
    refused(capsys, example.recover(out=locked / "out"), "locked", "writable")


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_of_another_skeleton(example, capsys):
    other = tiny_checkpoint(example.folder / "other.safetensors", skeleton_hash="0" * 64)
    refused(capsys, example.recover(checkpoint=other), "other.safetensors", "skeleton")


def test_truncated_weights(example, capsys):
    cut = example.folder / "cut.safetensors"
    cut.write_bytes(example.checkpoint.read_bytes()[:-1000])
    refused(capsys, example.recover(checkpoint=cut), "cut.safetensors")


def test_missing_weights(example, capsys):
    refused(capsys, example.recover(checkpoint=example.folder / "gone.safetensors"), "gone.safetensors")


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (open, (self.marker, "w"))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_with_code_is_refused_and_never_run(example, capsys, write):
    marker, path = example.folder / "it_ran", example.folder / "trap.safetensors"
    write({"weight": Trap(marker)}, path)
    refused(capsys, example.recover(checkpoint=path), path.name)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Trap(marker)))
    assert marker.exists()  # the trap itself works
