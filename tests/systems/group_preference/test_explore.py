"""Learning on groups with truth: once, whatever was killed when; switches; nothing of a failed group."""

from dataclasses import replace

import pytest
import yaml

from hmralign.critics.vlm.memory.store import Memory
from hmralign.critics.vlm.memory.transfer import export_memory, import_memory
from hmralign.preferences.store import writing
from hmralign.structures import InputError
from hmralign.systems.group_preference.explore import (
    explore_groups,
    exploring_order,
    freeze_memory,
    unaided_rate,
)
from hmralign.systems.group_preference.settings import (
    PAPER_JUDGE,
    ExploreConfig,
    JudgeConfig,
    ScoreConfig,
    explore_preset,
)
from hmralign.training.configuration import read_config
from hmralign.vlm.journal import Journal
from support.explorations import Killed, Run
from support.group_stores import some_groups, store_facts
from support.judged_stores import BODY, EXPLORE, asker, judged_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return judged_store(tmp_path_factory.mktemp("explored") / "store", count=6)


@pytest.fixture
def run(tmp_path, folder):
    return Run(tmp_path, folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, folder):
    run = Run(tmp_path_factory.mktemp("straight"), folder)
    run.report = run.explore(concurrency=1)
    return run


def test_what_is_learnt(straight):
    report = straight.report
    assert report.episodes == 6 and report.rho == [1.0] * 6 and report.successes == 6 and report.calls == 6 * 3
    with straight.memory() as memory:
        episodes, index = memory.episodes(), memory.prototype_index()
        assert len(episodes) == 6 and all(len(e.journal_keys) == 3 for e in episodes)
        assert report.rules == len(memory.stored_rules()) == 3 and len(report.refused_rules) == 3
        assert index.scores.max() > 85 and index.scores.min() < 40 and all(index.has_embedding)
        uses = sum(rule.uses for rule in memory.rules())
        assert uses == sum(len(e.rules) for e in episodes) > 0
        case = memory.prototypes(index.ids[:1])[0]
        assert case.photo.startswith(b"\xff\xd8") and case.overlay.startswith(b"\xff\xd8")


def test_the_first_round_sees_nothing_and_later_ones_see_earlier_ones_alone(straight, folder):
    order = exploring_order(6, EXPLORE)
    with straight.memory() as memory:
        by_person = {e.id.split("@")[0]: e for e in memory.episodes()}
        past = [by_person[f"wild/train/{n:06d}"] for n in order]
        made = {r.id: r.episode for r in memory.stored_rules()}
        index = memory.prototype_index()
        made |= dict(zip(index.ids, index.episodes, strict=True))
    position = {episode.id: n // 2 for n, episode in enumerate(past)}
    assert all(not e.rules and not e.shown for e in past[:2]) and all(e.rules and e.shown for e in past[2:])
    for episode in past:
        assert all(position[made[name]] < position[episode.id] for name in (*episode.rules, *episode.shown))


def test_exploring_twice_is_exploring_once(run):
    run.explore()
    asked, content = run.asked, run.content()
    again = run.explore()
    assert run.asked == asked and run.content() == content and (again.episodes, again.before, again.calls) == (0, 6, 0)


@pytest.mark.parametrize("after", [1, 5, 6, 8])
def test_a_run_that_was_killed_while_asking_gives_the_same_memory(run, straight, after):
    answer = run.judge.backend._answer

    def dying(request):
        if run.asked > after:
            raise Killed
        return answer(request)

    run.judge.backend._answer = dying
    with pytest.raises(Killed):
        run.explore(concurrency=1)
    run.judge.backend._answer = answer
    run.explore(concurrency=1)
    # One request died unanswered and is sent again; no answer was asked for twice.
    assert run.asked == straight.asked + 1 and run.content() == straight.content()


@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_run_that_was_killed_between_two_commits_gives_the_same_memory(run, straight, after, monkeypatch):
    commit, done = Memory.commit, []

    def dying(self, *arguments):
        if len(done) == after:
            raise Killed
        done.append(1)
        return commit(self, *arguments)

    monkeypatch.setattr(Memory, "commit", dying)
    with pytest.raises(Killed):
        run.explore(concurrency=1)
    monkeypatch.undo()
    run.explore(concurrency=1)
    assert run.asked == straight.asked and run.content() == straight.content()


def test_more_groups_go_on_from_fewer(run, straight):
    run.explore(replace(EXPLORE, groups=2), concurrency=1)
    report = run.explore(concurrency=1)
    assert report.before == 2 and report.episodes == 4 and run.content() == straight.content()


def test_switches(folder, tmp_path):
    made = {}
    for name in ("rules", "prototypes", "reflection", "images"):
        (tmp_path / name).mkdir()
        run = Run(tmp_path / name, folder)
        run.explore(replace(EXPLORE, groups=4, **{name: False}))
        with run.memory() as memory:
            index = memory.prototype_index()
            pictures = [memory.prototypes([i])[0].overlay for i in index.ids]
            shown = [bool(e.shown) for e in memory.episodes()]
            made[name] = (len(memory.stored_rules()), len(index.ids), run.judge.reviews, any(shown), any(pictures))
    assert made["rules"][0] == made["reflection"][0] == 0 and made["rules"][2] == made["reflection"][2] == 0
    assert made["rules"][3] and made["reflection"][3]
    assert made["prototypes"][1] == 0 and made["prototypes"][0] > 0 and not made["prototypes"][3]
    assert made["images"][1] > 0 and not made["images"][4] and made["rules"][4]


def test_a_group_without_a_verdict_is_no_episode(folder, tmp_path):
    run = Run(tmp_path, folder, wrong={"wild/train/000002": "garbage"})
    report = run.explore()
    assert [name for name, _ in report.unjudged] == ["wild/train/000002"] and report.episodes == 5
    asked = run.asked
    assert run.explore().unjudged and run.asked == asked


def test_a_review_without_an_answer_leaves_an_episode_without_rules(folder, tmp_path):
    run = Run(tmp_path, folder)
    answer = run.judge.backend._answer
    run.judge.backend._answer = lambda request: "no" if "new_rules" in request.schema["properties"] else answer(request)
    report = run.explore()
    assert report.episodes == 6 and len(report.failed_reviews) == 6 and report.rules == 0


def test_wrong_stores_and_memories(folder, tmp_path, run):
    with writing(tmp_path / "blind", store_facts()) as store:
        store.append(some_groups("ab"))
    with pytest.raises(InputError, match="no truth"):
        explored(run, tmp_path / "blind", tmp_path / "blind.sqlite")
    run.explore(replace(EXPLORE, groups=2))
    with pytest.raises(InputError, match="explored with episodes"):
        run.explore(replace(EXPLORE, episodes=replace(EXPLORE.episodes, cases=1)))
    with run.memory() as memory:
        freeze_memory(memory, tmp_path / "frozen.sqlite")
    with pytest.raises(InputError, match="is frozen"):
        explored(run, folder, tmp_path / "frozen.sqlite")


def explored(run, folder, path):
    with Memory.open(path) as memory, Journal.open(run.place / "journal.sqlite") as journal:
        return explore_groups(folder, asker(run.judge.backend, journal), BODY, memory, EXPLORE)


def test_freezing_keeps_the_best_rules_alone(straight, tmp_path):
    with straight.memory() as memory:
        assert unaided_rate(memory) == 1.0
        freeze_memory(memory, tmp_path / "all.sqlite")
        freeze_memory(memory, tmp_path / "none.sqlite", best_rules=5)
        with pytest.raises(InputError, match="how many"):
            freeze_memory(memory, tmp_path / "x.sqlite", baseline=0.5)
    kept = []
    for name in ("all", "none"):
        with Memory.open(tmp_path / f"{name}.sqlite") as memory:
            kept.append(len(memory.rules()))
    assert kept == [3, 0]  # nothing is better than a judge that never fails


def test_a_memory_can_be_carried_over(straight, tmp_path):
    with straight.memory() as memory:
        content = export_memory(memory, tmp_path / "folder")
    assert import_memory(tmp_path / "folder", tmp_path / "copy.sqlite") == content == straight.content()


def test_configurations_are_read_from_yaml(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({
        "judge": {"plan": {"rounds": 3}, "style": {"side": 256}, "incomplete": "merge"},
        "retrieval": {"prototypes": 2, "selection": {"method": "thompson"}}, "reflection": False, "groups": 100,
    }))  # fmt: skip
    config = read_config(ExploreConfig, path)
    assert config.judge.plan.rounds == 3 and config.retrieval.selection.method == "thompson"
    assert config.groups == 100 and not config.mines_rules
    assert read_config(ScoreConfig, _written(path, {})) == ScoreConfig()
    for wrong in ({"judge": {"plans": {}}}, {"judge": {"options": {"preset": "paper"}}}, {"round_size": 0}, []):
        with pytest.raises(InputError, match=r"config\.yaml"):
            read_config(ExploreConfig, _written(path, wrong))


def _written(path, content):
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_papers_preset_fits_its_prompt():
    config = explore_preset("paper")
    assert config.judge == PAPER_JUDGE and not config.retrieval.selection.prior
    with pytest.raises(InputError, match="expected overlay"):
        replace(PAPER_JUDGE, style=JudgeConfig().style)
