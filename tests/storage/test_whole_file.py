"""A file is whole or not there, whatever ends the writing, and an error names it."""

import errno
import json
import os
import resource
import signal
import threading

import pytest
import torch

from hmralign.data.shards import save_whole
from hmralign.storage.whole_file import (
    remove_parts,
    take_over_file,
    whole_file,
    write_json,
    write_json_lines,
    write_whole,
)
from hmralign.training.state import save_state
from support import forked
from support.budget import within_budget


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("content", [b"", b"\x00\xff", "text \N{SNOWMAN}\n", b"long" * 100_000])
def test_what_is_written_is_there_and_nothing_else(tmp_path, content):
    path = write_whole(tmp_path / "new/folder/file.bin", content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(path.parent) == ["file.bin"]


def test_json_is_written_so_that_others_can_read_it(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]}, indent=1)
    write_json_lines(tmp_path / "b.jsonl", [{"a": 1}, 2])
    assert (tmp_path / "a.json").read_text() == json.dumps({"a": [1, None]}, indent=1) + "\n"
    assert (tmp_path / "b.jsonl").read_text() == '{"a": 1}\n2\n'
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"))


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), OSError(errno.EIO, "mine", "other")])
def test_an_error_leaves_what_was_there(tmp_path, error):
    write_whole(tmp_path / "file", b"before")
    with pytest.raises(type(error)) as raised, whole_file(tmp_path / "file") as part:
        part.write_bytes(b"half")
        raise error
    assert raised.value is error
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"before"


def test_files_have_the_rights_that_the_user_wants(tmp_path):
    before = os.umask(0o027)
    try:
        assert write_whole(tmp_path / "file", b"x").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_full_disk_names_its_file(tmp_path):
    """The system's error of a full disk has no name of a file; the limit of a process on files is one like it."""

    def streamed(path, content):
        with whole_file(path) as part, part.open("wb") as file:
            for _ in range(100):
                file.write(content)

    def write_all():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        much = {"a": torch.zeros(100_000)}
        for number, (write, content) in enumerate([
            (write_whole, bytes(100_000)), (write_json, list(range(100_000))), (save_state, much),
            (lambda path, content: save_whole(content, path), much), (streamed, bytes(1000)),
        ]):  # fmt: skip
            path = tmp_path / str(number)
            with pytest.raises(OSError) as error:
                write(path, content)
            assert error.value.filename == str(path) and error.value.strerror

    within_budget(write_all)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["file", "n" * 250, "\N{SNOWMAN}" * 80, "with [brackets]*", ".hidden"])
def test_a_kill_leaves_a_part_that_is_removed_by_name(tmp_path, name):
    write_whole(tmp_path / name, b"before")
    write_whole(tmp_path / "other", b"before")

    def killed():
        for file in (name, "other"):
            part = whole_file(tmp_path / file).__enter__()
            part.write_bytes(b"half")
            part.with_name(part.name + "-wal").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    assert forked.run(killed) == -signal.SIGKILL
    assert (tmp_path / name).read_bytes() == b"before" and len(names(tmp_path)) == 6
    remove_parts(tmp_path, name)
    assert len(names(tmp_path)) == 4 and (tmp_path / name).exists()
    remove_parts(tmp_path)
    assert [n for n in names(tmp_path) if n.endswith(".part")] == []
    assert (tmp_path / name).read_bytes() == (tmp_path / "other").read_bytes() == b"before"


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    contents = [bytes([k]) * 200_000 for k in range(1, 5)]

    def write(content):
        for _ in range(10):
            write_whole(tmp_path / "file", content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "file").exists():
            assert (tmp_path / "file").read_bytes() in contents
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_taken_over_has_its_bytes_and_outlives_the_source(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError(95, "no second names here")

    source, path = tmp_path / "part/file", tmp_path / "whole/file"
    write_whole(source, b"content")
    write_whole(path, b"left by a kill")
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        take_over_file(source, path)
        assert path.read_bytes() == b"content" and path.samefile(source) == links
    source.unlink()
    assert path.read_bytes() == b"content" and [p.name for p in path.parent.iterdir()] == ["file"]
