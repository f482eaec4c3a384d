"""The help page of every command is readable in a narrow and in a wide terminal, and changes nothing that is parsed."""

import dataclasses
import re

import pytest
import tyro

from hmralign.cli.commands import COMMANDS, overview
from hmralign.cli.main import main
from hmralign.cli.options import option_flags, parse_options
from hmralign.cli.recover import RecoverOptions

SCRAPS = {
    "several values as a parser writes them": r"\[\[[A-Z{]|\.\.\.\]\][^,]",
    "a value that is not given": r"\{None[},]|\|None|: None\)",
    "a default that says nothing": r"\(default: *(''|\"\")?\)",
    "marks of a terminal": r"\[/?(bold|dim|red|green|cyan|yellow|link)\b|\x1b",
    "a name of Python": r"NoneType|typing\.|<class|MISSING|PosixPath",
}


@pytest.fixture(params=[60, 80, 132])
def width(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param


def page(command: str, capsys) -> str:
    assert main([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_page_fits_and_holds_no_scraps(command, width, capsys):
    text = page(command, capsys)
    assert max(map(len, text.splitlines())) <= width
    assert [what for what, scrap in SCRAPS.items() if re.search(scrap, text)] == []
    assert "\n\n\n" not in text and not re.search(r"[ \t]$", text, re.MULTILINE)
    for flag in option_flags(COMMANDS[command].options):
        assert re.search(rf"^  {flag}\b", text, re.MULTILINE) or f", {flag}" in text or f"--no-{flag[2:]}" in text


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_sentence_of_the_description_is_there(command, capsys):
    said = " ".join(page(command, capsys).split())
    assert " ".join(COMMANDS[command].options.__doc__.split()) in said


def test_the_overview_fits():
    assert max(map(len, overview().splitlines())) <= 100
    parts = [name for name in COMMANDS if name.startswith("critic ")]
    assert max(map(len, overview(parts).splitlines())) <= 100


def test_the_line_and_the_page_of_train_speak_of_more_than_base_models(capsys):
    line = next(line for line in overview().splitlines() if line.split()[:1] == ["train"])
    assert "scorer" in line and "regressor" in line and "refiner" in line
    assert "`hmralign train --help` says what each kind is" in " ".join(page("train vqvae", capsys).split())


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.jpg", "b.jpg", "--seed", "4"], ["--body", "None", "--keep", "all"], ["--intrinsics", "1", "2", "3", "4"]],
)
def test_what_is_parsed_is_what_the_library_parses(arguments):
    ours = parse_options(RecoverOptions, arguments, prog="x")
    assert dataclasses.asdict(ours) == dataclasses.asdict(tyro.cli(RecoverOptions, args=arguments))
    assert type(ours) is RecoverOptions
