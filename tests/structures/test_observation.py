from dataclasses import replace

import pytest
import torch

from hmralign.structures import Example, InputError, Landmarks3d, Observation
from support.synthetic_persons import persons


def with_landmarks(n: int = 4) -> Example:
    points = torch.randn(n, 27, 3, generator=torch.Generator().manual_seed(0))
    return replace(persons(n), landmarks3d=Landmarks3d(points, torch.ones(n, 27)))


def test_a_person_of_an_example_has_its_own_truth_and_landmarks():
    example = with_landmarks()
    one = example[2]
    assert one.observation.batch_shape == ()
    assert all(torch.equal(tensor, example.tensors()[name][2]) for name, tensor in one.tensors().items())
    assert set(one.tensors()) == set(example.tensors()) > {"annotation.body.betas", "landmarks3d.points"}


def test_what_an_example_lacks_its_persons_lack():
    seen = Example(with_landmarks().observation)[1:3]
    assert seen.annotation is None and seen.landmarks3d is None and seen.observation.batch_shape == (2,)


def test_single_persons_make_a_batch():
    seen = persons(4).observation
    again = Observation.stack([seen[i] for i in range(4)])
    assert all(torch.equal(tensor, seen.tensors()[name]) for name, tensor in again.tensors().items())


def test_persons_with_and_without_truth_are_not_joined_in_silence():
    example = with_landmarks()
    with pytest.raises(InputError, match=r"Example.annotation is None in some"):
        Example.cat([example, replace(example, annotation=None)])
    with pytest.raises(InputError, match=r"Example.landmarks3d is None in some"):
        Example.cat([replace(example, landmarks3d=None), example])
