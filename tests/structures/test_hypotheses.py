import torch

from hmralign.structures import BodyParams, Hypotheses
from support.synthetic_persons import persons


def test_persons_come_first_and_then_hypotheses():
    truth = persons(3).annotation
    group = Hypotheses(BodyParams.stack([truth.body] * 5, dim=1), torch.stack([truth.joints] * 5, dim=1))
    assert group.num_hypotheses == 5 and group.body.batch_shape == (3, 5)
    assert group[:, 1:3].num_hypotheses == 2 and group[2].num_hypotheses == 5
    one = group[1, 4:]
    assert torch.equal(one.joints[0], truth.joints[1]) and torch.equal(one.body.betas[0], truth.body.betas[1])
