"""Rows of the comparison: a method, the critic it follows, and how it is tuned.

| group | what |
| --- | --- |
| `control` | what moves the model without anybody's opinion |
| `objective` | every objective, each with three critics |
| `critic` | further critics, each with three objectives |
| `ours` | at most six recipes, named before anything was tuned |
| `ceiling` | the true labels of the same persons |

Ours, as they were named before tuning:

(a) refine, select, contract, by reprojection: the best four of each group moved onto the keypoints, each pulled half
    way to their mean, with the reprojection of x_0-hat in the loss (weight 3);
(b) the same with the scorer;
(c) DPO with the scorer, winner anchor and drift;
(d) the best four of each group by the scorer, each pulled half way to their mean, not refined;
(e) DiffusionNFT with the scorer and drift;
(f) the weights of best-of-N with the scorer, extrapolated: base + 1.5 (aligned - base).

Every row gets the same number of trials, three learning rates; methods with an unbounded or steep loss get lower ones.
The ceiling gets a fourth, higher rate and a longer run, since its optimum lay at the edge of an earlier grid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from hmralign.alignment.labelled import LabelledConfig
from hmralign.alignment.methods.best_of_n import BestOfNConfig
from hmralign.alignment.methods.dpo import DpoConfig
from hmralign.alignment.methods.group import GPA_CODE, GPA_PAPER, GroupConfig
from hmralign.alignment.methods.kto import KtoConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.systems.align.configuration import AlignConfig, RefreshConfig, recommended

RowGroup = Literal["control", "objective", "critic", "ours", "ceiling"]
Persons = Literal["wild", "labels"]

RATES = (1e-4, 3e-4, 1e-3)
LOW_RATES = (3e-5, 1e-4, 3e-4)
"""Learning rates of DPO, KTO, GPA literal and direct reward."""
CODE_RATE = (3e-4,)
"""What validation persons chose for `GPA code` with every critic."""

SCORER = "scorer-lab"
"""The learned critic of the rows named `scorer`: the one that was trained on what the base was trained on."""

CRITIC_OF = {"scorer": SCORER}
"""Critics whose rows have a shorter name."""

MAIN_CRITICS = ("oracle", "reprojection", "scorer")
FURTHER_CRITICS = ("silhouette", "plausibility", "mix", "oracle-noisy")
MAX_HELD_OUT = 64
"""Groups that a run only looks at: fewer than usual, for looks are a fifth of a run's time."""

NOT_AVAILABLE = {
    f"{method}, landmarks3d": "not available: SynthWild has no detector's 3D landmarks"
    for method in ("best-of-N", "DPO", "GPA sigmoid")
}
"""Rows that there cannot be, and why."""

BASE = "base"


@dataclass(frozen=True)
class Row:
    """A line of the tables."""

    name: str
    config: AlignConfig | None
    """What is run; None for the base itself and for rows made from another row's weights."""
    group: RowGroup
    critic: str | None = None
    """Scores that are trained on; None where none are."""
    matters: bool = False
    """Measured on every base with several fine-tuning seeds; else on the first base with one."""
    rates: tuple[float, ...] = RATES
    """Learning rates that are tried."""
    lengths: tuple[float, ...] = (1.0,)
    """Numbers of steps that are tried, as shares of the study's; with refreshed groups, of each round."""
    persons: Persons = "wild"
    """Persons that are trained on: those of the groups, or labelled ones of the base's own training data."""
    extrapolates: str | None = None
    """Row whose weights are taken further, instead of a training."""
    factor: float = 1.0
    """How far: base + factor (aligned - base)."""

    @property
    def key(self) -> str:
        """For names of folders."""
        return re.sub(r"[^A-Za-z0-9.]+", "_", self.name).strip("_")

    @property
    def trains(self) -> bool:
        """Whether there is anything to tune."""
        return self.config is not None or self.extrapolates is not None


@cache
def all_rows() -> tuple[Row, ...]:
    """The base first, then every row."""
    base = Row(BASE, None, "control", matters=True)
    return (base, *_controls(), *_objectives(), *_gpa_forms(), *_further_critics(), *_others(), *_ours(), _ceiling())


def chosen_rows(texts: tuple[str, ...]) -> tuple[Row, ...]:
    """Rows of the given names, or whose name contains one of the texts; the base always, all of them without any.

    A text that is the name of a row is that row alone: `DPO, oracle` is not `DPO, oracle-noisy`.
    """
    names = {row.name for row in all_rows()}
    return tuple(
        row
        for row in all_rows()
        if not texts or row.name == BASE or any(row.name == t or (t not in names and t in row.name) for t in texts)
    )


def _controls() -> list[Row]:
    def sft(**settings) -> AlignConfig:
        # Noise on the targets keeps a model that is trained on its own mean from collapsing.
        return _config("sft", settings=SftConfig(target_noise=0.1, **settings))

    labels = _config("sft", settings=SftConfig(target="truth"))
    chance = _config("best-of-n", "random", settings=BestOfNConfig(choose_at_random=True))
    refined = _config("best-of-n", "random", settings=BestOfNConfig(choose_at_random=True, refine_targets=True))
    return [
        Row("SFT own mean", sft(target="own_mean"), "control", matters=True),
        Row("SFT pseudo", sft(target="pseudo"), "control", matters=True),
        Row("SFT lab and broad labels", labels, "control", persons="labels"),
        Row("best-of-N, random critic", chance, "control", "random", matters=True),
        Row("best-of-N, random critic, refined", refined, "control", "random", matters=True),
    ]


def _objectives() -> list[Row]:
    kinds: dict[str, tuple[str, dict[str, Any], tuple[float, ...]]] = {
        "best-of-N": ("best-of-n", {}, RATES),
        "DPO": ("dpo", {}, LOW_RATES),
        "KTO": ("kto", {"settings": KtoConfig()}, LOW_RATES),
        "GPA literal": ("group", {"settings": GroupConfig(mode="literal")}, LOW_RATES),
        "GPA sigmoid": ("group", {"settings": GroupConfig(mode="sigmoid")}, RATES),
        "GPA group sigmoid": ("group", {"settings": GroupConfig(mode="group_sigmoid")}, RATES),
        "GPA hinge": ("group", {"settings": GroupConfig(mode="hinge")}, RATES),
        "GPA positive": ("group", {"settings": GroupConfig(mode="positive")}, RATES),
        "DiffusionNFT": ("group", {"settings": GroupConfig(mode="nft")}, RATES),
        "GPA sigmoid with drift": ("group", {"settings": GroupConfig(mode="sigmoid", kappa=0.1)}, RATES),
        "GPA sigmoid with anchor": ("group", {"settings": GroupConfig(mode="sigmoid", beta=10.0, anchor=2.0)}, RATES),
        "DPO with anchor": ("dpo", {"settings": DpoConfig(beta=10.0, anchor=2.0)}, LOW_RATES),
    }
    plain = ("best-of-N", "DPO", "GPA sigmoid")
    return [
        Row(f"{name}, {critic}", _config(method, critic, **changes), "objective", _critic(critic), name in plain, rates)
        for critic in MAIN_CRITICS
        for name, (method, changes, rates) in kinds.items()
    ]


def _gpa_forms() -> list[Row]:
    """GPA as printed and as its public code has it, and what of the latter is no preference.

    The code draws 20 of 22 stored hypotheses; of 16 that are 14. `half truth` is its labelled half of each batch. That
    and the control are not tuned: they have the rate that `GPA code` took with each of the critics.
    """
    code = replace(GPA_CODE, drawn=14)
    labelled = LabelledConfig(share=0.5)
    alone = _code_row("GPA code, denoising alone", "random", replace(code, preference=0.0), CODE_RATE)
    rows = [Row(f"GPA paper, {critic}", _config("group", critic, settings=GPA_PAPER), "objective", _critic(critic),
                rates=LOW_RATES) for critic in MAIN_CRITICS]  # fmt: skip
    rows += [_code_row(f"GPA code, {critic}", critic, code) for critic in MAIN_CRITICS]
    without_truth = [critic for critic in MAIN_CRITICS if critic != "oracle"]
    rows += [_code_row(f"GPA code, half truth, {c}", c, code, CODE_RATE, labelled=labelled) for c in without_truth]
    return [*rows, alone]


def _code_row(name: str, critic: str, settings: GroupConfig, rates: tuple[float, ...] = RATES, **changes) -> Row:
    config = _config("group", critic, settings=settings, **changes)
    config = replace(config, training=replace(config.training, loss_weight="eps"))
    return Row(name, config, "objective", _critic(critic), rates=rates)


def _further_critics() -> list[Row]:
    return [
        row
        for critic in FURTHER_CRITICS
        for row in (
            Row(f"best-of-N, {critic}", _config("best-of-n", critic), "critic", critic),
            Row(f"DPO, {critic}", _config("dpo", critic), "critic", critic, rates=LOW_RATES),
            Row(f"GPA sigmoid, {critic}", _config("group", critic), "critic", critic),
        )
    ]


def _others() -> list[Row]:
    """Followed rewards and refreshed groups."""
    rows = []
    for critic in ("reprojection", "scorer"):
        direct = _config("direct-reward", critic)
        rows.append(Row(f"direct reward, {critic}", direct, "objective", _critic(critic), rates=LOW_RATES))
        fresh = _config("best-of-n", critic, refresh=RefreshConfig(rounds=3))
        rows.append(Row(f"best-of-N refreshed, {critic}", fresh, "objective", _critic(critic), lengths=(1 / 3,)))
    return [*rows, *_others_by_scorer()]


def _others_by_scorer() -> list[Row]:
    """Rounds of the other two objectives, and the strength of sigmoid groups (30 in their other rows)."""
    rounds = RefreshConfig(rounds=3)
    sigmoid = GroupConfig(mode="sigmoid")
    configs = {
        "DPO refreshed": (_config("dpo", "scorer", refresh=rounds), LOW_RATES, 1 / 3),
        "GPA sigmoid refreshed": (_config("group", "scorer", refresh=rounds, settings=sigmoid), RATES, 1 / 3),
        **{
            f"GPA sigmoid, beta {beta:g}": (
                _config("group", "scorer", settings=replace(sigmoid, beta=beta)),
                RATES,
                1.0,
            )
            for beta in (3.0, 10.0, 100.0, 300.0)
        },
    }
    return [
        Row(f"{name}, scorer", config, "objective", SCORER, rates=rates, lengths=(length,))
        for name, (config, rates, length) in configs.items()
    ]


def _ours() -> list[Row]:
    contract = BestOfNConfig(top_k=4, refine_targets=True, fuse=0.5, reprojection=3.0)
    anchored = DpoConfig(beta=10.0, anchor=2.0, kappa=0.1)
    fuse, nft = BestOfNConfig(top_k=4, fuse=0.5), GroupConfig(mode="nft", kappa=0.1)

    def ours(name: str, method: str, critic: str, rates: tuple[float, ...] = RATES, **changes) -> Row:
        return Row(f"{name}, {critic}", _config(method, critic, **changes), "ours", _critic(critic), True, rates)

    further = Row(
        "best-of-N x 1.5, scorer", None, "ours", SCORER, matters=True, extrapolates="best-of-N, scorer", factor=1.5
    )
    return [
        ours("refine-select-contract", "best-of-n", "reprojection", settings=contract),
        ours("refine-select-contract", "best-of-n", "scorer", settings=contract),
        ours("DPO with anchor and drift", "dpo", "scorer", LOW_RATES, settings=anchored),
        ours("best-of-N, top 4 fused", "best-of-n", "scorer", settings=fuse),
        ours("DiffusionNFT with drift", "group", "scorer", settings=nft),
        further,
    ]


def _ceiling() -> Row:
    labels = _config("sft", settings=SftConfig(target="truth"))
    return Row(
        "SFT true labels (ceiling)", labels, "ceiling", matters=True, rates=(*RATES, 3e-3), lengths=(1.0, 3.0)
    )  # fmt: skip


def _config(method: str, critic: str | None = None, **changes) -> AlignConfig:
    """Recommended settings; the held-out critic is never the one that is trained on."""
    held_out = "reprojection" if critic == "plausibility" else "plausibility"
    named = {} if critic is None else {"critic": _critic(critic)}
    return recommended(method, held_out_critic=held_out, max_held_out=MAX_HELD_OUT, **named, **changes)


def _critic(name: str) -> str:
    return CRITIC_OF.get(name, name)


def row_named(name: str) -> Row:
    """A row by its name. Raises KeyError for a name that no row has."""
    return {row.name: row for row in all_rows()}[name]
