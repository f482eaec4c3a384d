"""`align --advise` says what was measured in a store's situation, and trains nothing."""

import json

import pytest

from hmralign.alignment.advice import ADVICE
from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main
from hmralign.preferences.build import score_store
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.systems.align.advise import fit_share
from support.judged_stores import judged_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    from hmralign.critics.catalogue import make_critic

    folder = judged_store(tmp_path_factory.mktemp("advice") / "groups")
    body, name = load_free_body("3k5"), "reprojection"
    with writing(folder) as opened:
        facts = CriticFacts(name, needs_truth=False)
        score_store(opened, name, lambda _: make_critic(name, body, opened.facts.detector), facts)
    return folder


def test_it_says_the_rows_that_fit_and_refuses_to_promise(store, capsys):
    before = sorted(store.rglob("*"))
    assert main(["align", "--advise", str(store)]) == 0
    said = capsys.readouterr().out
    assert "4 persons; critics: reprojection; truth is kept." in said and "No promise" in said
    for name in ("labels", "evidence", "few"):
        assert ADVICE[name].do in said and f"docs/{ADVICE[name].source}" in said
    assert ADVICE["scorer"].do not in said
    assert sorted(store.rglob("*")) == before
    assert main(["align", "--advise", str(store), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["rows"]] == ["labels", "evidence", "few"]
    assert document["situation"]["persons"] == 4


def test_the_fit_is_of_the_best_hypothesis(store):
    opened = GroupStore.open(store)
    # Of each group one body is 0.02 radians from the truth whose keypoints were seen.
    assert 0.001 < fit_share(opened, load_free_body("3k5")) < 0.05


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--advise", "nowhere"], "nowhere"),
        (["--advise", "STORE", "--out", "run"], "--advise trains nothing"),
        (["--advise", "STORE", "--checkpoint", "lite"], "were not sampled by lite"),
        (["--groups", "STORE"], "expected --out FOLDER"),
        ([], "expected --out FOLDER"),
    ],
)
def test_what_does_not_go_together_is_told(store, capsys, words, said):
    assert main(["align", *(str(store) if word == "STORE" else word for word in words)]) == 2
    assert said in capsys.readouterr().err
