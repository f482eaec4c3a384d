"""What a label is held against depends on its own name and keypoints, and good labels reach it more often than bad."""

from dataclasses import replace

import pytest
import torch

from hmralign.cleaning.good_labels import good_labels_dropped
from hmralign.cleaning.reference import SampleReference
from hmralign.critics.catalogue import make_critic
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.scorer_checkpoint import SHIPPED_SCORERS, scorer_path
from hmralign.policies.catalogue import open_policy
from hmralign.structures import InputError
from support.synthetic_persons import BODY, exact, persons

NAMES = [f"person {n}" for n in range(6)]


@pytest.fixture(scope="module")
def reference():
    return SampleReference(open_policy("lite", BODY).diffusion(), 4, 1)


@pytest.fixture(scope="module")
def scorer():
    return make_critic("scorer", BODY, "mediapipe")


def test_neither_order_nor_company_matters(reference, scorer):
    seen = exact(persons(6)).observation
    together = reference.scores(scorer, seen, NAMES)
    turned = torch.tensor([5, 3, 1, 0])
    apart = reference.scores(scorer, seen[turned], [NAMES[i] for i in turned.tolist()])
    torch.testing.assert_close(apart, together[turned], atol=2e-5, rtol=0)
    other = replace(reference, seed=2).scores(scorer, seen, NAMES)
    assert not torch.allclose(other, together)


def test_no_samples_are_no_reference(reference):
    with pytest.raises(InputError, match="0 samples"):
        SampleReference(reference.policy, 0)


@pytest.mark.parametrize("scorer_name", SHIPPED_SCORERS)
def test_a_higher_threshold_drops_no_fewer_good_labels(scorer_name):
    weights = checkpoint_hash(scorer_path(scorer_name))
    for by_margin, low, high in ((True, -1.0, 1.0), (False, 0.0, 1.0)):
        shares = [good_labels_dropped(weights, low + (high - low) * n / 20, by_margin=by_margin) for n in range(21)]
        for split in ("lab/val", "wild/val"):
            values = [share[split] for share in shares]
            assert values == sorted(values) and values[0] == 0 and values[-1] == 1
    assert good_labels_dropped("other weights", 0.5, by_margin=False) == {}
