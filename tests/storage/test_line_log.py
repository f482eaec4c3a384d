"""Logs grow by whole lines, and a full disk is told with the name of the log."""

import resource

import pytest

from hmralign.storage.line_log import append_line


def test_lines_follow_each_other(tmp_path):
    for line in ("a", "b \u00e9"):
        append_line(tmp_path / "log.jsonl", line)
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == "a\nb \u00e9\n"


def test_a_disk_without_room_names_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            append_line(tmp_path / "log.jsonl", "x" * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "log.jsonl")
