"""Presets are found by name, all of them are readable, and another name is answered with those there are."""

from pathlib import Path
from typing import get_args

import pytest

import hmralign
from hmralign.storage.presets import RENAMED, PresetKind, preset_names, preset_path
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError

KINDS = get_args(PresetKind)


@pytest.mark.parametrize("kind", KINDS)
def test_each_name_is_a_file_that_says_what_it_is_for(kind):
    assert preset_names(kind)
    for name in preset_names(kind):
        path = preset_path(kind, name)
        assert path.read_text().startswith("# ") and isinstance(read_yaml(path, "a preset"), dict)
        assert "_" not in name, "names are written as those of checkpoints and methods"


def test_no_preset_lies_where_no_kind_looks():
    folder = Path(hmralign.__file__).parent / "storage/assets/presets"
    named = {preset_path(kind, name) for kind in KINDS for name in preset_names(kind)}
    assert {p for p in folder.rglob("*") if p.is_file()} == named


@pytest.mark.parametrize("name", ["nothing", "", "../base/lite", "gpa-paper.yaml"])
def test_another_name_is_answered_with_those_there_are(name):
    with pytest.raises(InputError, match=r"no preset; expected one of .*gpa-code, gpa-paper"):
        preset_path("align", name)


@pytest.mark.parametrize("name", ["gpa", "gpa-as-printed"])
def test_an_earlier_name_is_answered_with_the_new_one(name):
    with pytest.raises(InputError, match=f"'{name}' is no preset; an earlier name of gpa-paper"):
        preset_path("align", name)
    assert all(new.split(",")[0] in preset_names(kind) for (kind, _), new in RENAMED.items())
