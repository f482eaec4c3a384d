"""`--config` files are read strictly, and arguments replace their values."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import tyro

from hmralign.cli.options import parse_options, read_config
from hmralign.cli.recover import RecoverOptions
from hmralign.cli.run_file import write_run_file
from hmralign.cli.usage import UsageError


def parsed(tmp_path: Path, text: str, *arguments: str) -> RecoverOptions:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return parse_options(RecoverOptions, [*arguments, "--config", str(path)], prog="hmralign recover")


def test_values_of_every_kind(tmp_path):
    options = parsed(
        tmp_path,
        "inputs: [a.jpg, b]\nout: results\nkeep: all\nnum_hypotheses: 5\nfocal_px: 700\n"
        "intrinsics: [1.0, 2, 3.5, 4]\nrefine: false\ndetector: none\n",
    )
    assert options.inputs == ("a.jpg", "b") and options.out == Path("results") and options.keep == "all"
    assert options.num_hypotheses == 5 and options.focal_px == 700.0 and options.intrinsics == (1.0, 2.0, 3.5, 4.0)
    assert options.refine is False and options.detector == "none" and options.seed == 0


def test_arguments_win(tmp_path):
    options = parsed(tmp_path, "inputs: [a.jpg]\nseed: 3\nrefine: false\n", "b.jpg", "--seed", "4", "--refine")
    assert options.inputs == ("b.jpg",) and options.seed == 4 and options.refine


def test_an_empty_file_changes_nothing(tmp_path):
    assert parsed(tmp_path, "# nothing\n").num_hypotheses == RecoverOptions().num_hypotheses


def test_the_equals_form_and_a_run_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("format_version: 1\ncommand: recover\noptions: {seed: 9}\nmade_by: {versions: {}}\n")
    assert parse_options(RecoverOptions, [f"--config={path}"], prog="x").seed == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sead: 3", "unknown option 'sead'"),
        ("config: other.yaml", "unknown option 'config'"),
        ("seed: 3\nseed: 4", "given twice"),
        ("seed: three", "option 'seed'"),
        ("seed: true", "option 'seed'"),
        ("seed: 1.5", "option 'seed'"),
        ("refine: 1", "option 'refine'"),
        ("detector: yolo", "option 'detector'"),
        ("intrinsics: [1, 2, 3]", "option 'intrinsics'"),
        ("inputs: photo.jpg", "option 'inputs'"),
        ("- seed", "list"),
        ("seed: [", "no YAML"),
        ("seed: !!python/object/apply:os.system ['true']", "no YAML"),
        ("{1: 2}", "unknown option '1'"),
        ("{[a]: 2}", "no YAML"),
        ("focal_px: .nan", "focal_px"),
        ("out: 2024-01-01", "out"),
    ],
)
def test_wrong_files(tmp_path, text, said):
    with pytest.raises(UsageError, match=said.replace("[", r"\[")) as error:
        parsed(tmp_path, text)
    assert "config.yaml" in str(error.value)


def test_a_missing_file_a_folder_and_binary(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(UsageError, match=path.name):
            read_config(path, RecoverOptions)


@dataclass(frozen=True)
class Asking:
    """Whom to ask."""

    base_url: str | None = None
    """Address."""
    allow_remote: bool = False
    """Leave to send pictures."""
    config: Path | None = None
    """File."""


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("", True), ("--allow-remote", True), ("--base-url http://b", False), ("--base_url=http://b", False),
        ("--base-url http://b --allow-remote", True),
    ],
)  # fmt: skip
def test_leave_to_send_pictures_is_not_for_another_server(tmp_path, arguments, allowed):
    (tmp_path / "c.yaml").write_text("base_url: http://a\nallow_remote: true\n")
    words = [*arguments.split(), "--config", str(tmp_path / "c.yaml")]
    assert parse_options(Asking, words, prog="x").allow_remote is allowed


def test_leave_to_send_pictures_is_not_remembered(tmp_path):
    path = write_run_file(tmp_path, "groups", Asking("http://a", allow_remote=True), {})
    assert "allow_remote" not in path.read_text() and read_config(path, Asking) == {"base_url": "http://a"}
    kept = "format_version: 1\ncommand: groups\noptions: {base_url: http://a, allow_remote: true}\nmade_by: {}\n"
    path.write_text(kept)  # as earlier versions wrote it
    assert read_config(path, Asking) == {"base_url": "http://a"}


@dataclass(frozen=True)
class Several:
    """Options of one and of several values."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """Words."""
    critic_names: tuple[str, ...] = ()
    """Names."""
    seed: int = 0
    """Seed."""


@pytest.mark.parametrize(
    ("arguments", "words", "names", "seed"),
    [
        ("a --critic-names x y --seed 1", "a", "x y", 1),
        ("a --critic-names x --critic-names y", "a", "x y", 0),
        ("a --critic-names x --seed -1 --critic_names y z", "a", "x y z", -1),
        ("a --critic-names=x --critic-names=y", "a", "x y", 0),
        ("--critic-names=x a --critic-names=y", "a", "x y", 0),
        ("--critic-names=x a", "a", "x", 0),
        ("a --critic-names=x b --seed 2 --critic-names=y", "a b", "x y", 2),
        ("a --seed 2 --critic-names=x b c --critic-names y z", "a b c", "x y z", 2),
        ("a --seed=2 --critic-names=x=1 b", "a b", "x=1", 2),
        ("--critic-names x --critic-names", "", "x", 0),
    ],
)
def test_an_option_of_several_values_may_be_given_several_times(arguments, words, names, seed):
    found = parse_options(Several, arguments.split(), prog="x")
    assert (" ".join(found.words), " ".join(found.critic_names), found.seed) == (words, names, seed)
