"""What a benchmark costs is added up over runs that were cut off."""

import sys
from pathlib import Path

import pytest

from hmralign.structures import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import spent_cpu


def test_seconds_of_earlier_runs_are_added(tmp_path, monkeypatch):
    clock = iter([5.0, 12.0, 100.0, 103.5, 106.0])
    monkeypatch.setattr(spent_cpu.time, "process_time", lambda: next(clock))
    file = tmp_path / "cpu_seconds.json"
    assert spent_cpu.SpentCpu(file).seconds() == 7.0
    again = spent_cpu.SpentCpu(file)
    assert again.seconds() == 10.5, "kept by the first run, though it never said that it ended"
    assert again.minutes() == pytest.approx(13.0 / 60)


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "cpu_seconds.json").write_text("{")
    with pytest.raises(InputError, match="seconds of the processor"):
        spent_cpu.SpentCpu(tmp_path / "cpu_seconds.json")
