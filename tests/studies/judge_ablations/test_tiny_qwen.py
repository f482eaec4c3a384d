"""The study over the true protocol, judged by a true Qwen3-VL class of random weights: nonsense in the right form."""

import json

import pytest
import yaml

from hmralign.cli.main import main
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.preferences.store import GroupStore
from hmralign.systems.group_preference.verdict_files import read_verdicts
from support.ablation_stores import stores, study

PERSONS, HYPOTHESES = 3, 3
ARMS = [{"name": "full"}, {"name": "no memory", "memory": False}, {"name": "DPO", "method": "dpo"}]
JUDGING = {
    # A random judge is all noise: without its test its groups would give no preference.
    "style": {"side": 64, "strip": 32, "views": "overlay"}, "merge": {"alpha": 1.0, "min_reliability": 0.0},
    "options": {"comment_length": 4, "temperature": 20.0},
}  # fmt: skip


@pytest.mark.slow
def test_three_arms_over_a_true_server(tmp_path, tiny_server, tiny_folder, capsys):
    made = stores(tmp_path, persons=PERSONS, hypotheses=HYPOTHESES)
    judge = {"base_url": tiny_server, "model": str(tiny_folder), "timeout": 60.0, "note": "random weights"}
    content = study(made, arms=ARMS, judge=judge, judging=JUDGING)
    content["explore"] = {"round_size": 1, "groups": 2, "retrieval": {"prototypes": 1}}
    content["scoring"] = {"retrieval": {"prototypes": 1}}
    content["align"]["dpo"] = {"top_k": 1}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    command = ["critic", "ablate", "--config", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    document = json.loads(capsys.readouterr().out)
    arms = document["arms"]
    assert arms["full"]["learnt"]["episodes"] == 2 and arms["full"]["learnt"]["cases"] > 0
    assert arms["DPO"]["scores"] == arms["full"]["scores"] != arms["no memory"]["scores"]
    lines = read_verdicts(GroupStore.open(made["score"]), arms["full"]["scores"])
    assert all(line["prototypes"] and line["rules"] for line in lines)
    assert {line["memory_sha256"] for line in lines} == {arms["full"]["learnt"]["memory_sha256"]}
    for arm in arms.values():
        assert arm["cost"]["calls"] > 0 and arm["cost"]["completion_tokens"] > 0
        weights = tmp_path / "out" / "steps" / arm["steps"]["align, seed 0"] / "model.safetensors"
        assert checkpoint_hash(weights) == arm["aligned"][0]["sha256"]
        assert set(arm["figures"]["raw"]["minus_base_mm"]) >= {"fused", "selected", "min_of_10"}
        assert -1 <= arm["against_truth"]["srcc"][0] <= 1
    report = (tmp_path / "out" / "gpa_ablations.md").read_text()
    assert "random weights" in report.splitlines()[2] and tiny_server in report.splitlines()[2]
    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["journal"] == document["journal"] and again == document
