"""What a backward pass keeps is counted in bytes, each storage once."""

import torch
from torch import nn

from hmralign.training.saved_tensors import saved_bytes


def test_a_product_keeps_both_factors():
    a, b = (torch.ones(10, requires_grad=True) for _ in range(2))
    assert saved_bytes(lambda: a * b) == 2 * 10 * 4


def test_what_is_kept_twice_counts_once_and_weights_do_not_count():
    x = torch.ones(10, requires_grad=True)
    assert saved_bytes(lambda: (x * x) * x) == 10 * 4 + 10 * 4  # x and x * x
    layer = nn.Linear(3, 5, bias=False)
    seen = torch.ones(7, 3)
    assert saved_bytes(lambda: layer(seen), layer) == 7 * 3 * 4


def test_without_gradients_nothing_is_kept():
    a = torch.ones(10, requires_grad=True)
    with torch.no_grad():
        assert saved_bytes(lambda: a * a) == 0
