"""Codes are running means of their tokens, dead ones start anew, and gradients pass through."""

import torch

from hmralign.models.language.codebook import Codebook


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_code_is_the_nearest():
    codebook, tokens = Codebook(20, 3), draw(6, 5, 3)
    assert torch.equal(codebook.nearest(tokens), torch.cdist(tokens.flatten(0, 1), codebook.codes).argmin(1).view(6, 5))


def test_the_gradient_passes_straight_through():
    codebook, tokens = Codebook(20, 3), draw(7, 3).requires_grad_()
    quantized = codebook(tokens)
    torch.testing.assert_close(quantized, codebook.codes[codebook.nearest(tokens)])
    weight = draw(7, 3, seed=1)
    (quantized * weight).sum().backward()
    assert tokens.grad is not None and torch.equal(tokens.grad, weight)


def test_codes_become_the_means_of_their_tokens():
    codebook, generator = Codebook(2, 2), torch.Generator().manual_seed(0)
    centres = torch.tensor([[5.0, 0.0], [-5.0, 0.0]])
    codebook.codes.copy_(centres * 0.5)
    codebook.sums.copy_(centres * 0.5)
    tokens = centres.repeat(50, 1) + 0.1 * draw(100, 2)
    for _ in range(200):
        perplexity = codebook.update(tokens, codebook.nearest(tokens), decay=0.9, dead_below=0.01, generator=generator)
    means = torch.stack([tokens[::2].mean(0), tokens[1::2].mean(0)])
    torch.testing.assert_close(codebook.codes, means, atol=1e-4, rtol=0)
    assert abs(perplexity - 2.0) < 1e-5


def test_codes_that_nobody_uses_start_anew_at_tokens():
    codebook, tokens = Codebook(8, 2), draw(30, 2) + 100.0
    kept = codebook.codes.clone()
    first = codebook.update(
        tokens, codebook.nearest(tokens), decay=0.0, dead_below=0.5, generator=torch.Generator().manual_seed(0)
    )
    assert abs(first - 1.0) < 1e-4  # all tokens far away had one code
    dead = ~torch.isclose(codebook.codes, tokens.mean(0)).all(1)
    assert dead.sum() == 7 and not torch.isclose(codebook.codes[dead], kept[dead]).any()
    away = (codebook.codes[dead][:, None] - tokens).norm(dim=-1)
    assert (away.amin(1) < 1e-4).all()


def test_no_code_is_reset_where_none_is_dead():
    codebook, tokens = Codebook(4, 2), draw(10, 2)
    unused = ~torch.isin(torch.arange(4), codebook.nearest(tokens))
    before = codebook.codes.clone()
    codebook.update(tokens, codebook.nearest(tokens), decay=0.9, dead_below=0.0, generator=torch.Generator())
    torch.testing.assert_close(codebook.codes[unused], before[unused])
