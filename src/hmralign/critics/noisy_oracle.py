"""A critic of a given quality: the oracle with so much noise that it orders as well as a given rank correlation says.

For asking what a critic that good would be worth before one exists. The answer is **optimistic**: the errors of this
critic are independent from one hypothesis to the next and know nothing of the picture. Real critics err together -
they like the same wrong depth in every hypothesis of a group - and what is trained on them learns those errors.

    name in code            symbol
    normal_scores           a_i = ppf((rank_i - 3/8) / (M + 1/4)) over its spread      Blom 1958
    score                   s_i = r a_i + sqrt(1 - r^2) e_i,  e_i ~ N(0, 1)
    expected_spearman       rho(r, M), exact for a group of M

Of two items, i has the larger score with probability ndtr(r (a_i - a_j) / sqrt(2 (1 - r^2))); these add to the
expected rank of each item, in which Spearman's coefficient is linear. In a large group that tends to the relation of
a bivariate normal distribution, r = 2 sin(pi rho / 6) (Pearson 1907), which for M = 4 gives 0.535 instead of 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import root_scalar
from scipy.special import ndtr, ndtri
from torch import Tensor

from hmralign.critics.controls import OracleCritic
from hmralign.critics.draws import Generators, drawn
from hmralign.critics.setting import CriticSetting
from hmralign.structures import Example, Hypotheses, InputError


@dataclass(frozen=True)
class NoisyOracleCritic:
    """Scores whose rank correlation with the oracle's is `correlation`, 0 to 1, on average over groups.

    A score is a standard normal number that says where a hypothesis stands in its group, so unlike other critics'
    it depends on the rest of the group and knows no difference between a group of good and one of bad hypotheses. At
    correlation 1 the order is the oracle's. Each call draws anew from the generators. Groups with ties in the oracle
    correlate a little less. Raises `InputError` for a correlation outside of [0, 1].
    """

    generators: Generators
    correlation: float
    oracle: OracleCritic = OracleCritic()  # noqa: RUF009 - it is frozen

    needs_truth = True

    def __post_init__(self) -> None:
        if not 0 <= self.correlation <= 1:
            raise InputError(f"a noisy oracle has correlation {self.correlation}; expected a number from 0 to 1.")

    @property
    def name(self) -> str:
        """The oracle's name, `noisy`, and the correlation."""
        return f"{self.oracle.name}_noisy_{self.correlation:g}"

    def __call__(self, hypotheses: Hypotheses, example: Example) -> Float[Tensor, "person hyp"]:
        """Scores; raises `InputError` as the oracle and `drawn` do."""
        truth = self.oracle(hypotheses, example)
        noise = drawn(torch.randn, truth.shape, self.generators).to(truth)
        signal, spread = signal_and_noise(self.correlation, truth.shape[1])
        return signal * normal_scores(truth) + spread * noise


def normal_scores(values: Float[Tensor, "person hyp"]) -> Float[Tensor, "person hyp"]:
    """Normal scores of the ranks within each group, of mean 0 and variance 1; equal values share their mean rank.

    Where values are equal the variance is smaller, down to 0 for a group without an order and for a group of one.

    >>> normal_scores(torch.tensor([[7.0, 9.0, 7.0], [1.0, 1.0, 1.0]])).round(decimals=2)
    tensor([[-0.5600,  1.2200, -0.5600],
            [ 0.0000,  0.0000,  0.0000]])
    """
    below = (values[:, None, :] < values[:, :, None]).sum(-1)
    equal = (values[:, None, :] == values[:, :, None]).sum(-1)
    size = values.shape[1]
    rank = below + (equal + 1) / 2
    scores = torch.special.ndtri(((rank - 0.375) / (size + 0.25)).double()) / _spread(size)
    return scores.to(values)


@lru_cache(maxsize=64)
def signal_and_noise(correlation: float, group_size: int) -> tuple[float, float]:
    """r and sqrt(1 - r^2) for which groups of this size have this expected Spearman correlation.

    A group of one has no correlation, and r is then what was asked for.
    """
    if correlation in (0.0, 1.0):
        return float(correlation), 1.0 - correlation
    if group_size < 2:
        return correlation, float(np.sqrt(1 - correlation**2))
    # By the angle of the two: r alone loses its digits just before 1, where the correlation climbs steeply.
    bracket = (0.0, np.pi / 2 - 1e-12)
    angle = root_scalar(lambda t: expected_spearman(np.tan(t), group_size) - correlation, bracket=bracket).root
    return float(np.sin(angle)), float(np.cos(angle))


def expected_spearman(ratio: float, group_size: int) -> float:
    """Expected Spearman correlation of two or more scores with what they were made from; `ratio` is signal to noise."""
    scores = _blom(group_size) / _spread(group_size)
    place = np.arange(group_size) - (group_size - 1) / 2
    before = ndtr(ratio * (scores[:, None] - scores[None]) / np.sqrt(2))
    return float(12 / (group_size * (group_size**2 - 1)) * (place * before.sum(1)).sum())


def _blom(size: int) -> np.ndarray:
    """Normal scores of ranks 1 to `size`."""
    return ndtri((np.arange(1, size + 1) - 0.375) / (size + 0.25))


def _spread(size: int) -> float:
    return float(_blom(size).std()) if size > 1 else 1.0


def make_noisy_oracle(setting: CriticSetting) -> NoisyOracleCritic:
    """An oracle of that correlation with the truth. Raises InputError for one outside of [0, 1]."""
    return NoisyOracleCritic(setting.generators("oracle-noisy"), setting.correlation)
