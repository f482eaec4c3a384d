"""`hmralign train base`: from a configuration to weights that `recover` loads; wrong input in one sentence."""

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main
from hmralign.models.checkpoint import load_checkpoint
from hmralign.training import base_batches
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.configuration import read_training_config, write_training_config
from support.synthetic_persons import TINY

CONFIG = BaseTrainingConfig(model=TINY, batch_size=8, draws=1, steps=3, save_every=2, measured_noise=None)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the command in a folder of its own; options as pairs of flag and value."""
    monkeypatch.setattr(base_batches, "CODEC_EXAMPLES", 100)
    write_training_config(tmp_path / "tiny.yaml", CONFIG)

    def run(*more, config=tmp_path / "tiny.yaml"):
        chosen = () if "--config" in more else ("--config", str(config))
        return main(["train", "base", *chosen, "--out", str(tmp_path / "run"), *more])

    return run


def test_weights_are_written_and_load_for_the_free_body(train, tmp_path, capsys):
    assert train("--threads", str(torch.get_num_threads())) == 0
    assert "model.safetensors" in capsys.readouterr().out
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} == {"config.yaml", "state.pt", "model.safetensors"}
    assert load_checkpoint(run / "model.safetensors", load_free_body("3k5").skeleton_hash).config == TINY
    assert read_training_config(run / "config.yaml") == CONFIG, "the resolved configuration is kept"


def test_options_replace_the_configuration(train, tmp_path):
    assert train("--max-hours", "0.5", "--quiet") == 0
    assert read_training_config(tmp_path / "run" / "config.yaml").max_hours == 0.5


def test_a_second_call_finds_nothing_left_to_do(train, tmp_path):
    assert train("--quiet") == 0
    first = load_checkpoint(tmp_path / "run" / "model.safetensors", load_free_body("3k5").skeleton_hash)
    assert train("--quiet") == 0
    second = load_checkpoint(tmp_path / "run" / "model.safetensors", load_free_body("3k5").skeleton_hash)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--pose-file", "none.npz"], "none.npz"),
        (["--max-hours", "0"], "max_hours must be positive"),
        (["--threads", "0"], "--threads is 0"),
        (["--threads", "-2"], "--threads is -2"),
        (["--config", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_input_ends_in_exit_code_2_and_one_sentence(train, tmp_path, capsys, more, words):
    assert train(*more) == 2
    said = capsys.readouterr().err
    assert words in said and said.startswith("hmralign: ") and said.count("\n") == 1
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_damaged_state_ends_in_exit_code_2(train, tmp_path, capsys):
    assert train("--quiet") == 0
    (tmp_path / "run" / "state.pt").write_bytes(b"cut off")
    assert train("--quiet") == 2
    assert "state.pt" in capsys.readouterr().err


def test_an_output_that_is_a_file_ends_in_exit_code_2(train, tmp_path, capsys):
    (tmp_path / "run").write_text("")
    assert train() == 2
    assert str(tmp_path / "run") in capsys.readouterr().err
