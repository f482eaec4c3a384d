"""`hmralign train vqvae` and `train text`: from configurations to weights that load; wrong input in one sentence."""

import pytest
import yaml

from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main
from hmralign.models.language.checkpoint import load_pose_space, load_text_space
from hmralign.models.language.refiner_checkpoint import load_refiner
from hmralign.storage.presets import preset_names, preset_path
from hmralign.training.configuration import read_config
from hmralign.training.pose_vqvae import PoseVqvaeTrainingConfig
from hmralign.training.refiner import RefinerTrainingConfig
from hmralign.training.text_space import TextSpaceTrainingConfig

SKELETON = load_free_body("3k5").skeleton_hash
POSES = {
    "model": {"width": 16, "depth": 1, "tokens": 4, "code_dim": 4, "codes": 8},
    "num_poses": 40,
    "batch_size": 8,
    "steps": 2,
}
TEXTS = {
    "model": {"width": 16, "depth": 1, "heads": 2, "shared": 8}, "words": {"width": 16, "depth": 1, "heads": 2},
    "num_poses": 10, "captions": 1, "batch_size": 4, "steps": 2,
}  # fmt: skip


@pytest.fixture
def train(tmp_path):
    (tmp_path / "vqvae.yaml").write_text(yaml.safe_dump(POSES))
    (tmp_path / "text.yaml").write_text(yaml.safe_dump(TEXTS))

    def run(what, *more):
        return main(["train", what, "--config", str(tmp_path / f"{what}.yaml"), "--out", str(tmp_path / what), *more])

    return run


def test_a_pose_space_and_then_a_text_space_in_it(train, tmp_path, capsys):
    assert train("vqvae") == 0 and "pose.safetensors" in capsys.readouterr().out
    poses = tmp_path / "vqvae/pose.safetensors"
    assert load_pose_space(poses, SKELETON).config.tokens == 4
    assert train("text", "--pose-space", str(poses)) == 0 and "pose-text.safetensors" in capsys.readouterr().out
    assert load_text_space(tmp_path / "text/pose-text.safetensors", SKELETON).text_features(["sitting"]).shape == (1, 8)
    assert read_config(TextSpaceTrainingConfig, tmp_path / "text/config.yaml").pose_space == str(poses)


@pytest.mark.parametrize(
    ("what", "more", "said"),
    [
        ("vqvae", ["--pose-space", "x"], "--pose-space is for `train text`"),
        ("vqvae", ["--max-hours", "1"], "length is in its configuration"),
        ("text", ["--max-hours", "1"], "length is in its configuration"),
        ("vqvae", ["--pose-file", "none.npz"], "none.npz"),
        ("text", ["--pose-space", "none.safetensors"], "none.safetensors"),
    ],
)
def test_wrong_input_is_one_sentence(train, capsys, what, more, said):
    assert train(what, *more) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "config"), [("vqvae", PoseVqvaeTrainingConfig), ("text", TextSpaceTrainingConfig)])
def test_presets_are_read(kind, config):
    names = preset_names(kind)
    assert names
    for name in names:
        assert read_config(config, preset_path(kind, name)).pose_file is not None


def test_a_refiner_is_trained_and_loads(tmp_path, capsys):
    config = {
        "model": {"width": 32, "hidden": 16, "depth": 1}, "batch_size": 4, "steps": 2,
        "pool": {"persons": 8, "answers": [{"checkpoint": "lite-lab", "hypotheses": 1, "share": 1.0}]},
    }  # fmt: skip
    (tmp_path / "refiner.yaml").write_text(yaml.safe_dump(config))
    wanted = ["train", "refiner", "--config", str(tmp_path / "refiner.yaml"), "--out", str(tmp_path / "out")]
    assert main(wanted) == 0 and "refiner.safetensors" in capsys.readouterr().out
    assert load_refiner(tmp_path / "out/refiner.safetensors", SKELETON).config.width == 32
    assert main([*wanted, "--max-hours", "1"]) == 2 and "length is in its configuration" in capsys.readouterr().err


@pytest.mark.parametrize("name", preset_names("refiner"))
def test_every_preset_of_refiners_is_a_configuration(name):
    assert read_config(RefinerTrainingConfig, preset_path("refiner", name)).pool.persons == 10_000
