"""A folder written in the published layout is opened whole; whatever is wrong with one is named by its file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmralign.adapters.pshuman import check_folder
from hmralign.adapters.pshuman_folder import load_folder
from hmralign.models.pshuman.view_block import ViewSwitches
from hmralign.structures import InputError
from support.pshuman_tiny import PIXELS, TOKENS, VIEWS, WORDS, write_folder

pytest.importorskip("diffusers", minversion="0.36", reason="the extra [diffusers] is not installed")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def folder(written, tmp_path):
    """A copy that a test may damage."""
    import shutil

    return shutil.copytree(written, tmp_path / "m")


def changed(folder, name, **entries):
    file = folder / name / ("scheduler_config.json" if "scheduler" in name else "config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_every_component_has_the_weights_of_its_file(written):
    parts = load_folder(written)
    for name, network in (("unet", parts.unet), ("vae", parts.vae), ("image_encoder", parts.image_encoder)):
        file = next((written / name).glob("*.safetensors"))
        stored, there = load_file(file), network.state_dict()
        assert stored.keys() == there.keys() and all(torch.equal(stored[n], there[n]) for n in stored)
        assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert (parts.size, parts.pixels_per_latent, parts.scaling) == (PIXELS, 4, 0.18215)
    assert parts.words.shape == (2, VIEWS, TOKENS, WORDS) and parts.words.dtype == torch.float32
    normals = torch.load(written / "normal_embeds.pt", weights_only=True).float()
    assert torch.equal(parts.words[0], normals) and not torch.equal(parts.words[1], normals)
    assert parts.noise.predicted == "v_prediction" and not parts.noise.ends_clean
    assert parts.embed_noise.at(torch.tensor(0)) > 0.999 and parts.clip_input.side == 16
    assert all("is of class" not in line and "missing" not in line for line in check_folder(written).differs)


def test_pickles_are_read_as_data_and_old_names_and_tables_are_understood(folder, written):
    plain = load_folder(written)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old(name):
        if name.startswith(("encoder.mid_block.attentions", "decoder.mid_block.attentions")):
            for new, earlier in names.items():
                name = name.replace(f".{new}.", f".{earlier}.")
        return name

    for name, file, renamed in (
        ("vae", "diffusion_pytorch_model.bin", old), ("image_encoder", "pytorch_model.bin", str),
    ):  # fmt: skip
        weights = next((folder / name).glob("*.safetensors"))
        state = {renamed(key): value for key, value in load_file(weights).items()}
        if name == "image_encoder":
            state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
        assert name != "vae" or any("query" in key for key in state)
        weights.unlink()
        torch.save(state, folder / name / file)
    found = load_folder(folder)
    assert all(torch.equal(a, b) for a, b in zip(plain.vae.parameters(), found.vae.parameters(), strict=True))
    encoders = plain.image_encoder, found.image_encoder
    assert all(torch.equal(a, b) for a, b in zip(*(e.parameters() for e in encoders), strict=True))


def test_half_precision_words_elsewhere_and_switches(folder, written, tmp_path):
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(weights).items()}, weights)
    (tmp_path / "words").mkdir()
    for name in ("clr_embeds.pt", "normal_embeds.pt"):
        (folder / name).rename(tmp_path / "words" / name)
    with pytest.raises(InputError, match=r"normal_embeds\.pt: is missing"):
        load_folder(folder)
    parts = load_folder(folder, embeds=tmp_path / "words", switches=ViewSwitches(face_share=0.9))
    assert parts.unet.conv_in.weight.dtype == torch.float32 and parts.config.switches.face_share == 0.9
    assert (parts.unet.conv_in.weight - load_folder(written).unet.conv_in.weight).abs().max() < 1e-3


def test_what_clip_sees_is_read_where_it_is_written(folder):
    (folder / "feature_extractor").mkdir()
    file = folder / "feature_extractor/preprocessor_config.json"
    said = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}, "resample": 3,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}  # fmt: skip
    file.write_text(json.dumps(said))
    assert load_folder(folder).clip_input.mean == (0.5, 0.5, 0.5)
    assert load_folder(folder).clip_input.std == (0.2, 0.2, 0.2)
    for wrong, what in ((16.5, "pictures are not brought to 16"), (17, "pictures are not brought to 16")):
        file.write_text(json.dumps({**said, "size": wrong}))
        with pytest.raises(InputError, match=what):
            load_folder(folder)
    file.write_text(json.dumps({**said, "image_std": [0.2, 0.2, 0]}))
    with pytest.raises(InputError, match="no three numbers"):
        load_folder(folder)


def test_weights_that_are_not_the_networks_are_refused(folder):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    whole = load_file(file)
    lacking = {name: value for name, value in whole.items() if "norm_mv.weight" not in name}
    for state, said in (
        (lacking, "norm_mv.weight"), ({**whole, "extra.weight": torch.zeros(1)}, "extra.weight"),
        ({**whole, "conv_in.weight": torch.zeros(8, 4, 3, 3)}, "conv_in.weight"),
        ({**whole, "conv_in.bias": torch.full((8,), torch.nan)}, "conv_in.bias.*not finite"),
    ):  # fmt: skip
        save_file(state, file)
        with pytest.raises(InputError, match=f"{file.name}.*{said}"):
            load_folder(folder)
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_folder(folder)
    file.unlink()
    with pytest.raises(InputError, match="unet: has no weights in one file"):
        load_folder(folder)
    torch.save({"conv_in.weight": 3}, folder / "unet/model.bin")
    with pytest.raises(InputError, match="is no tensor"):
        load_folder(folder)


WRONG = [
    ("unet", {"_class_name": "UNet2DConditionModel"}, "expected UNetMV2DConditionModel"),
    ("unet", {"sample_size": 10**6}, "sample_size = 1000000, which cannot be"),
    ("unet", {"projection_class_embeddings_input_dim": 18}, "config|weights do not fit"),
    ("vae", {"_class_name": "AutoencoderTiny"}, "expected AutoencoderKL"),
    ("vae", {"shift_factor": 0.1}, "moved besides"),
    ("vae", {"unheard": 1}, "builds no autoencoder"),
    ("vae", {"latent_channels": 3}, "weights do not fit"),
    ("image_encoder", {"architectures": ["CLIPModel"]}, "expected CLIPVisionModelWithProjection"),
    ("image_encoder", {"num_attention_heads": 3}, "builds no CLIP|weights"),
    ("scheduler", {"clip_sample": True}, "clip_sample = True"),
    ("image_noising_scheduler", {"beta_schedule": "other"}, "beta_schedule = other"),
]


@pytest.mark.parametrize(("name", "entries", "said"), WRONG)
def test_configurations_that_do_not_hold_are_named(name, entries, said, folder):
    changed(folder, name, **entries)
    with pytest.raises(InputError, match=said) as caught:
        load_folder(folder)
    assert name in str(caught.value)


def test_components_of_two_models_are_refused(folder):
    normalizer = folder / "image_normalizer/diffusion_pytorch_model.safetensors"
    kept = load_file(normalizer)
    save_file({"mean": torch.zeros(1, 9), "std": torch.ones(1, 9)}, normalizer)
    with pytest.raises(InputError, match="embedding_dim of the image normalizer: 9, the rest of the model has 8"):
        load_folder(folder)
    for state, said in (
        ({"mean": kept["mean"]}, "expected mean and std"), ({**kept, "std": 0 * kept["std"]}, "no numbers to scale"),
    ):  # fmt: skip
        save_file(state, normalizer)
        with pytest.raises(InputError, match=said):
            load_folder(folder)
    normalizer.unlink()
    with pytest.raises(InputError, match="image_normalizer: has no weights"):
        load_folder(folder)
    save_file(kept, normalizer)
    for words, said in (
        (torch.zeros(6, TOKENS, WORDS), "different shapes"), (torch.zeros(VIEWS, 3), "no table"),
    ):  # fmt: skip
        torch.save(words, folder / "clr_embeds.pt")
        with pytest.raises(InputError, match=said):
            load_folder(folder)
    for name in ("clr_embeds.pt", "normal_embeds.pt"):
        torch.save(torch.zeros(6, TOKENS, WORDS), folder / name)
    with pytest.raises(InputError, match="views of the text embeddings: 6, the rest of the model has 7"):
        load_folder(folder)


def test_a_missing_folder_and_configuration_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        load_folder(tmp_path / "nowhere")
    (folder / "vae/config.json").unlink()
    with pytest.raises(InputError, match=r"vae.config\.json: is missing"):
        load_folder(folder)
    (folder / "vae/config.json").write_text("[]")
    with pytest.raises(InputError, match="is no object"):
        load_folder(folder)
