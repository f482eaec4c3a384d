import torch

from hmralign.critics.consistency import ConsistencyCritic
from hmralign.critics.critic import judge
from hmralign.structures import Hypotheses
from hmralign.training.hypothesis_sets import WIDE_NOISE, perturbed_truth
from support.synthetic_persons import persons, seeded

PERSONS = persons(4)
BODIES = perturbed_truth(PERSONS.annotation, 5, WIDE_NOISE, seeded(0))


def group(joints):
    return Hypotheses(BODIES, joints)


def test_the_odd_one_out_is_last_and_place_does_not_matter():
    base = torch.randn(4, 1, 29, 3, generator=seeded(1)).expand(4, 5, 29, 3).clone()
    base[:, 3] += 0.3 * torch.randn(29, 3, generator=seeded(2))
    scores = judge(ConsistencyCritic(), group(base), PERSONS)
    assert (scores.argmin(1) == 3).all() and (scores <= 0).all()
    moved = base + torch.randn(4, 5, 1, 3, generator=seeded(3))
    torch.testing.assert_close(judge(ConsistencyCritic(), group(moved), PERSONS), scores, atol=1e-5, rtol=0)


def test_equal_hypotheses_agree_and_a_loop_says_the_same():
    same = torch.randn(4, 1, 29, 3, generator=seeded(1)).expand(4, 5, 29, 3)
    assert judge(ConsistencyCritic(), group(same), PERSONS).abs().max() < 1e-6
    joints = torch.randn(4, 5, 29, 3, generator=seeded(4))
    got = judge(ConsistencyCritic(), group(joints), PERSONS)
    for p in range(4):
        rooted = [h[:24] - h[0] for h in joints[p]]
        mean = sum(rooted) / 5
        for h in range(5):
            torch.testing.assert_close(got[p, h], -(rooted[h] - mean).norm(dim=1).mean())
