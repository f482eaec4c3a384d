"""The canary: if these pass a wrong shape through, every other test runs without shape checks."""

import pytest
import torch
from jaxtyping import TypeCheckError

from hmralign.geometry.cameras import project
from hmralign.structures import BodyParams


def test_a_function_refuses_a_wrong_shape():
    project(torch.ones(4, 3), torch.eye(3))
    with pytest.raises(TypeCheckError):
        project(torch.ones(4, 3), torch.eye(2))


def test_a_function_refuses_axes_that_disagree():
    with pytest.raises(TypeCheckError):
        project(torch.ones(5, 4, 3), torch.eye(3).expand(2, 3, 3))


def test_a_function_refuses_a_wrong_dtype():
    with pytest.raises(TypeCheckError):
        project(torch.ones(4, 3, dtype=torch.int64), torch.eye(3))


def test_a_structure_refuses_a_wrong_shape():
    with pytest.raises(TypeCheckError):
        BodyParams(torch.eye(3), torch.eye(3).expand(23, 3, 3), torch.zeros(10), torch.zeros(2))
