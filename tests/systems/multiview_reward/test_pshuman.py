"""`hmralign multiview pshuman` end to end on a tiny folder of the published layout."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.adapters.pshuman import VIEW_NAMES, AfterDecoding
from hmralign.cli.main import main
from hmralign.policies.pshuman import PSHumanSampling
from hmralign.structures import InputError
from hmralign.systems.multiview_reward.pshuman import cut_out, sample_pshuman
from support.pshuman_tiny import PIXELS, configs, write_folder

SIDES = VIEW_NAMES[:6]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("diffusers", minversion="0.36", reason="the extra [diffusers] is not installed")
    return write_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def photo(tmp_path):
    pixels = np.zeros((60, 40, 4), np.uint8)
    pixels[5:55, 10:30] = (180, 90, 40, 255)
    pixels[5:20, 10:20, 1] = 200
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def pictures(folder):
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))}


def test_six_sides_of_two_domains_are_written(model, photo, tmp_path, capsys):
    command = ["multiview", "pshuman", str(model), str(photo), "--num-steps", "2", "--samples", "2", "--seed", "4"]
    assert main([*command, "--out", str(tmp_path / "a"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "a/sample.json").read_text())
    assert record["sampling"] == {"num_steps": 2, "eta": 1.0, "guidance": 3.0, "noise_level": 0, "eight_bits": True}
    assert record["size"] == PIXELS and set(record["weights_sha256"]) >= {"unet", "vae"}
    first, second = (pictures(tmp_path / f"a/sample_{n}") for n in (0, 1))
    assert set(first) == {f"{d}_{v}.png" for d in ("normal", "color") for v in VIEW_NAMES}
    assert all(p.shape == (PIXELS, PIXELS, 3) for p in first.values())
    assert not np.array_equal(first["normal_back.png"], second["normal_back.png"])
    given = pictures(tmp_path / "a")
    assert np.array_equal(first["color_front.png"], given["given_front.png"])  # as the public script does
    assert main([*command, "--out", str(tmp_path / "b")]) == 0
    assert "2 samples of six sides" in capsys.readouterr().out
    again = pictures(tmp_path / "b/sample_1")
    assert all(np.array_equal(second[name], again[name]) for name in second)


def test_what_is_done_after_decoding_is_said_by_switches(model, photo, tmp_path):
    how, plain = PSHumanSampling(num_steps=1), AfterDecoding((), None, front_is_given=False)
    sample_pshuman(model, photo, tmp_path / "a", sampling=how)
    sample_pshuman(model, photo, tmp_path / "b", sampling=how, after=plain)
    finished, decoded = (pictures(tmp_path / n / "sample_0") for n in "ab")
    assert np.array_equal(finished["normal_back.png"], decoded["normal_back.png"][:, ::-1])
    assert np.array_equal(finished["color_right.png"], decoded["color_right.png"])
    assert np.array_equal(finished["normal_face.png"], decoded["normal_face.png"])
    third = PIXELS // 3
    laid = finished["normal_front.png"][:third, third : 2 * third]
    face = torch.from_numpy(decoded["normal_face.png"]).permute(2, 0, 1)[None].double()
    small = torch.nn.functional.interpolate(face, (third, third), mode="bilinear")[0].permute(1, 2, 0)
    assert np.abs(laid - small.numpy()).max() <= 1


def test_a_mask_cuts_the_person_out(model, photo, tmp_path):
    cut = np.asarray(Image.open(photo))
    Image.fromarray(cut[..., :3]).save(tmp_path / "plain.png")
    Image.fromarray(cut[..., 3]).save(tmp_path / "mask.png")
    same = cut_out(tmp_path / "plain.png", tmp_path / "mask.png")
    assert np.array_equal(np.asarray(same), cut)
    with pytest.raises(InputError, match="has no transparency"):
        cut_out(tmp_path / "plain.png", None)
    Image.fromarray(cut[:40, :, 3]).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="the photo has another size"):
        cut_out(tmp_path / "plain.png", tmp_path / "mask.png")


def test_what_cannot_be_is_refused_before_anything_is_written(model, photo, tmp_path):
    with pytest.raises(InputError, match="0 samples"):
        sample_pshuman(model, photo, tmp_path / "a", samples=0)
    assert main(["multiview", "pshuman", str(tmp_path), str(photo), "--out", str(tmp_path / "a"), "--quiet"]) == 2
    three = configs()
    three["unet"]["num_views"] = 3
    folder = write_folder(tmp_path / "three", three)
    for name in ("clr_embeds.pt", "normal_embeds.pt"):
        words = torch.load(folder / name, weights_only=True)
        torch.save(words[:3].clone(), folder / name)
    with pytest.raises(InputError, match="shows 3 views"):
        sample_pshuman(folder, photo, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_without_the_extra_it_is_said_how_to_install_it(photo, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert main(["multiview", "pshuman", str(tmp_path), str(photo), "--out", str(tmp_path / "a")]) == 2
    assert "pip install 'hmralign[diffusers]'" in capsys.readouterr().err
