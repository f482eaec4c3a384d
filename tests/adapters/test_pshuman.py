"""A folder of PSHuman's model is looked through without being opened as code; what differs is named."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hmralign.adapters.pshuman import (
    SIZE,
    VIEW_NAMES,
    VIEWS,
    AfterDecoding,
    BeforeEncoding,
    check_folder,
    finished_pictures,
    prepared_pictures,
)
from hmralign.cli.main import main
from hmralign.structures import InputError

CONFIGS = {
    "unet": {"_class_name": "UNetMV2DConditionModel", "num_views": 7, "sample_size": 96, "in_channels": 8,
             "out_channels": 4, "cross_attention_dim": 16},
    "image_encoder": {"projection_dim": 12, "hidden_size": 8, "architectures": ["CLIPVisionModelWithProjection"]},
    "image_normalizer": {"_class_name": "StableUnCLIPImageNormalizer", "embedding_dim": 12},
    "image_noising_scheduler": {"_class_name": "DDPMScheduler"},
    "vae": {"_class_name": "AutoencoderKL", "latent_channels": 4},
    "scheduler": {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"},
}  # fmt: skip


def written(folder, change=lambda configs: None, embeds=(7, 5, 16)):
    configs = json.loads(json.dumps(CONFIGS))
    change(configs)
    index = {"_class_name": "StableUnCLIPImg2ImgPipeline", "image_encoder": ["transformers",
             "CLIPVisionModelWithProjection"]}  # fmt: skip
    for name, config in configs.items():
        (folder / name).mkdir(parents=True)
        is_plan = "scheduler" in name
        (folder / name / ("scheduler_config.json" if is_plan else "config.json")).write_text(json.dumps(config))
        if not is_plan:
            save_file({"a.weight": torch.zeros(3, 4), "a.bias": torch.zeros(3)},
                      folder / name / "diffusion_pytorch_model.safetensors")  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "prompts").mkdir()
    for name in ("clr_embeds.pt", "normal_embeds.pt"):
        torch.save(torch.zeros(embeds), folder / "prompts" / name)
    return folder


def test_a_folder_as_published_has_nothing_that_differs(tmp_path, capsys):
    found = check_folder(written(tmp_path / "m"))
    assert found.differs == () and found.embeds == {"clr_embeds.pt": (7, 5, 16), "normal_embeds.pt": (7, 5, 16)}
    unet = found.components[0]
    assert (unet.name, unet.kind, unet.tensors, unet.parameters) == ("unet", "UNetMV2DConditionModel", 2, 15)
    assert main(["multiview", "check", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert "unet: UNetMV2DConditionModel, num_views 7, sample_size 96" in said and "nothing differs" in said
    assert "never run on the published weights here" in said


WRONG = [
    (lambda c: c["unet"].update(num_views=6), {}, "unet says num_views = 6, expected 7"),
    (lambda c: c["unet"].update(in_channels=4), {}, "unet says in_channels = 4, expected 8"),
    (lambda c: c["unet"].update(_class_name="UNet2DConditionModel"), {}, "unet is of class 'UNet2DConditionModel'"),
    (lambda c: c.pop("vae"), {}, "vae/ is missing, expected a AutoencoderKL"),
    (lambda c: c["image_normalizer"].update(embedding_dim=7), {}, "embedding_dim = 7, expected 12"),
    (lambda c: None, {"embeds": (6, 5, 16)}, "clr_embeds.pt has the shape (6, 5, 16), expected (7, tokens, 16)"),
]


@pytest.mark.parametrize(("change", "more", "said"), WRONG)
def test_what_differs_is_named(change, more, said, tmp_path, capsys):
    written(tmp_path / "m", change, **more)
    assert main(["multiview", "check", str(tmp_path / "m"), "--json"]) == 1
    assert any(said in line for line in json.loads(capsys.readouterr().out)["differs"])


def test_missing_files_are_named_and_damaged_ones_refused(tmp_path):
    folder = written(tmp_path / "m")
    (folder / "prompts/clr_embeds.pt").unlink()
    weights = folder / "vae/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    (folder / "image_encoder/diffusion_pytorch_model.safetensors").unlink()
    found = check_folder(folder)
    assert "clr_embeds.pt is missing: the fixed text embeddings of the 7 images" in found.differs
    assert "image_encoder/ has no weights" in found.differs and len(found.differs) == 2
    assert next(c for c in found.components if c.name == "vae").tensors is None  # a pickle is not opened
    (folder / "prompts/normal_embeds.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"normal_embeds\.pt: no tensor"):
        check_folder(folder)
    torch.save({"a": 1}, folder / "prompts/normal_embeds.pt")
    with pytest.raises(InputError, match="holds a dict"):
        check_folder(folder)
    with pytest.raises(InputError, match=r"holds no model_index\.json"):
        check_folder(tmp_path)


def test_pictures_are_finished_as_the_switches_say():
    draw = torch.Generator().manual_seed(0)
    normals, colors, given = (torch.rand(*shape, generator=draw) for shape in ((7, 3, 8, 8), (7, 3, 8, 8), (3, 8, 8)))
    how = AfterDecoding(face_side=4, face_corner=(0, 2))
    n, c = finished_pictures(normals, colors, given, how)
    assert n.shape == c.shape == (6, 3, 8, 8)
    assert torch.equal(n[3], normals[3].flip(-1)) and torch.equal(c[4], colors[4].flip(-1))
    assert torch.equal(c[0], given) and torch.equal(c[1], colors[1]) and torch.equal(n[5], normals[5])
    face = torch.nn.functional.avg_pool2d(normals[6], 2)  # half the size, bilinear, is the mean of two by two
    assert torch.allclose(n[0, :, :4, 2:6], face, atol=1e-6) and torch.equal(n[0, :, 4:], normals[0, :, 4:])
    plain, own = finished_pictures(normals, colors, given, AfterDecoding((), None, front_is_given=False))
    assert torch.equal(plain, normals) and torch.equal(own, colors)
    for wrong, said in (
        (AfterDecoding((7,)), r"pictures \[7\]"), (AfterDecoding(face=9), r"pictures \[9\]"),
        (AfterDecoding(), "256 pixels .* is not inside of a front of 8"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            finished_pictures(normals, colors, given, wrong)


def person(width=20, height=40, at=(3, 5), of=(60, 50), color=(200, 100, 50)):
    """A block of one colour, cut out."""
    pixels = np.zeros((of[1], of[0], 4), np.uint8)
    pixels[at[1] : at[1] + height, at[0] : at[0] + width] = (*color, 255)
    return Image.fromarray(pixels)


def test_the_person_is_brought_to_the_middle_on_white_with_the_face_in_the_upper_third():
    whole = BeforeEncoding(person_share=1.0, drops_last_pixels=False)
    front, face = prepared_pictures(person(), 48, whole)
    color = torch.tensor([200, 100, 50]) / 255
    assert torch.equal(front[:, 24, 24], color) and torch.equal(front[:, 0, 24], color)
    assert torch.equal(front[:, :, :12], torch.ones(3, 48, 12)) and torch.equal(front[:, :, 36:], torch.ones(3, 48, 12))
    assert torch.allclose(face, color[:, None, None].expand(3, 48, 48), atol=1e-6)  # columns 16 to 32 of rows 0 to 16
    small, _ = prepared_pictures(person(), 48, BeforeEncoding(person_share=0.5, background=0.25))
    there = (small[0] - 0.25).abs() > 0.1
    rows, columns = there.any(1).nonzero(), there.any(0).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 24 and abs(int(columns.max() - columns.min()) + 1 - 12) <= 1
    assert small[:, 0, 0].tolist() == [0.25] * 3
    assert torch.equal(small.flip(-1)[:, 0], small[:, 0])
    moved, _ = prepared_pictures(person(at=(30, 2)), 48, whole)
    assert torch.equal(moved, front)


def test_the_published_box_ends_before_the_last_pixels():
    pixels = np.asarray(person(20, 21)).copy()
    pixels[25, 3:23] = (0, 0, 255, 255)  # the last row of the person is blue
    cut, uncut = (
        prepared_pictures(Image.fromarray(pixels), 24, BeforeEncoding(drops_last_pixels=drops))[0]
        for drops in (True, False)
    )
    assert cut[2, 20:].min() < 0.3 and (uncut[0] < 0.3).any() and not (cut[0] < 0.3).any()
    assert len(VIEW_NAMES) == VIEWS and VIEW_NAMES[3:5] == ("back", "left")
    assert AfterDecoding.of_size(SIZE) == AfterDecoding() and AfterDecoding.of_size(24).face_corner == (0, 8)
    assert BeforeEncoding().person_share * SIZE == 740


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (person().convert("RGB"), "mode RGB, expected RGBA"), (person(0, 0), "transparent everywhere or nowhere"),
        (person(60, 50, (0, 0)), "everywhere or nowhere"), (person(1, 5), "less than two pixels"),
    ],
)  # fmt: skip
def test_a_photo_that_does_not_say_where_the_person_is_is_refused(photo, said):
    with pytest.raises(InputError, match=said):
        prepared_pictures(photo, 48)
