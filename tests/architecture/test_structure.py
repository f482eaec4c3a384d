"""No folder outgrows the house, and rooms know little of each other."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from structure import LARGEST_SHARE, MOST_ARROWS, room_arrows, shares

ROOT = Path(__file__).parents[2]


def test_no_folder_holds_more_than_its_share_of_the_lines():
    found = shares(ROOT / "src")
    assert len(found) > 15 and abs(sum(found.values()) - 1) < 1e-9
    assert max(found.values()) <= LARGEST_SHARE, found


def test_rooms_know_little_of_each_other():
    assert len(room_arrows(ROOT / "src")) <= MOST_ARROWS


def test_an_arrow_and_a_large_folder_would_be_seen(tmp_path):
    room = tmp_path / "hmralign/systems/one"
    room.mkdir(parents=True)
    (room / "a.py").write_text("from hmralign.systems.two.b import c\nfrom hmralign.systems.one.d import e\n" * 2)
    assert room_arrows(tmp_path) == {("one", "two")}
    assert shares(tmp_path) == {"systems": 1.0}


def test_markdown_tables_have_one_writer():
    writers = [p.name for p in (ROOT / "src").rglob("*.py") if '"---' in p.read_text() or '--- |"' in p.read_text()]
    assert writers == ["markdown_table.py"]
