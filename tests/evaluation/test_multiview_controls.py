"""Controls: the nearest front is found, the central body is central, and a known person retrieves itself."""

import pytest
import torch

from hmralign.evaluation.multiview_controls import at_random, most_central, one_step, retrieved
from hmralign.structures import InputError
from support.tiny_views import TinyViews, tiny_persons


def test_a_known_front_retrieves_its_own_person_whatever_is_in_other_views():
    bank = tiny_persons(9)
    asked = bank.pixels[[4, 1], 0].float() + 0.01
    assert retrieved(asked, bank).tolist() == [4, 1]
    with pytest.raises(InputError, match="no training person"):
        retrieved(asked, bank[:0])


def test_the_central_body_is_the_one_nearest_to_all():
    bank = tiny_persons(5)
    bank.joints[3] = bank.joints[[0, 1, 2, 4]].mean(0)
    assert most_central(bank) == 3


def test_random_bodies_are_the_same_for_the_same_seed():
    bank = tiny_persons(5)
    first = at_random(20, bank, 0)
    assert torch.equal(first, at_random(20, bank, 0)) and len(set(first.tolist())) > 2
    assert not torch.equal(first, at_random(20, bank, 1))


def test_one_call_sees_noise_and_not_zeros():
    """At the last time the network has seen noise alone; of zeros it made nothing that a judge could read."""
    seen = []

    class Watched(TinyViews):
        def predict_x_0(self, x_t, t, context):
            seen.append((x_t, t))
            return super().predict_x_0(x_t, t, context)

    persons = tiny_persons(40)
    views = one_step(Watched(), persons)
    assert views.shape == persons.pixels.shape
    noise = torch.cat([x_t for x_t, _ in seen])
    assert abs(float(noise.std()) - 1) < 0.05 and {int(t.min()) for _, t in seen} == {99}
    assert torch.equal(views, one_step(Watched(), persons)) and not torch.equal(views, one_step(Watched(), persons, 1))
