"""The overview, versions, unknown commands, and how soon the command answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hmralign import __version__
from hmralign.cli import exit_codes
from hmralign.cli.commands import COMMANDS, overview
from hmralign.cli.main import main
from hmralign.cli.photo_folders import folder_names, names_several


def test_the_overview_names_every_command(capsys):
    assert main([]) == 0 and main(["--help"]) == 0
    for name, command in COMMANDS.items():
        assert name in overview() and command.line in overview()
    assert capsys.readouterr().out == 2 * overview()


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hmralign {__version__}\n"


@pytest.mark.parametrize("arguments", [["recver"], ["recover", "--nonsense"], ["recover", "--seed", "x"], ["--out"]])
def test_wrong_arguments(arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and err


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_its_options(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert f"hmralign {command}" in out and "--help" in out


@pytest.mark.skipif(os.name == "nt", reason="CPU time of children is not counted there")
def test_help_answers_within_half_a_cpu_second():
    import resource

    def children() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    used = []
    for arguments in (["--help"], ["recover", "--help"]):
        before = children()
        subprocess.run([sys.executable, "-m", "hmralign.cli", *arguments], check=True, capture_output=True)
        subprocess.run([sys.executable, "-m", "hmralign.cli", *arguments], check=True, capture_output=True)
        used.append((children() - before) / 2)
    assert max(used) < 0.5, used


def test_folders_of_photos_are_distinct_and_short():
    photos = [Path("a/1.jpg"), Path("b/2.jpg")]
    assert folder_names(photos) == ["1", "2"]
    for photos in (
        [Path("a/1.jpg"), Path("b/1.jpg"), Path("b/1.png")],
        [Path("a/x.jpg"), Path("a/X.jpg"), Path("a/x.JPG")],
        [Path("a/b/1.jpg"), Path("c/b/1.jpg"), Path("c/1_jpg.png")],
        [Path("...jpg"), Path("a/...jpg"), Path(" .jpg")],
        [Path("1.jpg"), Path("q/1.png"), Path("q/1_jpg.png")],
    ):
        names = folder_names(photos)
        assert len({n.casefold() for n in names}) == len(photos), names
        assert all("/" not in n and n not in ("", ".", "..") for n in names)


def test_one_file_is_one_photo_and_everything_else_several(tmp_path):
    (tmp_path / "odd[1].jpg").touch()
    assert not names_several(["photo.jpg"]) and not names_several([str(tmp_path / "odd[1].jpg")])
    assert names_several(["a.jpg", "b.jpg"]) and names_several([str(tmp_path)]) and names_several(["*.jpg"])


def test_the_table_of_exit_codes_is_that_of_the_program():
    table = (Path(__file__).parents[2] / "docs" / "exit_codes.md").read_text(encoding="utf-8")
    told = [
        int(cells[1]) for line in table.splitlines() if (cells := line.split("|"))[1:] and cells[1].strip().isdigit()
    ]
    assert told == sorted(code for name, code in vars(exit_codes).items() if name.isupper())
