"""Sinusoids of tokens and cells."""

import math

import torch

from hmralign.models.paper.positions import cell_positions, token_positions


def test_tokens_have_sines_first_and_reach_the_lowest_frequency_exactly():
    table = token_positions(5, 8)
    for token in range(5):
        for k in range(4):
            phase = token / 10000 ** (k / 3)  # the divisor is half the channels minus one
            torch.testing.assert_close(table[token, [k, 4 + k]], torch.tensor([math.sin(phase), math.cos(phase)]))


def test_cells_have_their_column_first_and_sine_and_cosine_in_turns():
    table = cell_positions(3, 2, 8).view(3, 2, 8)
    for row in range(3):
        for column in range(2):
            for half, place in enumerate((column, row)):
                for k in range(2):
                    phase = place / 10000 ** (2 * k / 4)
                    found = table[row, column, 4 * half + 2 * k : 4 * half + 2 * k + 2]
                    torch.testing.assert_close(found, torch.tensor([math.sin(phase), math.cos(phase)]))
