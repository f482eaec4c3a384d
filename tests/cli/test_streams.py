"""Output that nobody reads or that has no room, closed streams, other encodings: the right exit code, no traceback."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hmralign.cli.commands import COMMANDS, overview
from hmralign.cli.exit_codes import DONE, UNREAD, WRONG_INPUT
from hmralign.cli.main import main

HELPS = [["--help"], ["--version"], ["critic"], *([*name.split(), "--help"] for name in COMMANDS)]
SHELL = pytest.mark.skipif(os.name == "nt", reason="needs a shell of Unix")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")


@contextlib.contextmanager
def unread_pipe():
    read, write = os.pipe()
    os.close(read)
    with contextlib.suppress(BrokenPipeError), os.fdopen(write, "w") as stream:
        yield stream


def run(shell):
    """A line of bash in which `hmralign` is the command; gives its exit code and what is on standard error."""
    function = f'hmralign() {{ "{sys.executable}" -m hmralign.cli "$@"; }}; {shell}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", function], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_that_nobody_reads_ends_without_a_word(arguments, monkeypatch, capfd):
    with unread_pipe() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(arguments) == UNREAD
        monkeypatch.undo()
    assert capfd.readouterr() == ("", "")


@FULL
@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_that_has_no_room_ends_with_one_sentence(arguments, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == WRONG_INPUT
        monkeypatch.undo()
    assert capsys.readouterr().err == "hmralign: the standard output cannot be written: No space left on device\n"


@SHELL
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hmralign --help >&-", (DONE, "")),
        ("hmralign recover --help | true", (UNREAD, "")),
        ("hmralign recver 2>&-", (WRONG_INPUT, "")),
        pytest.param("hmralign --help >/dev/full", (WRONG_INPUT, "hmralign: the standard output"), marks=FULL),
        pytest.param("hmralign recver 2>/dev/full", (WRONG_INPUT, ""), marks=FULL),
    ],
)
def test_a_process_of_its_own(line, expected):
    """What Python still holds when it ends must not fail a second time."""
    code, said = run(line)
    assert code == expected[0] and said.startswith(expected[1]) and said.count("\n") == bool(expected[1])


def test_notes_that_cannot_be_written_do_not_end_a_run(monkeypatch, capsys):
    with unread_pipe() as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        assert main(["recver"]) == WRONG_INPUT
        assert main(["--help"]) == DONE
    assert capsys.readouterr().out == overview()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_what_an_encoding_does_not_have_is_written_as_escapes(encoding, monkeypatch):
    files = io.BytesIO(), io.BytesIO()
    for name, file in zip(("stdout", "stderr"), files, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(file, encoding))
    assert main(["recover", "--help"]) == DONE
    assert main(["recover", "caf\xe9 \u2713 \udcff.jpg", "--detector", "none"]) == WRONG_INPUT
    sys.stderr.flush()
    assert "usage: hmralign recover" in files[0].getvalue().decode(encoding)
    assert files[1].getvalue().decode(encoding).startswith("hmralign: ")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_the_streams_of_a_caller_are_left_as_they_were(name, capsys):
    before = getattr(sys, name)
    main(["--help"])
    assert getattr(sys, name) is before
