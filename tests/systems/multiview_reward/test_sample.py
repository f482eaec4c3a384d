"""Views out of one view: of recovered people, of stored ones, and of front pictures."""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.cli.main import main
from hmralign.models.multiview.checkpoint import view_transformer_path
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras
from hmralign.structures import BodyParams, InputError
from hmralign.systems.multiview_reward.sample import Front, fronts_of_bodies, sample_fronts
from support.recover_example import write_keypoints
from support.synthetic_persons import persons

RING = RingCameras(size=16)
CONFIG = ViewTransformerConfig(size=16, width=16, depth=1, heads=2, head_channels=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    return MultiViewPolicy(ViewTransformer(CONFIG)).save(path, ("prior:train",))


def body_of(person: int) -> BodyParams:
    return persons(2).annotation.body[person]


def test_fronts_are_the_first_view_of_the_ring(base, tmp_path):
    body = load_free_body("3k5")
    fronts = fronts_of_bodies([body_of(0), body_of(1)], body, RING, "a.jpg")
    whole = RING.render(vertices(body, body_of(1))[None], body.faces).pixels[0, 0]
    assert torch.equal(fronts[1].pixels, whole) and fronts[1].name == "person_1"
    record = sample_fronts(str(base), fronts, tmp_path / "out", samples=2, seed=3, num_steps=3)
    assert [p["name"] for p in record["persons"]] == ["person_0", "person_1"]
    with np.load(tmp_path / "out/person_1/views.npz") as found:
        assert found["views"].shape == (2, 4, 4, 16, 16) and np.allclose(found["front"], whole, atol=1e-3)
        first = found["views"].copy()
    assert not np.array_equal(first[0], first[1])
    assert Image.open(tmp_path / "out/person_1/strip_1.png").size == (4 * 128, 128)
    sample_fronts(str(base), fronts, tmp_path / "out", samples=2, seed=3, num_steps=3)
    with np.load(tmp_path / "out/person_1/views.npz") as again:
        assert np.array_equal(again["views"], first)


def test_a_photo_with_keypoints_becomes_views(base, tmp_path, capsys):
    photo = tmp_path / "a.png"
    seen = persons(1).observation
    side = int(seen.keypoints.max()) + 50
    Image.new("RGB", (side, side), (90, 90, 90)).save(photo)
    points = np.concatenate([seen.keypoints[0], seen.confidence[0, :, None]], axis=1)
    keypoints = write_keypoints(tmp_path / "k.json", {"a.png": [points]})
    words = ["multiview", "sample", str(photo), "--base", str(base), "--keypoints", str(keypoints), "--num-steps", "2"]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["persons"][0]["source"] == "a.png, person 0" and (tmp_path / "out/person_0/strip_0.png").is_file()


def test_an_archive_of_fronts_or_views_is_taken(base, tmp_path, capsys):
    body = load_free_body("3k5")
    views = RING.render(vertices(body, persons(2).annotation.body), body.faces).pixels
    for name, arrays in (("views", {"views": views}), ("one", {"front": views[0, 0]}), ("own", {"views": views[0]})):
        np.savez(tmp_path / f"{name}.npz", **{key: value.numpy() for key, value in arrays.items()})
        words = ["multiview", "sample", str(tmp_path / f"{name}.npz"), "--base", str(base), "--num-steps", "2"]
        assert main([*words, "--out", str(tmp_path / f"{name}_out"), "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert len(record["persons"]) == (2 if name == "views" else 1)
        with np.load(tmp_path / f"{name}_out/person_0/views.npz") as found:
            assert np.allclose(found["front"], views[0, 0].numpy(), atol=1e-3)


WRONG = [
    ({"front": np.zeros((4, 8, 8), np.float32)}, "the base sees (4, 16, 16)"),
    ({"front": np.zeros((4, 16, 16), np.float32)}, "nobody is seen"),
    ({"front": np.full((4, 16, 16), 255.0, np.float32)}, "has pixels that no view has"),
    ({"front": np.full((4, 16, 16), np.nan, np.float32)}, "has pixels that no view has"),
    ({"front": np.zeros((16, 16), np.float32)}, "has neither 'front'"),
    ({"other": np.zeros(3)}, "has neither 'front'"),
]


@pytest.mark.parametrize(("arrays", "said"), WRONG)
def test_what_is_no_front_is_told(arrays, said, base, tmp_path, capsys):
    np.savez(tmp_path / "f.npz", **arrays)
    words = ["multiview", "sample", str(tmp_path / "f.npz"), "--base", str(base), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_nobody_and_too_many_samples_are_refused(base, tmp_path, capsys):
    with pytest.raises(InputError, match="no front"):
        sample_fronts(str(base), [], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    words = ["multiview", "sample", str(tmp_path / "empty"), "--base", str(base), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "holds nobody whom `hmralign recover` wrote" in capsys.readouterr().err


def test_the_shipped_base_is_sampled_by_its_name(tmp_path):
    front = Front("somebody", torch.zeros(4, 32, 32), "nowhere")
    record = sample_fronts("multiview-base", [front], tmp_path / "views")
    file = view_transformer_path("multiview-base")
    assert record["base"] == "multiview-base" and record["base_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
