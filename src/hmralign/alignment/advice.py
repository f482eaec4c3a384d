"""Should a model be aligned, and with what? What was measured, as rows that a store of groups can be held against.

Each row says what somebody has, what to do with it, what that gave where it was measured, and what it costs. Nothing is
promised: all figures are of SynthWild, on the free body, and each names the page that has its command and intervals.
`hmralign align --advise` prints those that fit a store; `docs/recipes/should_i_align.md` shows all of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """A situation, and what was measured in it."""

    have: str
    do: str
    gave: str
    """Changes of the fused answer, mm, unless it says otherwise."""
    costs: str
    source: str
    """Page with figures, intervals and command, below `docs/`."""


ADVICE = {
    "labels": Advice(
        "3D labels of some persons, simpler ones too",
        "train on them, seen again as your photos see people (`train base`, or `align sft` with the truth as target)",
        "-20.3 (-27.0 to -14.0) on a model that had not seen them, and lab +15.2 forgotten; nothing on one that has "
        "(+0.1, -0.6 to +0.8)",
        "20 CPU s for 2,000 persons",
        "results/alignment_reading.md#labels-first",
    ),
    "scorer": Advice(
        "photos without labels, a learned scorer, and a model that has not seen the scorer's labels",
        "`align` as it is: DPO on the scorer",
        "-14.5 (-17.9 to -11.3), lab +10.6: 5.8 mm (0.7 to 11.1) less than the scorer's labels give when trained on",
        "20 CPU s for 2,000 persons, and their groups",
        "results/alignment_reading.md#labels-first",
    ),
    "scorer, saturated": Advice(
        "a learned scorer, and a model that has seen the labels the scorer learned from",
        "nothing: the answer does not get better",
        "DPO +1.0 (+0.1 to +2.0) with refinement, best-of-N +0.4 (-0.9 to +1.8); samples get surer, not righter",
        "",
        "results/align_lite.md",
    ),
    "evidence": Advice(
        "critics that see the 2D evidence or the body alone (reprojection, silhouette, plausibility, landmarks3d, mix)",
        "no alignment; weigh the hypotheses, or let refinement move them",
        "no more than training on the model's own mean (-1.9, with refinement -2.6)",
        "",
        "results/alignment_reading.md",
    ),
    "pixels": Advice(
        "a critic that looks at pixels (limb-tilt), and a model that does so too",
        "no alignment",
        "DPO +3.6 (+2.3 to +4.8), best-of-N +1.5 (+0.2 to +2.7)",
        "",
        "results/align_pixel.md",
    ),
    "pixels, keypoint base": Advice(
        "photos without labels, a base that sees pixels, and a base that sees keypoints alone",
        "use the base that sees pixels; do not align the other one to it",
        "the pixel base itself -4.0 (-6.3 to -1.9) against the keypoint base; DPO of the keypoint base by its answers "
        "-0.1 (-0.2 to +0.1), SFT -0.6 (-1.9 to +0.7), with exchanged pictures -0.3 (-1.1 to +0.5)",
        "",
        "results/moments_reading.md",
    ),
    "cameras": Advice(
        "other cameras of the same instant, calibrated, without labels",
        "fit one body to all views and train on the fits (SFT), at a rate of which a higher one is worse on "
        "validation; preference by nearness to the fits only when SFT gains no more",
        "on a model with a gap SFT -6.0 (-8.4 to -3.9) where DPO from the same start gives -3.6 (-4.6 to -2.5); where "
        "SFT is saturated DPO -1.7 (-2.3 to -1.1), SFT going on 0.0; on `lite` DPO -1.4 (-1.9 to -1.0), SFT +0.1 "
        "(-0.1 to +0.3); on a third base -3.5 (-4.6 to -2.4), SFT -0.5 (-1.3 to +0.2). Beyond what sharpening gives "
        "-1.8 (-3.0 to -0.8), -1.1 (-1.6 to -0.5), -1.6 (-2.4 to -0.7)",
        "40 CPU s for 2,000 persons, their groups and the fits",
        "results/other_cameras_reading.md",
    ),
    "frames": Advice(
        "video without labels: the frames around an instant",
        "answer the clip as a clip (`recover` links and smooths it); no alignment",
        "the smoothed track of frames within 0.4 s errs 147 mm where the frame's own answer errs 150, and orders "
        "samples no better than that answer (+0.03, -0.02 to +0.08); were the errors of frames independent "
        "+0.10 (+0.04 to +0.15). Trained on: DPO -0.1 (-0.3 to -0.0), as its controls; SFT +0.4 (-1.2 to +2.0)",
        "a group of samples for each frame",
        "results/moments_reading.md",
    ),
    "gravity": Advice(
        "which way is up in the photo (a phone's sense of it), without labels",
        "no alignment was measured; audit `GravityCritic` on poses like yours",
        "it orders samples at 0.20 where their own mean has 0.43, and adds +0.00 (-0.01 to +0.02) to the mean; on "
        "captured poses +0.05 (+0.04 to +0.07), with gravity known to 5 degrees",
        "",
        "results/moments_reading.md",
    ),
    "words": Advice(
        "descriptions of the poses, or a vision-language model",
        "audit them first (`critic audit`); then refine single answers with them (`refine`); no alignment was measured",
        "true captions, refinement: PA-MPJPE -12.9 % (-14.6 to -11.2); captions of others +0.3 % (-0.2 to +0.9)",
        "1 to 2 CPU s a person",
        "results/language_refinement.md",
    ),
    "a judge": Advice(
        "a judge of your own, and persons with truth to audit it on (`critic audit`)",
        "DPO where it orders clearly more than half of the pairs rightly; in three rounds if it is cheap",
        "59 % of the pairs: -1.9 (-2.8 to -1.0); 68 %: -3.2 (-4.3 to -2.2); 79 %: -5.0 (-6.5 to -3.7); the truth: -5.4 "
        "(-7.0 to -3.9); three rounds add a fifth to a half; 50 %: nothing",
        "one judgement of each group, three for three rounds",
        "results/judge_accuracy_reading.md",
    ),
    "bad labels": Advice(
        "pseudo-labels of which some are bad",
        "`clean` them, then train on what is left; no preference",
        "with 40 % bad, training on what is left is 4.4 mm (2.7 to 6.2) better than on all, and 14.4 (9.9 to 18.7) "
        "better than DPO with the labels among its candidates",
        "a score for each label and a group of samples for each person",
        "results/lying_labels_reading.md",
    ),
    "others": Advice(
        "bodies that another system predicted",
        "`align --other-model` trains on them; nothing was measured, so keep a control (best-of-N by a random critic)",
        "not measured",
        "",
        "prediction_files.md",
    ),
    "few": Advice(
        "fewer than 100 persons",
        "collect more: alignment refuses",
        "with 40 persons a model got worse",
        "",
        "alignment.md#how-many-persons",
    ),
}
"""In the order in which they are said."""

EVIDENCE_CRITICS = frozenset(("reprojection", "silhouette", "plausibility", "landmarks3d", "mix", "consistency"))
"""Critics that know nothing beyond the evidence, the body or the group itself."""
SCORERS = frozenset(("scorer", "scorer-lab"))


@dataclass(frozen=True)
class Situation:
    """What a store of groups says of somebody's situation."""

    critics: tuple[str, ...]
    has_truth: bool
    persons: int
    sampled_by_us: bool
    """Whether this package's weights sampled the groups; else another system proposed them."""
    trained_on: tuple[str, ...]
    """What the sampling weights were trained on."""
    fit_share: float | None
    """Median distance between keypoints and the group's best-fitting body, share of the box's longer side; None
    where nobody has a confident keypoint."""


def fitting(situation: Situation) -> list[str]:
    """Names of the rows of `ADVICE` that fit, in their order."""
    critics, found = set(situation.critics), []
    knows_all = any(source in ("prior:train", "shards:train") for source in situation.trained_on)
    if situation.has_truth:
        found.append("labels")
    if critics & SCORERS:
        found.append("scorer, saturated" if knows_all else "scorer")
    if critics & EVIDENCE_CRITICS:
        found.append("evidence")
    if "limb-tilt" in critics:
        found.append("pixels")
    if any(c == "oracle-language" or c.startswith("vlm") or c.endswith("descriptions") for c in critics):
        found.append("words")
    if any(c.startswith("vlm") or ("." in c and not c.endswith("descriptions")) for c in critics):
        found.append("a judge")
    if not situation.sampled_by_us:
        found.append("others")
    if situation.persons < 100:
        found.append("few")
    return found
