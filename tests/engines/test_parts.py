"""A unit is there whole or not at all; the first stays; other bytes are told."""

import os
import signal

import pytest

from hmralign.engines.parts import clear_leftovers, folder_hash, is_made, making, missing_parts, part_folder
from support import forked


def write(folder, text="x"):
    (folder / "in").mkdir()
    (folder / "in/file").write_text(text)
    (folder / ".lock").touch()


def test_a_unit_appears_when_it_is_whole(tmp_path):
    with making(tmp_path, 1234) as draft:
        write(draft)
        assert not is_made(tmp_path, 1234) and missing_parts(tmp_path, 1) == [0]
    assert is_made(tmp_path, 1234) and part_folder(tmp_path, 1234) == tmp_path / "0001/0001234"
    assert [p.name for p in (tmp_path / "0001").iterdir()] == ["0001234"]


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), making(tmp_path, 0) as draft:
        write(draft)
        _ = 1 / 0
    assert not any((tmp_path / "0000").iterdir())


@pytest.mark.parametrize(("text", "warns"), [("x", False), ("y", True)])
def test_of_two_workers_the_first_stays(tmp_path, caplog, text, warns):
    with making(tmp_path, 0) as slow:
        write(slow, text)
        with making(tmp_path, 0) as quick:
            write(quick)
    assert (part_folder(tmp_path, 0) / "in/file").read_text() == "x"
    assert [p.name for p in (tmp_path / "0000").iterdir()] == ["0000000"]
    assert ("other bytes" in caplog.text) == warns


def test_a_unit_that_was_collected_meanwhile_is_no_other(tmp_path, caplog, monkeypatch):
    with making(tmp_path, 0) as draft:
        write(draft)
        monkeypatch.setattr("hmralign.engines.parts.folder_hash", lambda folder: str(folder))
        monkeypatch.setattr("pathlib.Path.is_dir", lambda path: False)
    assert not caplog.text


def test_the_hash_knows_names_and_contents_and_no_locks(tmp_path):
    write(tmp_path)
    before = folder_hash(tmp_path)
    (tmp_path / ".lock").unlink()
    assert folder_hash(tmp_path) == before
    (tmp_path / "in/file").rename(tmp_path / "in/other")
    assert folder_hash(tmp_path) != before


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    def killed():
        with making(tmp_path, 0) as draft:
            (draft / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked.run(killed) == -signal.SIGKILL
    with making(tmp_path, 1) as mine:
        assert len(list((tmp_path / "0000").iterdir())) == 2
        clear_leftovers(tmp_path)
        assert list((tmp_path / "0000").iterdir()) == [mine]
        write(mine)
    assert missing_parts(tmp_path, 2) == [0]
