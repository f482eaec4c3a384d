"""Every record is taken apart and put together without a change, whatever its fields, its batch and its nesting."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.structures import InputError, TensorRecord


@dataclass(frozen=True)
class Inner(TensorRecord):
    points: Float[Tensor, "*batch 3"]
    number: Int[Tensor, "*batch"]


@dataclass(frozen=True)
class Outer(TensorRecord):
    inner: Inner
    values: Float[Tensor, "*batch rows columns"]
    more: Inner | None = None
    weights: Float[Tensor, "*batch"] | None = None


@dataclass(frozen=True)
class Named(TensorRecord):
    values: Tensor
    name: str


def inner(batch: tuple[int, ...], seed: int) -> Inner:
    draw = torch.Generator().manual_seed(seed)
    return Inner(torch.randn(*batch, 3, generator=draw), torch.randint(100, batch, generator=draw))


def outer(batch: tuple[int, ...], seed: int = 0, *, more: bool = True, weights: bool = True) -> Outer:
    draw = torch.Generator().manual_seed(1000 + seed)
    values = torch.randn(*batch, 2, 5, generator=draw)
    drawn = torch.randn(batch, generator=draw)
    return Outer(inner(batch, seed), values, inner(batch, seed + 1) if more else None, drawn if weights else None)


def same(a: TensorRecord, b: TensorRecord) -> bool:
    mine, its = a.tensors(), b.tensors()
    return type(a) is type(b) and list(mine) == list(its) and all(torch.equal(mine[n], its[n]) for n in mine)


batches = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
records = st.builds(outer, batches, st.integers(0, 99), more=st.booleans(), weights=st.booleans())


@given(records, st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_indexed_one_by_one_and_stacked_is_the_record(record, data):
    batch = record.inner.number.ndim
    dim = data.draw(st.integers(0, batch - 1))
    first = (slice(None),) * dim
    parts = [record[(*first, i)] for i in range(record.inner.number.shape[dim])]
    assert same(Outer.stack(parts, dim), record)


@given(records, st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_cut_in_slices_and_joined_is_the_record(record, data):
    dim = data.draw(st.integers(0, record.inner.number.ndim - 1))
    size = record.inner.number.shape[dim]
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, size), max_size=3))), size]
    first = (slice(None),) * dim
    parts = [record[(*first, slice(a, b))] for a, b in pairwise(cuts)]
    assert same(Outer.cat(parts, dim), record)


@given(records, st.data())
@settings(max_examples=60, deadline=None)
def test_an_index_reaches_every_tensor_and_nothing_behind_the_batch(record, data):
    size = record.inner.number.shape[0]
    rows = data.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=5))
    start = data.draw(st.integers(0, size))
    for index in (rows[0], slice(start, None), torch.tensor(rows), torch.arange(size) % 2 == 0, (slice(None), None)):
        got = record[index]
        assert list(got.tensors()) == list(record.tensors())
        assert all(torch.equal(got.tensors()[name], tensor[index]) for name, tensor in record.tensors().items())


@given(records)
@settings(max_examples=30, deadline=None)
def test_a_record_on_a_device_has_the_same_values(record):
    assert same(record.to("cpu"), record)
    there = record.to("meta").tensors()
    assert list(there) == list(record.tensors()) and all(tensor.is_meta for tensor in there.values())


@given(batches, st.data())
@settings(max_examples=60, deadline=None)
def test_rows_are_chosen_from_one_record_or_the_other(batch, data):
    a, b = outer(batch, 0), outer(batch, 50)
    shape = batch[: data.draw(st.integers(1, len(batch)))]
    rows = torch.rand(shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))) < 0.5
    got = a.where(rows, b)
    for name, tensor in got.tensors().items():
        assert torch.equal(tensor[rows], a.tensors()[name][rows])
        assert torch.equal(tensor[~rows], b.tensors()[name][~rows])


def test_a_function_is_given_the_same_field_of_every_record_and_none_stays_none():
    a, b = outer((4,), 0, more=False), outer((4,), 7, more=False)
    total = a.map(torch.add, b)
    assert total.more is None
    assert all(torch.equal(t, a.tensors()[n] + b.tensors()[n]) for n, t in total.tensors().items())


def test_tensors_have_the_names_of_their_fields():
    names = ["inner.points", "inner.number", "values", "more.points", "more.number", "weights"]
    assert list(outer((2,)).tensors()) == names
    assert list(outer((2,), more=False, weights=False).tensors()) == names[:3]


@pytest.mark.parametrize("together", [Outer.stack, Outer.cat])
def test_what_does_not_fit_together_is_refused_by_name(together):
    whole = outer((3,))
    for items in ([whole, outer((3,), weights=False)], [outer((3,), weights=False), whole]):
        with pytest.raises(InputError, match=r"Outer.weights is None in some"):
            together(items)
    with pytest.raises(InputError, match=r"Outer.more is None in some"):
        together([whole, outer((3,), more=False)])
    with pytest.raises(InputError, match=r"Inner.points has the shapes \(3, 3\) and \(3, 2, 3\)"):
        together([whole, outer((3, 2))])
    with pytest.raises(TypeError, match="Outer alone, got a Inner"):
        together([whole, whole.inner])
    with pytest.raises(TypeError, match="records of Outer, got a Inner"):
        together([whole.inner])
    with pytest.raises(InputError, match="counted from the first, got axis -1"):
        together([whole, whole], -1)
    with pytest.raises(InputError, match="no records of Outer"):
        together([])


def test_records_of_unequal_length_are_joined_and_not_stacked():
    a, b = outer((2,)), outer((3,), 5)
    assert same(Outer.cat([a, b])[:2], a) and same(Outer.cat([a, b])[2:], b)
    with pytest.raises(InputError, match=r"\(2, 3\) and \(3, 3\)"):
        Outer.stack([a, b])


def test_an_index_of_the_axes_behind_the_batch_is_refused():
    for index in (..., (..., None), (slice(None), ..., 0)):
        with pytest.raises(TypeError, match="Outer is indexed with"):
            outer((2, 2))[index]


@pytest.mark.parametrize(
    "use",
    [lambda r: r[0], lambda r: r.to("cpu"), lambda r: r.tensors(), lambda r: r.map(torch.neg), lambda r: r.stack([r])],
)
def test_a_field_that_is_no_tensor_is_refused(use):
    with pytest.raises(TypeError, match="Named holds a str"):
        use(Named(torch.zeros(2), "who"))
