"""Training configurations: YAML in, checked dataclasses out; every wrong key or value is named."""

from dataclasses import replace

import pytest

from hmralign.data.synthetic.generator import SyntheticMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.models.lite import LiteConfig
from hmralign.storage.presets import preset_names, preset_path
from hmralign.structures import InputError
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.configuration import read_training_config, write_training_config


@pytest.fixture
def read(tmp_path):
    def reader(text):
        path = tmp_path / "training.yaml"
        path.write_text(text)
        return read_training_config(path)

    return reader


def test_an_empty_file_is_the_default(read):
    assert read("") == read("# nothing\n") == BaseTrainingConfig()


def test_nested_values_replace_defaults(read):
    got = read(
        "steps: 7\nmodel: {width: 64}\ndata:\n  views:\n    focal: [0.5, 2.0]\npose_file: null\nlearning_rate: 1\n"
    )
    views = ViewMix(focal=(0.5, 2.0))
    assert got == BaseTrainingConfig(
        steps=7, model=LiteConfig(width=64), data=SyntheticMix(views=views), learning_rate=1.0
    )


def test_written_configurations_are_read_back(tmp_path):
    config = BaseTrainingConfig(
        steps=5, decay="none", measured_noise=None, max_hours=0.5, data=SyntheticMix(views=ViewMix(height=(0.3, 0.9)))
    )
    write_training_config(tmp_path / "c.yaml", config)
    assert read_training_config(tmp_path / "c.yaml") == config


@pytest.mark.parametrize("name", preset_names("base"))
def test_presets_are_valid(name):
    read_training_config(preset_path("base", name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz: 3", "unknown key 'stepz'"),
        ("model: {heads: 3}", "model: unknown key 'heads'"),
        ("data: {views: {zoom: 1}}", "data: views: unknown key 'zoom'"),
        ("steps: many", "steps: 'many'"),
        ("steps: '12'", "steps: '12'"),
        ("steps: 1.5", "steps: 1.5"),
        ("steps: true", "steps: True"),
        ("steps: null", "steps: None"),
        ("learning_rate: true", "learning_rate: True"),
        ("poses: {collars: 1}", "poses: collars: 1"),
        ("measured_noise: 3", "measured_noise: 3"),
        ("decay: linear", "decay: 'linear'"),
        ("data: {views: {focal: [1.0]}}", "data: views: focal"),
        ("data: {views: {focal: [a, b]}}", "data: views: focal"),
        ("model: 3", "model: expected keys with values"),
        ("[1, 2]", "expected keys with values"),
        ("[]", "expected keys with values"),
        ("0", "expected keys with values"),
        ("steps: [", "not a readable YAML file"),
        ("steps: !!python/object/apply:os.system ['exit 1']", "not a readable YAML file"),
        ("steps: 0", "steps must be positive"),
        ("steps: -3", "steps must be positive"),
        ("batch_size: 0", "batch_size must be positive"),
        ("draws: 0", "draws must be positive"),
        ("save_every: 0", "save_every must be positive"),
        ("max_hours: 0.0", "max_hours must be positive"),
        ("learning_rate: .nan", "learning_rate must be positive"),
        ("learning_rate: .inf", "learning_rate must be positive"),
        ("betas_weight: -1", "betas_weight must not be negative"),
        ("seed: -1", "seed must not be negative"),
        ("shard_share: 1.5", "shard_share must be in 0..1"),
        ("shards: x\nshard_share: 0.999", "none from the generator"),
        ("shards: x\nshard_share: 0.0", "no example from the shards"),
    ],
)
def test_wrong_configurations_are_refused_by_name(read, tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        read(text)
    assert words in str(caught.value) and str(tmp_path / "training.yaml") in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="not a readable"):
        read_training_config(tmp_path / "none.yaml")


def test_the_share_of_shards_matters_only_with_shards():
    replace(BaseTrainingConfig(), shard_share=1.0)
