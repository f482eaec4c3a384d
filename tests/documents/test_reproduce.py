"""The commands of docs/reproduce.md run on stand-ins that lie where a user's data sets would lie.

Those that train, sample or judge at the size of the papers are walked through at tiny size in
`tests/cli/test_published_data.py`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from hmralign.cli.main import main
from hmralign.data.names import PUBLISHED
from hmralign.evaluation.benchmarks.protocol import protocol_names
from hmralign.models.paper.checkpoint import save_hyponet
from support.body_files import python2_pickle, stand_in
from support.documented_commands import documented_commands
from support.foreign_predictions import write_4d_humans, write_smplerx
from support.published_datasets import (
    body_file,
    people,
    same_shape,
    write_3dpw,
    write_3dpw_json,
    write_ehf,
    write_emdb,
    write_human_data,
)
from support.tiny_paper import tiny_paper

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
    (folder / "SMPL_NEUTRAL.pkl").write_bytes(python2_pickle(stand_in(24), 2))
    write_3dpw(folder / "3DPW", who)
    write_3dpw_json(folder / "3DPW", who)
    write_emdb(folder / "EMDB", who)
    write_human_data(folder / "INSTA", who, name="insta_variety_neural_annot_train")
    write_4d_humans(folder / "results/demo_3dpw.pkl", who)
    smplx = body_file(str(folder), 55, name="SMPLX_NEUTRAL")
    expressive = people(smplx)
    write_ehf(folder / "EHF", expressive)
    for meta in (write_smplerx(folder / "results/smplerx_ehf", expressive) / "meta").iterdir():
        said = json.loads(meta.read_text())
        meta.write_text(json.dumps(said | {"img_path": f"{int(meta.stem[:5]) + 1:02d}_img.png"}))
    regressor = np.zeros((17, who.body.num_vertices), np.float32)
    regressor[np.arange(17), np.arange(17) * 100] = 1
    np.save(folder / "J_regressor_h36m.npy", regressor)
    save_hyponet(folder / "hyponet.safetensors", tiny_paper(), who.body.skeleton_hash)
    return folder


def shown(start: str) -> list[str]:
    commands = [c.words[1:] for c in documented_commands(PAGE, "reproduce")]
    return list(next(words for words in commands if " ".join(words).startswith(start)))


def with_options(words: list[str], options: list[str]) -> list[str]:
    """The command with options of its own in the place of those that it has."""
    for flag, value in zip(options[::2], options[1::2], strict=True):
        if flag in words:
            words[words.index(flag) + 1] = value
        else:
            words += [flag, value]
    return words


@pytest.mark.parametrize(
    ("start", "more", "said"),
    [
        ("data list", [], "3dpw: 3DPW, sequence files"),
        ("data check 3DPW", [], "a pickle for each sequence"),
        ("data check 3DPW --split test", [], "3dpw/test: 3 persons can be used"),
        (
            "evaluate hyponet.safetensors --data 3DPW --dataset 3dpw-json --protocol scorehypo-code",
            SMALL,
            "Figures under the protocol scorehypo-code",
        ),
        ("evaluate hyponet.safetensors --data 3DPW --dataset 3dpw-json --protocol clean", SMALL, "the protocol clean"),
        ("evaluate lite --data EMDB", SMALL, "Figures under the protocol emdb-24"),
        ("evaluate --predictions results/smplerx_ehf", [], "4 predictions against 4 records (0 without one)"),
        ("evaluate --predictions results/demo_3dpw.pkl", [], "4 predictions against 3 records (0 without one)"),
        (
            "clean --data INSTA",
            ["--samples", "2", "--sheet-items", "0"],
            "2 of 4 labels of human-data/insta_variety kept",
        ),
    ],
)
def test_what_the_page_shows_runs(start, more, said, disk, monkeypatch, capsys):
    monkeypatch.chdir(disk)
    assert main(with_options(shown(start), more)) == 0, capsys.readouterr().err
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
