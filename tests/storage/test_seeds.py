import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.storage.seeds import derived_seed, seeded

names = st.lists(st.one_of(st.integers(), st.text(max_size=8)), max_size=4).map(tuple)


@given(st.integers(0, 2**70), names, st.integers(0, 2**70), names)
@settings(max_examples=200, deadline=None)
def test_a_seed_is_of_its_names_alone(seed, first, other_seed, second):
    assert derived_seed(seed, *first) == derived_seed(seed, *first)
    same = seed == other_seed and first == second and list(map(type, first)) == list(map(type, second))
    assert (derived_seed(seed, *first) == derived_seed(other_seed, *second)) == same
    assert 0 <= derived_seed(seed, *first) < 2**31


def test_names_are_told_apart_however_they_are_cut():
    cut = [("a", "b"), ("ab",), ("a, b",), ('a", "b',), ("a", "b", ""), (1,), ("1",), (11,), (1, 1), ()]
    assert len({derived_seed(0, *c) for c in cut}) == len(cut)
    assert derived_seed(1, 2) != derived_seed(2, 1)


def test_neighbours_do_not_share_draws():
    drawn = [torch.rand(4, generator=seeded(seed, "groups", f"p/{i}")) for seed in range(20) for i in range(50)]
    assert len({tuple(d.tolist()) for d in drawn}) == len(drawn)
    assert abs(float(torch.stack(drawn).mean()) - 0.5) < 0.02
