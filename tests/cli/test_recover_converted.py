"""`hmralign recover` with a converted HypoNet: it looks at the pixels of the photo."""

import json

import numpy as np
import pytest
from PIL import Image

from hmralign.cli.main import main
from support.body_files import stand_in, write_npz
from support.published_snapshots import tiny_layout, write_snapshot, write_speaking_hyponet


def convert(folder, kind, *options):
    """A converted checkpoint of tiny size."""
    snapshot, out = folder / f"{kind}.pth", folder / f"{kind}.safetensors"
    write_speaking_hyponet(snapshot) if kind == "hyponet" else write_snapshot(snapshot, kind)
    assert main(["convert", kind, str(snapshot), "--out", str(out), "--quiet", *map(str, options)]) == 0
    return out


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr("hmralign.models.published.conversion.published_layout", tiny_layout)


def refused(example, capsys, **options):
    capsys.readouterr()
    assert example.recover(no_pictures=True, **options) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("hmralign: ") and err.count("\n") == 1
    assert not (example.out / "photo").exists()
    return err


def test_bodies_come_of_the_photo(example, capsys, tiny):
    hyponet = convert(example.folder, "hyponet")
    assert example.recover(checkpoint=hyponet, no_pictures=True, num_hypotheses=4, sides="as-read") == 0
    with np.load(example.out / "photo/person_0/hypotheses.npz") as arrays:
        found = {name: arrays[name] for name in arrays}
    assert found["global_orient"].shape[0] == 4
    assert all(np.isfinite(a).all() for a in found.values() if a.dtype.kind == "f")
    rgb = np.asarray(Image.open(example.photo))
    Image.fromarray(np.ascontiguousarray(rgb[:, :, ::-1])).save(example.folder / "other.png")
    other = example.write_keypoints("other.png", file="other.json")  # the same keypoints, other pixels
    out = example.folder / "other_out"
    assert example.recover(
        example.folder / "other.png", keypoints=other, out=out, checkpoint=hyponet, no_pictures=True, num_hypotheses=4,
        sides="as-read",
    ) == 0  # fmt: skip
    with np.load(out / "other/person_0/hypotheses.npz") as arrays:
        assert np.abs(arrays["body_pose"] - found["body_pose"]).max() > 1e-3
    record = json.loads((example.out / "photo/photo.json").read_text())
    assert record["made_by"]["checkpoint"]["name"] == str(hyponet)


def test_one_of_another_body_is_refused(example, capsys, tiny):
    body = write_npz(example.folder, stand_in())
    hyponet = convert(example.folder, "hyponet", "--body", body)
    said = refused(example, capsys, checkpoint=hyponet)
    assert "is bound to another skeleton" in said and said.count("hyponet.safetensors") == 1
    assert example.recover(checkpoint=hyponet, body=body, no_pictures=True, sides="as-read") == 0


def test_a_scorer_is_no_policy(example, capsys, tiny):
    scorer = convert(example.folder, "scorenet")
    assert "kind 'scorenet', expected 'lite' or 'pixel' or 'hyponet'" in refused(example, capsys, checkpoint=scorer)
