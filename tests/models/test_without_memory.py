"""A network without memory has the names, shapes and dtypes of the one with memory, and torch's compiler stays away."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from hmralign.models.scorer import Scorer, ScorerConfig
from hmralign.models.without_memory import without_memory
from support.synthetic_persons import tiny_model


@pytest.mark.parametrize(
    "build", [tiny_model, lambda: Scorer(ScorerConfig(width=32, depth=1, context_width=16, context_depth=1))]
)
def test_names_shapes_and_dtypes_are_those_of_the_network(build):
    with without_memory():
        bare = build().state_dict()
    whole = build().state_dict()
    assert {n: (t.shape, t.dtype) for n, t in bare.items()} == {n: (t.shape, t.dtype) for n, t in whole.items()}
    assert all(tensor.is_meta for tensor in bare.values())


def test_numbers_are_left_out_and_other_functions_are_as_they_were():
    with without_memory():
        drawn = nn.Parameter(0.02 * torch.randn(3, 4, generator=None))
        assert drawn.is_meta and drawn.shape == (3, 4) and nn.init.normal_(drawn) is drawn
        assert torch.zeros(2, dtype=torch.int64).dtype == torch.int64
    assert not torch.randn(2).is_meta and torch.equal(2 * torch.ones(2), torch.full((2,), 2.0))


def test_opening_what_is_shipped_loads_no_compiler():
    code = (
        "import sys\n"
        "from hmralign.body.free_body import load_free_body\n"
        "from hmralign.critics.catalogue import make_critic\n"
        "from hmralign.policies.catalogue import open_policy\n"
        "body = load_free_body('3k5')\n"
        "for name in ('lite', 'lite-lab', 'pixel'): open_policy(name, body)\n"
        "for name in ('scorer', 'scorer-lab', 'mix', 'silhouette'): make_critic(name, body, 'mediapipe')\n"
        "print(*sorted({'torch._dynamo', 'sympy', 'scipy.optimize', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
