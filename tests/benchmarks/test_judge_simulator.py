import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmralign.critics.vlm.habits import position_bias
from hmralign.critics.vlm.memory.records import prototype_id
from hmralign.critics.vlm.memory.store import Memory
from hmralign.structures import MemoryContext, Prototype

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "vlm"))

from hmralign.critics.vlm.memory.episodes import EpisodeOptions, make_episode
from hmralign.critics.vlm.memory.rule_filter import review_rule
from judge_simulator import (
    ASPECTS,
    DISTRACTORS,
    GROUP_SIZE,
    JUNK,
    JudgeConfig,
    LoopConfig,
    Miner,
    SimulatedJudge,
    World,
    judged_group,
    rules_of,
    run_loop,
    shown,
)

WORLD = World.make(0)
GROUPS = [WORLD.group(f"g{i}") for i in range(60)]
NOTHING = MemoryContext()


def rho(judge, context):
    return float(np.mean([judged_group(g, judge(g, context)).rho for g in GROUPS]))


def test_the_same_question_gets_the_same_answer_and_another_prompt_another():
    judge = SimulatedJudge()
    assert judge(GROUPS[0], NOTHING) == judge(GROUPS[0], NOTHING) != judge(GROUPS[0], NOTHING, repeat=1)
    deaf = SimulatedJudge(JudgeConfig(deaf=True))
    context = shown(*rules_of(ASPECTS))
    assert deaf(GROUPS[0], NOTHING) != deaf(GROUPS[0], context)
    np.testing.assert_array_equal(deaf.perceived(GROUPS[0], NOTHING), deaf.perceived(GROUPS[0], context))


def noise(seed):
    """What a judge adds to its scores, apart from the level of the call."""
    world, judge, rows = World.make(seed), SimulatedJudge(JudgeConfig(deaf=True)), []
    for group in (world.group(f"g{i}") for i in range(40)):
        quality = judge.perceived(group, NOTHING)
        rest = judged_group(group, judge(group, NOTHING)).scores - judge.config.scale * quality / quality.std()
        rows.append(rest - rest.mean())
    return np.concatenate(rows)


def test_worlds_share_no_noise_or_their_intervals_would_be_too_narrow():
    assert abs(np.corrcoef(noise(0), noise(1))[0, 1]) < 0.15
    assert np.corrcoef(noise(0), noise(0))[0, 1] == pytest.approx(1)


def test_reviews_of_different_worlds_propose_different_things():
    proposed = []
    for seed in (0, 1):
        groups = [World.make(seed).group(f"g{i}") for i in range(30)]
        proposed.append([Miner(wrong=1.0, junk=0.0)(g, judged_group(g, SimulatedJudge()(g, NOTHING))) for g in groups])
    assert sum(a == b for a, b in zip(*proposed, strict=True)) < 10


def test_rules_open_what_it_overlooks_and_wrong_ones_hurt():
    judge = SimulatedJudge()
    alone = rho(judge, NOTHING)
    assert rho(judge, shown(*rules_of([ASPECTS[i] for i in judge.config.blind]))) > alone + 0.05
    assert rho(judge, shown(*rules_of(DISTRACTORS))) < alone - 0.03
    seen = [a for i, a in enumerate(ASPECTS) if i not in judge.config.blind]
    assert rho(judge, shown(*rules_of(seen, "do not deduct points"))) < alone - 0.1
    assert abs(rho(judge, shown(*rules_of(seen))) - alone) < 0.05


@pytest.mark.parametrize("aspect", [*ASPECTS, *DISTRACTORS], ids=lambda a: a.tags[0])
def test_every_aspect_is_named_by_its_own_sentences_alone(aspect):
    import re

    every = [*ASPECTS, *DISTRACTORS]
    for sentence in aspect.conditions:
        assert [a for a in every if re.search(a.pattern, sentence)] == [aspect], sentence
        reviewed = review_rule(f"If {sentence}, deduct 10 points", aspect.tags)
        assert reviewed.accepted, reviewed.reason


def test_junk_is_refused():
    assert not [text for text in JUNK if review_rule(text, ("legs", "torso")).accepted]


def test_cases_of_the_same_scene_bring_its_weights_nearer():
    judge, group = SimulatedJudge(JudgeConfig(blind=(), caution=0.5)), GROUPS[0]
    own = [g for g in GROUPS[1:] if g.kind == group.kind][:4]
    cases = []
    for other in own:
        made = make_episode(judged_group(other, judge(other, NOTHING)), judge="j", time="now", options=EpisodeOptions())
        cases += [
            Prototype(prototype_id(other.id, c.hypothesis), c.reasoning, c.score, c.tags, c.photo, c.overlay)
            for c in made.prototypes
        ]
    true = WORLD.weights[group.kind]
    before, after = (judge.weights(group, context) for context in (NOTHING, MemoryContext((), tuple(cases))))
    assert np.linalg.norm(after / after.sum() - true) < 0.5 * np.linalg.norm(before - true)
    foreign = next(g for g in GROUPS if g.kind != group.kind)
    np.testing.assert_array_equal(judge.weights(foreign, MemoryContext((), tuple(cases))), before)


def test_its_position_bias_is_found_by_the_report_on_habits():
    judge = SimulatedJudge(JudgeConfig(position=9.0))
    calls = [[judge(g, NOTHING, repeat) for repeat in range(3)] for g in GROUPS]
    found = position_bias(calls, GROUP_SIZE)
    assert found.slope == pytest.approx(9.0, abs=4 * found.standard_error) and found.standard_error < 1


def test_the_loop_comes_out_the_same_and_leaves_its_memory_frozen(tmp_path):
    config = LoopConfig(episodes=25, held_out=8, seeds=rules_of(ASPECTS[:2]), controls=1)
    results = []
    for name in "ab":
        (tmp_path / name).mkdir()
        results.append(run_loop(WORLD, SimulatedJudge(), config, tmp_path / name))
    np.testing.assert_array_equal(results[0].held_out, results[1].held_out)
    hashes = set()
    for name in "ab":
        with Memory.open(tmp_path / name / "frozen.sqlite") as frozen:
            assert frozen.frozen and len(frozen.episodes()) == 25
            hashes.add(frozen.content_hash())
    assert len(hashes) == 1
    assert results[0].calls > 25 and results[0].prototypes > 20


def test_memory_and_reflection_raise_the_correlation_where_rules_describe_the_errors(tmp_path):
    config = LoopConfig(episodes=60, held_out=25, miner=Miner(wrong=0.0))
    result = run_loop(WORLD, SimulatedJudge(), config, tmp_path)
    assert result.held_out.mean() > result.bare.mean() + 0.08


def test_without_anything_to_learn_little_is_lost(tmp_path):
    (tmp_path / "deaf").mkdir()
    config = LoopConfig(episodes=40, held_out=25, miner=Miner(useless=True))
    result = run_loop(WORLD, SimulatedJudge(JudgeConfig(deaf=True)), config, tmp_path / "deaf")
    assert abs(result.held_out.mean() - result.bare.mean()) < 0.06
    wrong = replace(config, prototypes=0, miner=Miner(wrong=1.0, junk=0.0), seeds=rules_of(DISTRACTORS))
    (tmp_path / "wrong").mkdir()
    result = run_loop(WORLD, SimulatedJudge(), wrong, tmp_path / "wrong")
    assert result.held_out.mean() > result.bare.mean() - 0.06
