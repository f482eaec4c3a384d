"""Methods by name: those of the package and code of the user's own."""

import pytest

from hmralign.alignment.catalogue import make_method
from hmralign.alignment.names import METHODS
from hmralign.structures import InputError
from hmralign.systems.align.configuration import AlignConfig, align_config, recommended
from hmralign.training.configuration import from_mapping


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_name_its_defaults_and_a_configuration_that_reads_back(name):
    method, config = make_method(name), recommended(name)
    assert method.name == name and config.settings == method.settings()
    assert config.training.learning_rate == method.learning_rate
    assert align_config(config.mapping, name, "here") == config
    assert from_mapping(method.settings, {}, "here") == method.settings()


def test_what_is_no_method_is_said(tmp_path):
    (tmp_path / "m.py").write_text("def make():\n    return 3\n")
    with pytest.raises(InputError, match="no method 'ppo'; expected one of sft"):
        make_method("ppo")
    with pytest.raises(InputError, match="made a int, which is no method"):
        make_method(f"{tmp_path}/m.py:make")


def test_settings_of_another_method_are_refused():
    with pytest.raises(InputError, match="expected a DpoConfig"):
        AlignConfig("dpo", settings=make_method("kto").settings())
    with pytest.raises(InputError, match="unknown key 'settings'"):
        align_config({"settings": {}}, "dpo", "here")


def test_sections_of_other_methods_are_checked_and_do_not_count():
    assert align_config({"kto": {"top_k": 2}}, "dpo", "here") == recommended("dpo")
    with pytest.raises(InputError, match="here: kto: unknown key 'beat'"):
        align_config({"kto": {"beat": 2}}, "dpo", "here")


def test_a_method_whose_section_means_something_else_is_refused(tmp_path):
    text = "from hmralign.alignment.methods.direct_reward import DirectReward\n"
    (tmp_path / "m.py").write_text(text + "def make():\n    return DirectReward(name='training')\n")
    with pytest.raises(InputError, match="a key of every alignment configuration"):
        align_config({}, f"{tmp_path}/m.py:make", "here")
