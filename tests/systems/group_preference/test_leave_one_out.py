"""Judged again without one rule: that rule alone gets the credit, once, whatever was killed when; and rules that go.

The judge obeys `HARMFUL`, which turns its order round, and no other rule does anything to it. So the credit of that
rule is -2, the largest there is, and that of every other rule is 0.
"""

from collections import Counter
from dataclasses import replace

import pytest

from hmralign.critics.vlm.memory.credit import EffectOptions
from hmralign.critics.vlm.memory.pruning import PruningOptions, RetirementOptions
from hmralign.critics.vlm.memory.records import rule_id
from hmralign.critics.vlm.memory.store import Memory
from hmralign.structures import InputError
from hmralign.systems.group_preference.explore import freeze_memory
from hmralign.systems.group_preference.settings import ExploreConfig
from support.explorations import HARMFUL, Killed, ObedientJudge, Run, words_of
from support.judged_stores import EXPLORE, RULES, judged_store

GROUPS = 6
HARM = rule_id(HARMFUL)
SURE = EffectOptions(prior_std=1.0, min_uses=2)
KEEPING = replace(EXPLORE, leave_one_out=1.0, retire=False)
RETIRING = replace(EXPLORE, leave_one_out=1.0, retirement=RetirementOptions(SURE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return judged_store(tmp_path_factory.mktemp("without") / "store", count=GROUPS)


@pytest.fixture
def run(tmp_path, folder):
    return Run(tmp_path, folder, ObedientJudge)


def straight_run(factory, folder, config):
    run = Run(factory.mktemp("straight"), folder, ObedientJudge)
    run.report = run.explore(config, concurrency=1)
    return run


@pytest.fixture(scope="module")
def keeping(tmp_path_factory, folder):
    return straight_run(tmp_path_factory, folder, KEEPING)


@pytest.fixture(scope="module")
def retiring(tmp_path_factory, folder):
    return straight_run(tmp_path_factory, folder, RETIRING)


def test_the_credit_is_that_of_the_rule_alone(keeping):
    with keeping.memory() as memory:
        controls = [(use.rule, use.control) for use in memory.log() if use.control is not None]
    assert {control for rule, control in controls if rule == HARM} == {-2.0}
    assert {control for rule, control in controls if rule != HARM} == {0.0}
    assert keeping.report.controls == len(controls) == GROUPS - 2 and not keeping.report.failed_controls
    # Every rule in turn: none is left out much more often than another.
    often = Counter(rule for rule, _ in controls)
    assert len(often) == 3 and max(often.values()) - min(often.values()) <= 1


def test_the_second_request_is_the_first_without_the_rule(keeping):
    seen = [words_of(request) for request in keeping.judgements]
    with keeping.memory() as memory:
        texts = {rule.id: rule.text for rule in memory.stored_rules()}
        left_out = [(use.episode, texts[use.rule]) for use in memory.log() if use.control is not None]
    for _, text in left_out:
        # Each group is asked about in two calls, so two pairs differ in this line alone.
        without = [words for words in seen if text not in words]
        assert sum(words.replace(f"- {text}\n", "") in without for words in seen if text in words) >= 2


def test_what_it_costs_is_counted(keeping):
    reviews = GROUPS
    assert keeping.report.calls == keeping.asked == 2 * GROUPS + 2 * (GROUPS - 2) + reviews
    with keeping.memory() as memory:
        keys = sorted(len(episode.journal_keys) for episode in memory.episodes())
    assert keys == [3, 3, *[5] * (GROUPS - 2)]


def test_a_share_of_the_groups_is_judged_again(run, folder, tmp_path, keeping):
    half = run.explore(replace(KEEPING, leave_one_out=0.5), concurrency=1)
    assert 0 < half.controls < keeping.report.controls
    with run.memory() as memory, keeping.memory() as all_of_them:
        some, every = ({u.episode for u in m.log() if u.control is not None} for m in (memory, all_of_them))
    assert some < every


def test_without_rules_nothing_is_left_out(run):
    report = run.explore(replace(KEEPING, rules=False, groups=4))
    assert report.controls == 0 and report.calls == run.asked == 4 * 2


def test_a_rule_that_does_harm_goes_and_is_not_shown_again(retiring):
    report = retiring.report
    assert [text for text, _ in report.retired] == [HARMFUL]
    assert "also judged without it" in report.retired[0][1]
    with retiring.memory() as memory:
        stored = next(rule for rule in memory.stored_rules() if rule.id == HARM)
        uses = [use for use in memory.log() if use.rule == HARM]
        assert stored.retired == report.retired[0][1] and stored.episode and stored.author == "scripted"
        assert HARM not in {rule.id for rule in memory.rules()} and 2 <= len(uses) < GROUPS - 2
        assert {e.rho for e in memory.episodes() if HARM not in e.rules} == {1.0}
    # The sentence is proposed again by every third review, and is refused.
    assert (HARMFUL, f"says what rule {HARM} says already") in report.refused_rules


def test_exploring_twice_is_exploring_once(retiring):
    asked, content = retiring.asked, retiring.content()
    again = retiring.explore(RETIRING)
    assert (retiring.asked, retiring.content()) == (asked, content)
    assert (again.episodes, again.controls, again.retired, again.calls) == (0, 0, [], 0)


@pytest.mark.parametrize("after", [8, 15])
def test_killed_while_asking_it_gives_the_same_memory(run, retiring, after):
    answer = run.judge.backend._answer

    def dying(request):
        if run.asked > after:
            raise Killed
        return answer(request)

    run.judge.backend._answer = dying
    with pytest.raises(Killed):
        run.explore(RETIRING, concurrency=1)
    run.judge.backend._answer = answer
    run.explore(RETIRING, concurrency=1)
    assert run.asked == retiring.asked + 1 and run.content() == retiring.content()


@pytest.mark.parametrize(("name", "after"), [("commit", 3), ("commit", 5), ("retire", 0)])
def test_killed_while_writing_it_gives_the_same_memory(run, retiring, name, after, monkeypatch):
    write, done = getattr(Memory, name), []

    def dying(self, *arguments):
        if len(done) == after:
            raise Killed
        done.append(1)
        return write(self, *arguments)

    monkeypatch.setattr(Memory, name, dying)
    with pytest.raises(Killed):
        run.explore(RETIRING, concurrency=1)
    monkeypatch.undo()
    run.explore(RETIRING, concurrency=1)
    assert run.asked == retiring.asked and run.content() == retiring.content()


def test_more_groups_go_on_from_fewer(run, retiring):
    run.explore(replace(RETIRING, groups=4), concurrency=1)
    run.explore(RETIRING, concurrency=1)
    assert run.content() == retiring.content()


def test_a_second_verdict_that_fails_leaves_an_episode_without_credit(run):
    answer = run.judge.backend._answer

    def failing(request):
        words = words_of(request)
        return "no" if RULES[1] in words and HARMFUL not in words else answer(request)

    run.judge.backend._answer = failing
    report = run.explore(replace(KEEPING, groups=4), concurrency=1)
    assert report.episodes == 4 and report.controls == 1 and len(report.failed_controls) == 1
    with run.memory() as memory:
        assert [use.rule for use in memory.log() if use.control is not None] == [rule_id(RULES[1])]


def test_the_cap_on_rules(run):
    report = run.explore(replace(EXPLORE, retirement=RetirementOptions(SURE, max_rules=1)), concurrency=1)
    with run.memory() as memory:
        assert len(memory.rules()) == 1 and len(memory.stored_rules()) == 3
    assert len(report.retired) == 2


def test_freezing_by_credit(keeping, tmp_path):
    def kept(name, **options):
        with keeping.memory() as memory:
            freeze_memory(memory, tmp_path / name, best_rules=5, **options)
        with Memory.open(tmp_path / name) as frozen:
            return {rule.id for rule in frozen.rules()}

    assert HARM not in kept("effects", credit="effects", effects=replace(SURE, confidence=0.5))
    # No rule raises the correlation of any group, so none is better than not being there.
    assert kept("paired", credit="paired", pruning=PruningOptions(min_uses=1)) == set()
    least = {"credit": "paired", "pruning": PruningOptions(min_uses=1), "baseline": 0.0}
    with keeping.memory() as memory, pytest.raises(InputError, match="effects have none"):
        freeze_memory(memory, tmp_path / "x", best_rules=1, credit="effects", baseline=0.5)
    assert kept("any", **least) == set()


def test_credit_by_pairs_needs_pairs(run, tmp_path):
    run.explore(replace(EXPLORE, groups=2))
    with run.memory() as memory, pytest.raises(InputError, match="explore with leave_one_out"):
        freeze_memory(memory, tmp_path / "x", best_rules=1, credit="paired")


def test_a_memory_is_explored_in_one_way_and_the_difference_is_named(run):
    run.explore(replace(EXPLORE, groups=2))
    for changed, named in (
        (replace(EXPLORE, leave_one_out=0.5), r"leave_one_out = null, not 0\.5"),
        (replace(EXPLORE, retire=False), "retire = true, not null"),
        (replace(EXPLORE, retirement=RetirementOptions(max_rules=9)), r"retirement\.max_rules = 200, not 9"),
        (replace(EXPLORE, judge=replace(EXPLORE.judge, seed=3)), r"judge\.seed = 0, not 3"),
    ):
        with pytest.raises(InputError, match=named):
            run.explore(changed)


def test_what_is_switched_off_is_as_if_there_were_no_such_switch():
    before = {"leave_one_out", "retire", "retirement"}
    assert not before & replace(EXPLORE, retire=False).record.keys() and before <= RETIRING.record.keys()
    with pytest.raises(InputError, match="expected 0 to 1"):
        ExploreConfig(leave_one_out=2.0)
