"""Controls: the nearest front is found, the central body is central, and a known person retrieves itself."""

import pytest
import torch

from hmralign.evaluation.multiview_controls import at_random, most_central, retrieved
from hmralign.structures import InputError
from support.tiny_views import tiny_persons


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
