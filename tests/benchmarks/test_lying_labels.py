"""Labels that lie: who lies, and that each label is a candidate and stays one person's."""

import sys
from pathlib import Path

import numpy as np
import torch

from hmralign.policies.lite import LitePolicy
from hmralign.structures import PreferenceGroups
from support.synthetic_persons import BODY, persons, seeded, tiny_model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import lying_labels

EXAMPLE = persons(40)


def test_who_lies_at_a_small_share_lies_in_the_same_way_at_a_larger_one():
    few, many = (lying_labels.planted(EXAMPLE, share, 0.4) for share in (0.2, 0.4))
    assert [int((few.lie == n).sum()) for n in range(4)] == [2, 2, 2, 2]
    assert [int((many.lie == n).sum()) for n in range(4)] == [4, 4, 4, 4]
    lies = few.lie >= 0
    assert np.array_equal(few.lie[lies], many.lie[lies])
    assert torch.equal(few.annotation.joints[lies], many.annotation.joints[lies])
    assert torch.equal(many.annotation.joints[many.lie < 0], EXAMPLE.annotation.joints[many.lie < 0])
    moved = (many.annotation.joints - EXAMPLE.annotation.joints).norm(dim=-1).amax(-1)
    assert bool((moved[many.lie >= 0] > 0).all())


def test_nobody_lies_at_share_zero():
    labels = lying_labels.planted(EXAMPLE, 0.0, 0.4)
    assert torch.equal(labels.annotation.joints, EXAMPLE.annotation.joints) and (labels.lie == -1).all()


def test_only_rows_that_lies_may_harm_are_asked_for_without_lies():
    args = type("Args", (), {"shares": [0.0, 0.4], "rows": None})
    at = {share: {row.name for row in lying_labels.rows_at(args, share)} for share in args.shares}
    assert at[0.0] & at[0.4] == {row.name for row in lying_labels.rows() if row.store == "labels"
                                 and row.critic == lying_labels.SCORER}  # fmt: skip
    assert at[0.0] | at[0.4] == {row.name for row in lying_labels.rows()}


def test_a_label_joins_its_person_as_the_last_hypothesis():
    policy = LitePolicy(tiny_model(), BODY)
    seen = EXAMPLE.observation
    x_0 = policy.sample(policy.context(seen), 2, seeded(0))
    groups = PreferenceGroups(tuple(map(str, range(40))), x_0, policy.to_body(x_0, seen), EXAMPLE)
    labels = lying_labels.planted(EXAMPLE, 0.4, 0.4).annotation
    joined = lying_labels.with_candidate(policy, groups, labels)
    assert joined.x_0.shape[1] == 3 and torch.equal(joined.x_0[:, :2], x_0)
    torch.testing.assert_close(joined.hypotheses.joints[:, 2], labels.joints, atol=1e-3, rtol=0)
    assert torch.equal(joined.example.annotation.joints, labels.joints)
    back = policy.to_body(joined.x_0[:, 2:], seen).joints[:, 0]
    relative = (back - back[:, :1]) - (labels.joints - labels.joints[:, :1])
    assert float(relative.norm(dim=-1).mean()) < 0.05  # shapes are the model's own
