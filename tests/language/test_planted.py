"""Planted errors come at their rate and are errors; exchanged descriptions are other persons'."""

import pytest
import torch

from hmralign.language.agreement import holds, wanted
from hmralign.language.caption import caption
from hmralign.language.planted import exchanged, planted_errors
from hmralign.language.reading import read_statements, read_text
from hmralign.language.statements import STATEMENTS
from hmralign.structures import InputError
from support.described_bodies import drawn_bodies

BODIES = drawn_bodies(80, 4)
TRUE = [[s.id for s, h in zip(STATEMENTS, row, strict=True) if h] for row in holds(*BODIES).tolist()]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


DESCRIBED = caption(BODIES[0], seeded(), *BODIES[1:])


def false_share(descriptions):
    signs = wanted(descriptions)
    wrong = (signs > 0) & ~holds(*BODIES) | (signs < 0) & holds(*BODIES)
    return (wrong.sum() / (signs != 0).sum()).item()


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 1.0])
def test_errors_come_at_their_rate(rate):
    planted = [planted_errors(d, rate, seeded(i), TRUE[i]) for i, d in enumerate(DESCRIBED)]
    assert false_share(planted) == pytest.approx(rate, abs=0.06 if 0 < rate < 1 else 0)
    if rate == 0:
        assert [p.statements for p in planted] == [d.statements for d in DESCRIBED]
    for p in planted:
        assert set(read_statements(p.text()).statements) == set(p.statements)


def test_the_same_seed_plants_the_same():
    assert planted_errors(DESCRIBED[0], 0.5, seeded(1)) == planted_errors(DESCRIBED[0], 0.5, seeded(1))


def test_what_has_no_opposite_is_said_not_to_hold():
    assert planted_errors(read_text("the arms are crossed"), 1, seeded()).statements == (("arms_crossed", False),)
    assert planted_errors(read_text("the arms are not crossed"), 1, seeded()).statements == (("arms_crossed", True),)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_outside_of_probabilities_are_refused(rate):
    with pytest.raises(InputError, match="expected 0 to 1"):
        planted_errors(DESCRIBED[0], rate, seeded())


def test_everybody_has_somebody_elses_description():
    for seed in range(5):
        others = exchanged(DESCRIBED, seeded(seed))
        assert all(a is not b for a, b in zip(others, DESCRIBED, strict=True))
        assert sorted(map(id, others)) == sorted(map(id, DESCRIBED))
    assert false_share(exchanged(DESCRIBED, seeded())) > 0.5
    with pytest.raises(InputError, match="at least two"):
        exchanged(DESCRIBED[:1], seeded())
