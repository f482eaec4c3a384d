"""A study is read strictly, and each arm changes what it says and no more."""

from dataclasses import replace

import pytest
import yaml

from hmralign.critics.vlm.prompts import JudgeOptions
from hmralign.storage.presets import preset_path
from hmralign.structures import InputError
from hmralign.studies.judge_ablations.settings import PAPER_ARMS, Arm, read_study, study_from
from hmralign.systems.align.configuration import recommended
from hmralign.systems.group_preference.settings import ExploreConfig, JudgeConfig, ScoreConfig

SHIPPED = preset_path("ablate", "gpa-ablations")
LEAST = {"learn": "a", "score": "b", "measure": {"store": "c"}}


def arm(name: str, config=None) -> Arm:
    return next(a for a in (config or study_from(LEAST)).arms if a.name == name)


def test_the_least_study_is_the_papers_with_our_settings():
    config = study_from(LEAST)
    assert config.arms == PAPER_ARMS and config.reference.name == "full"
    assert config.explore == ExploreConfig() and config.scoring == ScoreConfig()
    assert config.align_config(arm("full"), "s", 0) == recommended("group", critic="s")
    assert config.align_config(arm("DPO"), "s", 0) == recommended("dpo", critic="s")


@pytest.mark.parametrize(
    ("name", "explore", "retrieval"),
    [
        ("full", {}, {}),
        ("DPO", {}, {}),
        ("no rule memory", {"rules": False}, {"rules": 0}),
        ("no prototype memory", {"prototypes": False}, {"prototypes": 0}),
        ("no reflection", {"reflection": False}, {}),
    ],
)
def test_an_arm_changes_one_thing(name, explore, retrieval):
    config = study_from(LEAST)
    scoring = config.scoring
    assert config.explore_config(arm(name)) == replace(config.explore, **explore)
    assert config.score_config(arm(name)) == replace(scoring, retrieval=replace(scoring.retrieval, **retrieval))


def test_random_rules_are_random_exploring_and_scoring():
    config = study_from(LEAST)
    explored, scored = config.explore_config(PAPER_ARMS[4]), config.score_config(PAPER_ARMS[4])
    assert explored.retrieval.selection.method == scored.retrieval.selection.method == "random"
    assert (config.explore.retrieval.selection.method, config.scoring.retrieval.selection.method) == (
        "ucb",
        "lower_bound",
    )


def test_what_is_said_of_the_judge_counts_exploring_and_scoring():
    config = study_from(
        {**LEAST, "judging": {"style": {"side": 64}, "options": {"temperature": 1.0}}, "preset": "paper"}
    )
    assert config.explore.judge == config.scoring.judge
    assert config.explore.judge.style.side == 64 and config.explore.judge.options.temperature == 1.0
    assert config.explore.judge.plan.design == "all" and config.explore.judge.options.preset == "paper"
    assert study_from(LEAST).explore.judge == JudgeConfig(options=JudgeOptions())


def test_settings_of_an_arm_come_last():
    content = {**LEAST, "align": {"training": {"steps": 7, "learning_rate": 1.0e-5}}, "arms": [
        {"name": "a"}, {"name": "b", "align": {"training": {"steps": 9}, "group": {"mode": "literal"}}}]}  # fmt: skip
    config = study_from(content)
    first, second = (config.align_config(a, "s", 3) for a in config.arms)
    assert (first.training.steps, second.training.steps, second.settings.mode) == (7, 9, "literal")
    assert second.training.learning_rate == 1e-5 and first.training.seed == second.training.seed == 3


def test_the_shipped_study_can_be_read():
    config = read_study(SHIPPED)
    assert [a.name for a in PAPER_ARMS if a not in config.arms] == [] and config.seeds == (0, 1, 2)
    assert config.first_rules and config.judge.base_url and config.measure.split == "wild/val"
    literal = next(a for a in config.arms if "eq. 6" in a.name)
    printed = yaml.safe_load(preset_path("align", "gpa-paper").read_text())
    found = config.align_config(literal, "s", 0)
    assert found.settings.mode == printed["group"]["mode"]
    assert found.training.learning_rate == printed["training"]["learning_rate"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learn": None}, "learn"),
        ({"measure": {}}, "either a split"),
        ({"measure": {"split": "wild/val"}}, "data folder"),
        ({"measure": {"store": "c", "hypotheses": 5}}, "at least 10"),
        ({"measur": {}}, "unknown key 'measur'"),
        ({"preset": "best"}, "preset"),
        ({"explore": {"judge": {}}}, "stands in `judging`"),
        ({"explore": {"round_sise": 1}}, "unknown key 'round_sise'"),
        ({"judge": {"url": "x"}}, "unknown key 'url'"),
        ({"seeds": []}, "seeds"),
        ({"align": {"training": {"steps": 0}}}, "steps must be positive"),
        ({"align": {"critic": "x", "method": "dpo"}}, "is a configuration of 'dpo'"),
        ({"arms": []}, "an arm that is aligned"),
        ({"arms": {"full": {}}}, "expected a list"),
        ({"arms": [{"rules": False}]}, "name is missing"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "two arms have the name 'a'"),
        ({"arms": [{"name": "a", "critic": "vlm"}]}, "there is no critic 'vlm'"),
        ({"arms": [{"name": "a", "critic": "mix", "rules": False}]}, "has no memory"),
        ({"arms": [{"name": "a", "memory": False, "rules": False}]}, "switches off a part"),
        ({"arms": [{"name": "a"}, {"name": "b", "method": "none", "critic": "mix"}]}, "aligned with nothing"),
        ({"arms": [{"name": "a", "method": "sft"}]}, "method"),
        ({"first_rules": [{"text": "x"}]}, "tags"),
        ({"first_rules": [{"text": "", "tags": ["arms"]}]}, "1 to 200 characters"),
    ],
)
def test_wrong_studies_are_refused_by_name(changes, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        study_from({**LEAST, **changes}, "study.yaml")


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(InputError, match="not a readable YAML"):
        read_study(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(InputError, match="expected keys"):
        read_study(tmp_path / "list.yaml")
