"""Two readings of one person as two modes of its group, where nobody can tell which of them has the sides right.

A detector that takes the back for the front gives keypoints of another body: all hypotheses are then wrong, and agree.
Where the keypoints themselves (`models.side_gate`) or a second network (`Detection.alternative`) say that this may
have happened, part of the group follows the other reading. The probability is

    logit p = gate(keypoints) + logit(prior)

with the share of people whose sides the detector exchanges as prior, or that among people whom its two networks read
differently. The answer (`fused`) follows one reading, never a mean of both: it is the detector's own, unless the
other's probability is beyond `turn_above`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.detection.detection import Detection
from hmralign.detection.observe import MIN_KEYPOINTS, observe
from hmralign.detection.sides import Part
from hmralign.hypotheses.estimate import Estimate
from hmralign.hypotheses.spread import joint_spread
from hmralign.models.side_gate import exchanged_sides
from hmralign.structures import BodyParams, Camera, Hypotheses, InputError, Observation

Sides = Literal["both", "as-read"]
Gate = Callable[[Observation], Float[Tensor, "*batch"]]
"""Log odds at even odds that all sides of persons are exchanged, such as `models.side_gate.SideGate`."""

Reading = Literal["as read", "sides exchanged", "other network"]

EXCHANGED_SHARE = {"mediapipe": 0.025, "mediapipe_heavy": 0.018}
"""Share of people whose body's sides a detector exchanges, measured on renders (docs/results/detector_noise*.md). The
gate is asked about no other: how often they err is not known, and keypoints that somebody gives are believed."""

WRONG_WHERE_NETWORKS_DISAGREE: dict[Part, float] = {"body": 0.15, "legs": 0.5, "arms": 0.5}
"""Share of people read wrongly by the heavy network among those whom the full one reads the other way round. Body: the
rates on renders alone (1.8 and 2.5 %) say 0.42; on photos of known 3D heavy was right in 15 of 15. Parts: the rates of
both are alike, and no photo speaks for either."""


@dataclass(frozen=True)
class SidesConfig:
    """What is done about sides that may be exchanged. Shares and probabilities in 0..1."""

    mode: Sides = "both"
    """`both`: the other reading is a second mode of the group where it is likely enough; `as-read`: never."""
    ask_above: float = 0.05
    """Probability of the other reading from which the group has it as a second mode."""
    least_share: float = 0.2
    """Share of the group that a second mode has at least."""
    turn_above: float = 0.9
    """Probability from which the answer follows the other reading."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if self.mode not in ("both", "as-read"):
            raise InputError(f"sides are '{self.mode}'; expected both or as-read")
        if not (0 <= self.ask_above <= 1 and 0 < self.least_share <= 0.5 and 0.5 <= self.turn_above <= 1):
            raise InputError(
                "sides: expected ask_above in 0..1, least_share above 0 and up to 0.5, turn_above in 0.5..1"
            )


@dataclass(frozen=True)
class OtherSides:
    """The other reading of a person (observation without batch axes), and how likely it is the right one."""

    probability: float
    reading: Reading
    parts: tuple[Part, ...]
    detector: str
    """Whose noise the other reading has."""
    noise_file: str | None
    observation: Observation


@dataclass(frozen=True)
class SideMode:
    """One reading of a person with its share of the group and its own answer, `cam` metres.

    `probability` is that of being the right one; None where nothing is known about it.
    `members` are the first and the number of its hypotheses in the group. `joints` are those of all hypotheses that
    were made of this reading, also those that are not in the group.
    """

    reading: Reading
    exchanged: tuple[Part, ...]
    probability: float | None
    members: tuple[int, int]
    fused: BodyParams
    fused_joints: Float[Tensor, "29 3"]
    joints: Float[Tensor, "hyp 29 3"]


def probability_exchanged(detection: Detection, observation: Observation, gate: Gate) -> float | None:
    """Probability that a person's reading has its sides, or those of a part, the wrong way round.

    `observation` is what `observe` makes of the detection. None where nothing is known about it: nobody measured how
    often the detector errs, or only a box is known.
    """
    name = _network(detection.detector)
    if not detection.has_keypoints or name not in EXCHANGED_SHARE:
        return None
    parts = () if detection.alternative is None else detection.alternative.exchanged
    prior = max((WRONG_WHERE_NETWORKS_DISAGREE[part] for part in parts), default=EXCHANGED_SHARE[name])
    asked = not parts or "body" in parts  # the gate knows nothing of legs or arms alone
    return exchanged_probability(float(gate(observation)) if asked else 0.0, prior)


def reading_probabilities(
    detection: Detection, observation: Observation, gate: Gate, config: SidesConfig
) -> tuple[float, float]:
    """Probabilities that the right reading of a person is the one with all sides exchanged, or the other network's.

    NaN where nothing is known about it, as everywhere with `as-read`, and for another network that says nothing else.
    Both are the same where the other network reads the whole body the other way round: they then speak of one mistake.
    It is never less likely than `ask_above`, as in a photo (`other_sides`).
    """
    other = detection.alternative
    if config.mode == "as-read" or (likely := probability_exchanged(detection, observation, gate)) is None:
        return math.nan, math.nan
    if other is None:
        return likely, math.nan
    likely = max(likely, config.ask_above)
    if "body" in other.exchanged:
        return likely, likely
    alone = probability_exchanged(replace(detection, alternative=None), observation, gate)
    return math.nan if alone is None else alone, likely


def other_sides(
    detection: Detection,
    observation: Observation,
    camera: Camera,
    probability: float | None,
    config: SidesConfig,
) -> OtherSides | None:
    """The other reading of a person, where it is likely enough to be shown; None where not.

    Where two networks disagree, the picture itself speaks for the other reading, which the gate does not see; it is
    then never less likely than `ask_above`.
    """
    other = detection.alternative
    if config.mode == "as-read" or probability is None or (other is None and probability < config.ask_above):
        return None
    if other is None:
        name, seen = _network(detection.detector), exchanged_sides(observation)
        return OtherSides(probability, "sides exchanged", ("body",), name, detection.noise_file, seen)
    seen = seen_by_other_network(detection, camera)
    if seen is None:
        return None
    probability = max(probability, config.ask_above)
    return OtherSides(probability, "other network", other.exchanged, _network(other.detector), None, seen)


def seen_by_other_network(detection: Detection, camera: Camera) -> Observation | None:
    """What `observe` makes of the reading of a person that another network has; None where there is no usable one."""
    other = detection.alternative
    if other is None or int((other.confidence > 0).sum()) < MIN_KEYPOINTS:
        return None
    return observe(replace(detection, keypoints=other.keypoints, confidence=other.confidence), camera)


def _network(detector: str) -> str:
    """Detections carry a version ("mediapipe-0.10.21")."""
    return detector.split("-")[0]


def exchanged_probability(logit: float, prior: float) -> float:
    """Probability of an exchange from log odds at even odds, and how often it happens."""
    return 1 / (1 + math.exp(-(logit + math.log(prior / (1 - prior)))))


def members_of_second(num_hypotheses: int, probability: float, config: SidesConfig) -> int:
    """How many hypotheses the less likely reading has: its probability, at least `least_share`, at most half.

    They come in pairs where there is room, as `lite` samples them from a photo and its mirror image: a mirrored photo
    then has the mirrored group.
    """
    if num_hypotheses < 4:
        return num_hypotheses // 2
    pairs = max(1, math.floor(min(max(probability, config.least_share), 0.5) * num_hypotheses / 2 + 0.5))
    return 2 * min(pairs, num_hypotheses // 4)


def one_mode(estimate: Estimate, probability: float | None) -> tuple[SideMode, ...]:
    """The mode of a person (no batch axes) whose group follows one reading."""
    group = estimate.hypotheses
    return (_mode("as read", (), probability, (0, group.num_hypotheses), estimate),)


def two_modes(
    as_read: Estimate, exchanged: Estimate, other: OtherSides, config: SidesConfig
) -> tuple[Estimate, tuple[SideMode, ...]]:
    """Two estimates of one person (no batch axes) as one whose group has both, the followed reading's members first.

    Each reading gives its first hypotheses, the zero-noise mode ahead; the answer is that of the followed reading's
    whole group. A group of one has no room for a second mode and stays as read.
    """
    count = as_read.hypotheses.num_hypotheses
    if count < 2:
        return as_read, one_mode(as_read, 1 - other.probability)
    turned = other.probability > config.turn_above
    second = members_of_second(count, 1 - other.probability if turned else other.probability, config)
    first = count - second
    main, minor = (exchanged, as_read) if turned else (as_read, exchanged)
    group = Hypotheses.cat([main.hypotheses[:first], minor.hypotheses[:second]])
    places = ((first, second), (0, first)) if turned else ((0, first), (first, second))
    modes = (
        _mode("as read", (), 1 - other.probability, places[0], as_read),
        _mode(other.reading, other.parts, other.probability, places[1], exchanged),
    )
    joined = Estimate(group, main.fused, main.fused_joints, joint_spread(group.joints))
    return joined, modes[::-1] if turned else modes


def _mode(
    reading: Reading, parts: tuple[Part, ...], probability: float | None, members: tuple[int, int], estimate: Estimate
) -> SideMode:
    group = estimate.hypotheses
    fused, joints = estimate.fused.to("cpu"), group.joints.cpu()
    return SideMode(reading, parts, probability, members, fused, estimate.fused_joints.cpu(), joints)


def followed_and_other(
    observation: Observation,
    estimate: Estimate,
    probabilities: Sequence[float | None],
    others: Sequence[OtherSides | None],
    config: SidesConfig,
    again: Callable[[Observation, OtherSides], Estimate],
) -> tuple[Estimate, Observation, list[tuple[SideMode, ...]]]:
    """The estimate of all persons with second modes, the readings that are followed, and the modes of each person.

    `again` estimates one person (a batch of one) from the other reading. Where no person has one, the estimate and the
    observation are those that were given.
    """
    singles = [estimate[i] for i in range(len(others))]
    readings = [observation[i] for i in range(len(others))]
    modes = [one_mode(single, None if p is None else 1 - p) for single, p in zip(singles, probabilities, strict=True)]
    for i, other in enumerate(others):
        if other is not None:
            made = again(Observation.stack([other.observation]), other)[0]
            singles[i], modes[i] = two_modes(singles[i], made, other, config)
            if modes[i][0].reading != "as read":
                readings[i] = other.observation
    if all(len(own) == 1 for own in modes):
        return estimate, observation, modes
    return Estimate.stack(singles), Observation.stack(readings), modes


def squared_distance_of_modes(modes: tuple[SideMode, ...]) -> Float[Tensor, " joint"]:
    """Squared distance (square metres) of each joint but the pelvis between the answers of two modes, from the pelvis.

    What being on the wrong side costs the answer of the other.
    """
    first, second = (mode.fused_joints[1:] - mode.fused_joints[:1] for mode in modes)
    return (second - first).square().sum(-1)


def mode_of_hypotheses(modes: tuple[SideMode, ...]) -> Int[Tensor, " hyp"]:
    """The number of the mode that each hypothesis of the group follows."""
    return torch.cat([torch.full((mode.members[1],), number) for number, mode in enumerate(modes)])
