"""`hmralign critic audit` from arguments to its files; wrong input in one sentence."""

import json

import pytest

from hmralign.cli.critic_audit import CriticAuditOptions, run_critic_audit
from hmralign.cli.options import parse_options
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError
from hmralign.preferences.store import writing
from hmralign.structures import InputError
from support.group_stores import some_groups, store_facts


def audit(*arguments):
    options = parse_options(CriticAuditOptions, list(map(str, arguments)), prog="hmralign critic audit")
    with Terminal(quiet=options.quiet, json=options.json) as terminal:
        return run_critic_audit(options, terminal)


@pytest.fixture
def store(tmp_path):
    with writing(tmp_path / "store", store_facts(with_truth=True)) as writer:
        writer.append(some_groups("abcd", truth=True))
    return tmp_path / "store"


def test_files_and_a_line_are_written(store, tmp_path, capsys):
    assert audit(store, "--critic", "oracle", "random", "--out", tmp_path / "out", "--draws", 20, "--planted", 2) == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 critics on 4 groups of wild/train; the best order is by oracle (SRCC 1.000)") and not err
    found = json.loads((tmp_path / "out/critic_audit.json").read_text())
    assert list(found["critics"]) == ["oracle", "random", "reprojection"] and found["planted"]["persons"] == 2


def test_json_is_one_document(store, tmp_path, capsys):
    code = audit(store, "--critic", "oracle", "--reference", "none", "--groups", 3, "--draws", 20, "--out",
                 tmp_path / "out", "--json")  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert code == 0 and found["groups"] == 3 and found["reference"] == "" and list(found["critics"]) == ["oracle"]


def test_wrong_input_is_named(store, tmp_path):
    out = tmp_path / "out"
    for arguments, kind, words in (
        ([store, "--critic", "oracle", "oracle"], UsageError, "'oracle' twice"),
        ([store, "--planted", -1], UsageError, "--planted is -1"),
        ([store], UsageError, "name one with --critic"),
        ([store, "--critic", "nobody"], InputError, "no critic 'nobody'"),
        ([tmp_path, "--critic", "oracle"], InputError, "no store.json"),
    ):
        with pytest.raises(kind, match=words):
            audit(*arguments, "--out", out)
    assert not out.exists()
