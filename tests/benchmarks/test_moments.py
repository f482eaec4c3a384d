"""What the comparison of instants holds against one another, and how its page says it."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import moments


@pytest.mark.parametrize("evidence", ["time", "gravity"])
def test_every_kind_of_evidence_has_the_controls_and_is_used_as_label_and_as_critic(evidence):
    rows = moments.rows(evidence)
    assert len({row.key for row in rows}) == len(rows)
    names = [row.name for row in rows]
    assert "SFT on the same evidence" in names and set(moments.OURS[evidence]) <= set(names)
    for control in ("DPO towards the group's mean", "DPO towards a random own sample"):
        assert f"control: {control}" in names
    by_truth = [row.name for row in rows if row.store == "truth"]
    assert by_truth == ["DPO, truth"]


def test_a_direction_of_gravity_errs_by_as_much_as_it_says():
    up = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    up = up / up.norm(dim=-1, keepdim=True)
    assert torch.allclose(moments.heard(up, 0.0), up, atol=1e-6)
    for degrees in (5.0, 20.0):
        angle = torch.rad2deg(torch.acos((moments.heard(up, degrees) * up).sum(-1).clamp(-1, 1)))
        assert float(angle.square().mean().sqrt()) == pytest.approx(degrees, rel=0.05)


def test_clips_have_their_middle_in_the_middle_and_the_frames_that_their_names_say():
    for name, clip in moments.CLIPS.items():
        config = clip.config
        assert config.middle == len(config.seconds) // 2 == 4
        if "within" in name:
            said = float(name.split("within ")[1].split(" s")[0])
            assert config.seconds[-1] == pytest.approx(said, abs=0.005)


def test_the_table_of_an_audit_has_a_column_for_what_its_evidence_has():
    row = {"where": "w", "critic": "c", "label": 0.05, "truth": 0.7, "srcc": 0.5, "depth": 0.4, "picked": 0.15,
           "group": 0.17, "best": 0.12, "beyond": [0.1, 0.05, 0.15]}  # fmt: skip
    by_time, by_gravity = (moments.audit_table([row], e) for e in ("time", "gravity"))
    assert "label errs" in by_time and "| 50 |" in by_time and "+0.10 (+0.05 to +0.15)" in by_time
    assert "true body liked better, %" in by_gravity and "| 70 |" in by_gravity


def test_scores_in_standard_deviations_of_a_group_add_nothing_for_a_silent_one():
    scores = torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])
    found = moments.standard(scores)
    assert torch.allclose(found[0], torch.tensor([-1.0, 0.0, 1.0])) and found[1].abs().max() == 0
    assert math.isfinite(float(found.sum()))
