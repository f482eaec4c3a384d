"""What a page of the frame says was typed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import evidence_frame


def test_a_page_names_the_command_without_the_places_of_files(monkeypatch):
    words = ["time", "--poses", "/some/where/poses.npz", "--work", "/tmp/x", "--rows", "DPO, truth", "--out", "o"]
    monkeypatch.setattr(sys, "argv", ["moments.py", *words])
    assert evidence_frame.command() == 'time --poses poses.npz --rows "DPO, truth"'
