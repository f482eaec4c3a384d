"""What sentences that a user types do to bodies recovered from photos: whether they become true, and what moves.

    python benchmarks/language/typed_sentences.py --photos DIR [--out docs/results/typed_sentences] [--pictures DIR]

The photos are not part of the repository; without them the script says so and writes nothing. The first person of every
photo is recovered with the shipped weights and refined by one sentence at a time, as `person.refine(text=...)` does it:
with the weights that it has for typed words, and with `keypoint_weight=0`, where words win.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from hmralign import Recoverer
from hmralign.reports.markdown_table import markdown_table

SENTENCES = {
    "skier.jpg": (
        "left hand in front of the torso", "right forearm towards the camera", "left hand above the head",
        "right hand behind the back",
    ),
    "baseball.jpg": (
        "left forearm towards the camera", "left hand in front of the torso", "right hand higher than the left hand",
        "right hand closer to the camera than the left hand",
    ),
    "gym_pair_t050_m01.jpg": (
        "the right arm is raised", "left hand in front of the torso",
        "left knee closer to the camera than the right knee", "left hand above the head",
    ),
}  # fmt: skip
"""Sentences on depth, which keypoints allow, and some that they contradict."""

ENDS = {"head": 15, "left_arm": 22, "right_arm": 23, "left_leg": 10, "right_leg": 11}
"""Joint at the end of each limb."""

HEAD = """# Typed sentences on photos

First person of each photo, recovered with the shipped weights (M = {hypotheses}); one sentence at a time. `truth` is
the soft truth of the statement, 0 to 1, of the body before and after; above 0.5 it holds. `named`: how far the end of
the named limb moved against the pelvis, cm; `others`: the end that moved most among the other limbs and the head. The
last two columns are of the same sentence with `keypoint_weight=0`. `left out`: the notes say that the keypoints speak
against the sentence.

    python benchmarks/language/typed_sentences.py --photos DIR
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--hypotheses", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("docs/results/typed_sentences"))
    parser.add_argument(
        "--pictures", type=Path, default=None, help="folder for reports with pictures; none unless said"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    missing = [name for name in SENTENCES if not (args.photos / name).is_file()]
    if missing:
        print(f"skipped: {args.photos} lacks {', '.join(missing)}")
        return
    rows = list(measured(args.photos, args.hypotheses, args.pictures))
    record = {"settings": {"hypotheses": args.hypotheses}, "rows": rows}
    args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    page = HEAD.format(hypotheses=args.hypotheses) + "\n" + table(rows) + "\n"
    args.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def measured(photos: Path, hypotheses: int, pictures: Path | None) -> Iterator[dict]:
    """One row per photo and sentence."""
    with Recoverer.load(num_hypotheses=hypotheses) as recoverer:
        for name, sentences in SENTENCES.items():
            person = recoverer(photos / name)[0]
            for sentence in sentences:
                refined, alone = person.refine(text=sentence), person.refine(text=sentence, keypoint_weight=0.0)
                if pictures is not None:
                    place = f"{Path(name).stem}_{sentence.replace(' ', '_')}"
                    refined.save(pictures / place, overwrite=True)
                    alone.save(pictures / f"{place}_words_win", overwrite=True)
                yield {
                    "photo": Path(name).stem, "sentence": sentence,
                    "default": effect(refined), "words_win": effect(alone),
                    "left_out": any("keypoints speak against" in note for note in refined.notes),
                }  # fmt: skip


def effect(refined) -> dict:
    """Truth before and after, and how far the ends of limbs moved against the pelvis, cm."""
    ((statement, (before, after)),) = refined.statements.items()
    joints = [refined.joints(which) - refined.joints(which)[:1] for which in ("before", "after")]
    away = 100 * (joints[1] - joints[0]).norm(dim=-1)
    named = next((limb for limb in ENDS if limb == "_".join(limb_of(statement))), None)
    assert named is not None, f"{statement} names no limb"
    others = max(float(away[joint]) for limb, joint in ENDS.items() if limb != named)
    return {
        "truth": [round(before, 2), round(after, 2)], "named_cm": round(float(away[ENDS[named]]), 1),
        "others_cm": round(others, 1),
    }  # fmt: skip


def limb_of(statement: str) -> tuple[str, str]:
    """Side and limb that a statement's id begins with."""
    side, first = statement.split("_")[:2]
    return side, "leg" if first in ("knee", "foot", "thigh", "shin", "leg") else "arm"


def table(rows: list[dict]) -> str:
    """The table of the page."""
    cells = []
    for row in rows:
        default, words = row["default"], row["words_win"]
        cells.append([
            row["photo"], row["sentence"], span(default["truth"]), str(default["named_cm"]), str(default["others_cm"]),
            "yes" if row["left_out"] else "", span(words["truth"]), f"{words['named_cm']} / {words['others_cm']}",
        ])  # fmt: skip
    header = ["photo", "sentence", "truth", "named", "others", "left out", "truth, words win", "named / others"]
    return markdown_table(header, cells, words=2)


def span(truth: list[float]) -> str:
    """Before and after."""
    return "{:.2f} -> {:.2f}".format(*truth)


if __name__ == "__main__":
    main()
