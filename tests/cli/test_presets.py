"""`--preset NAME`: the same as `--config` with the preset's file; names in the help and in the error."""

import json
import subprocess
import sys

import pytest

from hmralign.cli.main import main
from hmralign.storage.presets import PresetKind, preset_names, preset_path
from hmralign.systems.align import checkpoint, configuration

COMMANDS: list[tuple[list[str], tuple[PresetKind, ...]]] = [
    (["align", "--groups", "g", "--out", "o"], ("align",)),
    (["train", "base", "--out", "o"], ("base",)),
    (["train", "scorer", "--out", "o"], ("scorer",)),
    (["synth", "--out", "o"], ("base",)),
    (["critic", "ablate", "--out", "o"], ("ablate",)),
    (["multiview", "train", "--out", "o"], ("multiview",)),
    (["multiview", "align", "--base", "b", "--out", "o"], ("multiview-align",)),
]


@pytest.mark.parametrize(("command", "kinds"), COMMANDS, ids=lambda value: " ".join(value[:2]))
def test_names_stand_in_the_error(command, kinds, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ", ".join(preset_names(kinds[0]))
    assert main([*command, "--preset", "nothing"]) == 2
    said = capsys.readouterr().err
    assert f"--preset is 'nothing'; expected one of {names}" in said and said.count("\n") == 1
    assert main([*command, "--preset", preset_names(kinds[0])[0], "--config", "mine.yaml"]) == 2
    assert "--preset and --config are both given" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["train", "base"], ["train", "scorer"], ["critic", "ablate"]])
def test_one_of_the_two_is_needed(command, capsys):
    assert main([*command, "--out", "o"]) == 2
    assert "--config and --preset are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("align", ("align",)),
        ("train", ("base", "scorer")),
        ("synth", ("base",)),
        ("critic ablate", ("ablate",)),
        ("multiview train", ("multiview",)),
        ("multiview align", ("multiview-align",)),
    ],
)
def test_names_stand_in_the_help(command, kinds, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    for kind in kinds:
        assert all(name in said for name in preset_names(kind)), said


def test_alignment_is_configured_as_by_the_file(tmp_path, monkeypatch):
    used = []

    def remember(groups, start, config, out, **_):
        used.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "align_checkpoint", remember)
    command = ["align", "--groups", "g", "--out", str(tmp_path / "o"), "--quiet"]
    for name in ("gpa-code", "dpo-scorer"):
        file = tmp_path / "mine.yaml"
        file.write_bytes(preset_path("align", name).read_bytes())
        for words in (
            ["--preset", name],
            ["--config", str(file)],
            ["group" if name == "gpa-code" else "dpo", "--preset", name],
        ):
            assert main([*command[:1], *words, *command[1:]]) == 130
        assert used[-3] == used[-2] == used[-1] == configuration.read_align_config(file)
    assert used[0] != used[-1]
    assert main(["align", "dpo", "--preset", "gpa-paper", *command[1:]]) == 2, "the preset is of another method"


def test_an_earlier_name_is_refused_with_the_new_one(capsys):
    assert main(["align", "--preset", "gpa", "--groups", "g", "--out", "o"]) == 2
    assert "--preset is 'gpa'; an earlier name of gpa-paper" in capsys.readouterr().err


def test_training_is_configured_as_by_the_file(tmp_path, monkeypatch):
    from hmralign.systems.scorer_dpo import train as scorer_training

    used = []
    monkeypatch.setattr(
        scorer_training, "train_scorer_file", lambda config, out, device: used.append(config) or tmp_path / "m"
    )
    for name in preset_names("scorer"):
        assert main(["train", "scorer", "--preset", name, "--out", str(tmp_path / "o"), "--quiet"]) == 0
        assert used[-1] == scorer_training.read_scorer_config(preset_path("scorer", name))


def test_names_are_known_before_anything_heavy_is_imported():
    code = (
        "import json, sys; from hmralign.cli.main import main; main(['align', '--help']); "
        "print(json.dumps('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) is False and "gpa-code, gpa-paper" in done.stdout
