"""The commands of docs/reproduce.md run on stand-ins that lie where a user's data sets would lie.

Those that train, sample or judge at the size of the papers are walked through at tiny size in
`tests/cli/test_published_data.py`.
"""

import shutil
from pathlib import Path

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.data.names import PUBLISHED
from hmralign.evaluation.benchmarks.protocol import protocol_names
from support.documented_commands import documented_commands
from support.published_datasets import body_file, people, same_shape, write_3dpw, write_emdb

PAGE = Path(__file__).parents[2] / "docs/reproduce.md"
SMALL = ["--num-hypotheses", "4", "--num-steps", "2"]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    body = body_file(str(tmp_path_factory.mktemp("body")))
    (folder / "SMPL").mkdir()
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        shutil.copy(body, folder / f"SMPL/SMPL_{gender}.npz")
    who = same_shape(people(body))
    write_3dpw(folder / "3DPW", who)
    write_emdb(folder / "EMDB", who)
    return folder


def shown(start: str) -> list[str]:
    commands = [c.words[1:] for c in documented_commands(PAGE, "reproduce")]
    return list(next(words for words in commands if " ".join(words).startswith(start)))


@pytest.mark.parametrize(
    ("start", "more", "said"),
    [
        ("data list", [], "3dpw: 3DPW, sequence files"),
        ("data check 3DPW", [], "a pickle for each sequence"),
        ("data check 3DPW --split test", [], "3dpw/test: 3 persons can be used"),
        ("evaluate lite --data EMDB", SMALL, "Figures under the protocol emdb-24"),
    ],
)
def test_what_the_page_shows_runs(start, more, said, disk, monkeypatch, capsys):
    monkeypatch.chdir(disk)
    assert main([*shown(start), *more]) == 0, capsys.readouterr().err
    assert said in capsys.readouterr().out


def test_the_page_names_every_format_and_every_protocol():
    text = PAGE.read_text()
    assert all(f"| `{name}` |" in text for name in PUBLISHED)
    assert all(f"`{name}`" in text for name in protocol_names())
    assert "none has been run on a real file here" in text
    assert "reproduce.md" in yaml.safe_dump(yaml.load((PAGE.parents[1] / "mkdocs.yml").read_text(), _Loose))


class _Loose(yaml.SafeLoader):
    """Reads the site's configuration, whose tags are the site builder's own."""


_Loose.add_multi_constructor("!", lambda loader, suffix, node: None)
_Loose.add_multi_constructor("tag:", lambda loader, suffix, node: None)
