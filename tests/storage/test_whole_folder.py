"""Results take their place whole; what a killed process left is removed, what somebody still writes is not."""

import os
import signal
import time

import pytest

from hmralign.storage import whole_folder
from hmralign.storage.whole_folder import LEFTOVER_SECONDS, finished_folder, remove_leftovers
from support import forked


def write_and_die(parent, when):
    rename, calls = os.rename, []

    def killing(source, target):
        calls.append(1)
        if when == "replacing" and len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    whole_folder.os.rename = killing
    with finished_folder(parent / "photo") as draft:
        (draft / "half.txt").write_text("half")
        if when == "drawing":
            os.kill(os.getpid(), signal.SIGKILL)


def killed(parent, when):
    assert forked.run(lambda: write_and_die(parent, when)) == -signal.SIGKILL


def names(parent):
    return sorted(p.name for p in parent.iterdir())


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    pid = forked.start(lambda: 0)
    forked.end(pid)
    return pid


def draft_of(parent, process, machine=None, kind="part", ending="abcd1234"):
    folder = parent / f".hmralign-{kind}-{machine or whole_folder._machine()}-{process}-{ending}"
    folder.mkdir()
    (folder / "half.txt").write_text("half")
    return folder


def test_a_folder_appears_when_it_is_complete_and_replaces_an_earlier_one(tmp_path):
    for text in ("first", "second"):
        with finished_folder(tmp_path / "new" / "photo") as draft:
            (draft / "a.txt").write_text(text)
        assert names(tmp_path / "new") == ["photo"] and (tmp_path / "new" / "photo" / "a.txt").read_text() == text
    with pytest.raises(KeyError), finished_folder(tmp_path / "new" / "photo") as draft:
        raise KeyError
    assert names(tmp_path / "new") == ["photo"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    killed(tmp_path, "drawing")
    (left,) = names(tmp_path)
    assert left.startswith(".hmralign-part-")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_an_earlier_result_that_had_stepped_aside_comes_back(tmp_path):
    with finished_folder(tmp_path / "photo") as draft:
        (draft / "earlier.txt").write_text("whole")
    killed(tmp_path, "replacing")
    assert "photo" not in names(tmp_path) and len(names(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["photo"] and names(tmp_path / "photo") == ["earlier.txt"]


def test_an_earlier_result_does_not_displace_a_newer_one(tmp_path, ended):
    aside = draft_of(tmp_path, ended, kind="old")
    (aside / "photo").mkdir()
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo" / "newer.txt").write_text("")
    (aside / "half.txt").unlink()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["photo"] and names(tmp_path / "photo") == ["newer.txt"]


def test_what_another_process_or_machine_still_writes_stays(tmp_path, ended):
    kept = [draft_of(tmp_path, os.getpid()), draft_of(tmp_path, 1), draft_of(tmp_path, ended, machine="01234567")]
    remove_leftovers(tmp_path)
    assert all((folder / "half.txt").exists() for folder in kept)
    yesterday = time.time() - LEFTOVER_SECONDS - 60
    for folder in kept:
        os.utime(folder, (yesterday, yesterday))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_only_folders_of_exactly_this_name_are_touched(tmp_path, ended):
    for ending in ("abcd123", "abcd12345", "ABCD1234", "abcd1234.bak"):
        draft_of(tmp_path, ended, ending=ending)
    draft_of(tmp_path, "x")
    draft_of(tmp_path, ended, kind="mine")
    (tmp_path / f".hmralign-part-{whole_folder._machine()}-{ended}-aaaaaaaa").write_text("a file")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("")
    link = tmp_path / f".hmralign-part-{whole_folder._machine()}-{ended}-bbbbbbbb"
    link.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = names(tmp_path)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == before and names(tmp_path / "elsewhere") == ["a.txt"]
