"""The list of fields that no test names sees what it is meant to see."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from unnamed_fields import config_fields, unnamed

SOURCE = """
@dataclass(frozen=True)
class LoopConfig:
    steps: int = 3
    dry_run: bool = False
    slow: bool = False
    KIND: ClassVar[str] = "a"

@dataclass
class OtherConfig:
    loose: int = 1

@dataclass(frozen=True)
class Answer:
    joints: int = 1
"""


def test_only_fields_of_frozen_configurations_count():
    assert list(config_fields(SOURCE)) == [("LoopConfig", "steps"), ("LoopConfig", "dry_run"), ("LoopConfig", "slow")]


def test_a_name_and_a_flag_are_found_and_nothing_else(tmp_path):
    for name, text in (("src/a.py", SOURCE), ("tests/test_a.py", "LoopConfig(steps=1); run('--dry-run', 'slowly')")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert unnamed(tmp_path / "src", tmp_path / "tests") == ["a.py: LoopConfig.slow"]
