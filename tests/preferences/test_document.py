"""The code in `docs/preference_groups.md` runs as it is shown, top to bottom, and its commands have real options."""

import re
from pathlib import Path

from hmralign.cli.groups_options import GroupsOptions
from hmralign.cli.options import parse_options
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from support.group_stores import STEPS, shard_folder, tiny_policy
from support.synthetic_persons import BODY

TEXT = (Path(__file__).parents[2] / "docs/preference_groups.md").read_text()


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = GroupStoreConfig(group_size=4, num_steps=STEPS)
    source = ShardSource.open(shard_folder(tmp_path / "shards", 3))
    build_groups(tiny_policy(), BODY, "c" * 64, (), source, tmp_path / "groups", config, ["reprojection"])
    names: dict = {"__name__": "document"}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(block, names)
    store = GroupStore.open("my_groups")
    assert store.critics() == ("mix", "upright") and store.scores("upright").shape == (3, 8)
    assert store.ids[0] == "my-dataset/train/000000" and len(names["pairs"]) > 0


def test_the_commands_have_real_options():
    commands = re.findall(r"^hmralign groups (.*?)(?:\s+#.*)?$", TEXT, re.MULTILINE)
    assert len(commands) == 8
    for command in commands:
        parse_options(GroupsOptions, command.split(), "hmralign groups")
