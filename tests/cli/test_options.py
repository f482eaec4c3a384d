"""`--config` files are read strictly, and arguments replace their values."""

import dataclasses
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.cli.commands import COMMANDS
from hmralign.cli.main import main
from hmralign.cli.options import MAY_NAME_CODE, parse_options, read_config
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
        ("keep: some", "option 'keep'"),
        ("intrinsics: [1, 2, 3]", "option 'intrinsics'"),
        ("inputs: photo.jpg", "option 'inputs'"),
        ("- seed", "list"),
        ("seed: [", "not a YAML file of options"),
        ("seed: !!python/object/apply:os.system ['true']", "not a YAML file of options"),
        ("{1: 2}", "unknown option '1'"),
        ("{[a]: 2}", "not a YAML file of options"),
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


def options_of_several_values():
    """(command, field) of all options, not positional, that hold several values."""
    for command, (options, _, _) in COMMANDS.items():
        for name, hint in get_type_hints(options).items():
            if get_args(hint)[1:] == (...,) and not is_positional(options, name):
                yield command, name


def is_positional(options: type, name: str) -> bool:
    return tyro.conf.Positional in marks_of(options, name)


def marks_of(options: type, name: str) -> tuple:
    return getattr(get_type_hints(options, include_extras=True)[name], "__metadata__", ())


def required(options: type, but: str) -> list[str]:
    """Arguments without which a command does not begin."""
    words: list[str] = []
    for field in dataclasses.fields(options):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and field.name != but:
            words = (
                ["word", *words] if is_positional(options, field.name) else [*words, flag(options, field.name), "word"]
            )
    return words


def flag(options: type, name: str) -> str:
    named = [mark.name for mark in marks_of(options, name) if getattr(mark, "name", None)]
    return f"--{named[0] if named else name}".replace("_", "-")


SEVERAL = sorted(options_of_several_values())


def test_the_property_below_looks_at_the_options_that_there_are():
    assert {"groups", "critic audit", "bench", "evaluate", "evaluate alignment"} <= {command for command, _ in SEVERAL}


VALUES = st.text("abz-_.=/0", min_size=1, max_size=6).filter(lambda v: not v.startswith("-"))


@settings(max_examples=50, deadline=None)
@given(
    option=st.sampled_from(SEVERAL),
    parts=st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=4),
    equals=st.booleans(),
    underscores=st.booleans(),
    between=st.booleans(),
)
def test_no_command_loses_a_value_of_an_option_that_is_given_several_times(option, parts, equals, underscores, between):
    command, name = option
    options = COMMANDS[command].options
    spelt = flag(options, name)
    spelt = "--" + spelt[2:].replace("-", "_") if underscores else spelt
    words = required(options, name)
    for number, part in enumerate(parts):
        words += [f"{spelt}={value}" for value in part] if equals else [spelt, *part]
        words += ["--quiet"] if between and number == 0 else []
    found = getattr(parse_options(options, words, prog="x"), name)
    assert list(found) == [type(one)(value) for one, value in zip(found, chain(*parts), strict=True)]


def options_of_one_value():
    """(command, field, two values that it may have) of all commands."""
    values = {bool: ((), ()), int: (("1",), ("2",)), float: (("1.5",), ("2.5",)), str: (("a",), ("b",))}
    for command, (options, _, _) in COMMANDS.items():
        hints = get_type_hints(options)
        for name in (field.name for field in dataclasses.fields(options) if not is_positional(options, field.name)):
            hint = hints[name]
            kind = next((k for k in (hint, *get_args(hint)) if k in values), None)
            if get_origin(hint) is not tuple and kind is not None:
                yield command, name, values[kind]


@settings(deadline=None)
@given(st.sampled_from(sorted(options_of_one_value())), st.booleans())
def test_no_command_keeps_the_last_of_two_values_in_silence(option, equals):
    command, name, (first, second) = option
    options = COMMANDS[command].options
    spelt = flag(options, name)
    both = [f"{spelt}={first[0]}", f"{spelt}={second[0]}"] if equals and first else [spelt, *first, spelt, *second]
    with pytest.raises(UsageError, match=f"^{spelt} is given 2 times; expected once"):
        parse_options(options, [*required(options, name), *both], prog="x")


@pytest.mark.parametrize("words", ["--refine --no-refine", "--no-refine --no-refine", "--no_refine --refine"])
def test_yes_and_no_are_one_option(words, capsys):
    assert main(["recover", "a.jpg", *words.split()]) == 2
    assert "--refine is given 2 times" in capsys.readouterr().err


OPTION_CLASSES = {name: command.options for name, command in COMMANDS.items()}
CODE_OPTIONS = [
    (command, field)
    for command, options in OPTION_CLASSES.items()
    if getattr(options, "CONFIG_IS_OF_OPTIONS", True) and any(f.name == "config" for f in dataclasses.fields(options))
    for field in sorted(MAY_NAME_CODE)
    if field in {f.name for f in dataclasses.fields(options)}
]


@pytest.mark.parametrize(("command", "field"), CODE_OPTIONS)
@pytest.mark.parametrize("name", ["trap.py:make", "trap:make"])
def test_a_file_of_options_runs_no_code(command, field, name, tmp_path, monkeypatch, capsys):
    """What the file alone names is refused before anything is imported, whatever the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trap.py").write_text("open('ran', 'w').close()\ndef make(*given): return None\n")
    options = OPTION_CLASSES[command]
    several = get_origin(get_type_hints(options)[field]) is tuple
    (tmp_path / "options.yaml").write_text(f"{field}: {[name] if several else name}\n")
    assert main([*command.split(), "--config", "options.yaml"]) == 2
    assert f"option '{field}' names code, '{name}'" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_what_an_argument_says_too_is_run(tmp_path):
    found = parsed(tmp_path, "detector: mine.py:make\n", "--detector", "mine.py:make")
    assert found.detector == "mine.py:make"
    assert parsed(tmp_path, "detector: mine.py:make\n", "--detector=mine.py:make").detector == "mine.py:make"
