"""What the stages cost beside the public codes of the papers that this package follows.

    python benchmarks/speed/peers.py

Measures nothing: ours are the committed results of `hmralign bench speed`, `benchmarks/speed/paper_size.py` and
`benchmarks/speed/aims.py`, theirs (`THEIRS`) were measured once by running the modules of their public codes. Writes
docs/results/peers_speed.{json,md}.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NAME = "peers_speed"

Work = Literal["same", "less", "other"]
"""The same network or sum at the same size; the same network with part of the work left out; another way to the same
end."""

THEIR_MACHINE = (
    "the public codes of ScoreHypo (xy02-05/ScoreHypo, commit e66fc0f) and ADHMR (SMPLCap/ADHMR, commit 6939019), "
    "their modules run with random weights on two cores of an AMD EPYC with AVX-512 and bfloat16, torch 2.13.0 for "
    "CPUs, one thread, CPU time, medians of 5; a matrix product reached 92 GFLOP/s"
)

THEIRS = {
    "encoder": 0.578, "sampler 1": 0.215, "sampler 10": 1.33, "sampler 100": 14.3,
    "bodies 1": 0.010, "bodies 10": 0.017, "bodies 100": 0.093, "dpo 2": 7.2,
    "procrustes": 0.0564, "procrustes, batched": 0.0061, "whole 100": 15.0,
    "ScoreNet 10": 0.933, "HMR-Scorer 10": 0.813,
}  # fmt: skip
"""CPU seconds. Of a range (sampler, 0.204 to 0.226 and 1.26 to 1.40) the middle."""


@dataclass(frozen=True)
class Row:
    """One stage: CPU seconds of both, and what is not alike."""

    stage: str
    theirs: float
    ours: float
    work: Work
    difference: str

    @property
    def factor(self) -> float:
        """How many times less CPU time ours takes, of two machines whose matrix products are 3 % apart."""
        return self.theirs / self.ours


def rows(bench: dict[str, Any], paper: dict[str, Any]) -> list[Row]:
    """All rows, from the documents of `hmralign bench speed` and `paper_size.py`."""
    stages = {stage["name"]: stage["cpu_seconds"] for stage in bench["stages"]}
    sampler, lifting, training = paper["sampler"]["rows"], paper["lifting"], paper["training"]
    moved = (
        f"half the digits; with random weights joints move by {paper['bfloat16']['joints_mean_mm']:g} mm in the mean"
    )
    found = [Row("image encoder, one picture", THEIRS["encoder"], _seconds(paper["encoder"]["float32"]), "same", "")]
    for count in (1, 10, 100):
        name, theirs = f"M = {count}", THEIRS[f"sampler {count}"]
        found.append(Row(f"sampler, 4 calls, {name}", theirs, _seconds(sampler[name]["fast"]), "same", ""))
        half = _seconds(sampler[name]["fast bfloat16"])
        found.append(Row(f"sampler, 4 calls, {name}, bfloat16", theirs, half, "less", moved))
    for count in (1, 10, 100):
        ours = lifting[f"M = {count}"]["placed"] + lifting[f"M = {count}"]["mesh"]
        found.append(
            Row(
                f"samples to placed bodies with meshes, M = {count}", THEIRS[f"bodies {count}"], ours, "same",
                "the free body, about as many vertices and other joints",
            )
        )  # fmt: skip
    pairs = training["2 pairs (DPO)"]
    found += [
        Row(
            "DPO step, 2 pairs", THEIRS["dpo 2"], _seconds(pairs["encoder trained"]), "same",
            "the encoder is trained and run for the reference as well; another optimiser of the Adam family",
        ),
        Row(
            "DPO step, 2 pairs, contexts kept", THEIRS["dpo 2"], _seconds(pairs["kept contexts"]), "less",
            "the encoder is not trained, as their paper says and their code does not; no augmentation of pictures",
        ),
        Row(
            "Procrustes of 1000 poses", THEIRS["procrustes"], stages["metrics, PA-MPJPE of 2000 poses"] / 2, "same",
            f"theirs is a loop over poses; by one batched SVD it takes {1000 * THEIRS['procrustes, batched']:g} ms",
        ),
        Row(
            "M = 100 bodies of one person", THEIRS["whole 100"], _lite(stages), "other",
            "`lite` reads keypoints that a detector found, not pixels; the detector's time is not in it "
            "(docs/results/speed_aims.md has it)",
        ),
        Row(
            "scores of a group, theirs of 10 by ScoreNet, ours of 20", THEIRS["ScoreNet 10"],
            stages["critic scorer, 16 persons, G = 20"] / 16, "other", "ours sees keypoints, not pixels",
        ),
        Row(
            "scores of a group, theirs of 10 by HMR-Scorer, ours of 20", THEIRS["HMR-Scorer 10"],
            stages["critic scorer, 16 persons, G = 20"] / 16, "other", "ours sees keypoints, not pixels",
        ),
        Row(
            "DPO step, theirs of 2 pairs, ours (`lite`) of 128", THEIRS["dpo 2"], stages["step dpo, batch 256"],
            "other", "a denoiser of another size, on contexts that are kept",
        ),
    ]  # fmt: skip
    return found


def _seconds(measured: dict[str, float]) -> float:
    return measured["cpu_seconds"]


def _lite(stages: dict[str, float]) -> float:
    """Encoding, sampling, lifting, refinement and skinning of one person's 100 bodies."""
    return stages["context, 1 person"] + sum(
        stages[f"{stage}, 1 person, M = 100"] for stage in ("sample", "lift", "refine", "skin")
    )


def _short(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"


def page(found: list[Row], bench: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        "# What stages cost, beside the public codes of the papers",
        "",
        f"Theirs: {THEIR_MACHINE}.",
        "",
        f"Ours: {bench['machine']['processor']}, torch {bench['machine']['torch']}, one thread, CPU time; a matrix "
        f"product reached {bench['roofline']['gflops']:.0f} GFLOP/s. These are two machines: a factor of up to 1.2 "
        "either way says nothing.",
        "",
        "Made by `python benchmarks/speed/peers.py` from `bench_speed.json` and `paper_size.json`.",
        "",
        "**This says nothing about accuracy.** Rows of *other* work compare what a user waits for, not how good it is:",
        "weights are random on both sides, or small and trained on drawn persons, and no row has an error beside it.",
        "",
        "| stage | theirs, CPU ms | ours, CPU ms | factor | work | what is not alike |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for row in found:
        cells = row.stage, f"{1000 * row.theirs:,.1f}", f"{1000 * row.ours:,.1f}", _short(row.factor), row.work
        lines.append(f"| {' | '.join(cells)} | {row.difference} |")
    return "\n".join([
        *lines, "",
        "*same*: the same network, or the same sum, at the same size. *less*: the same with work left out; it",
        "is the rewrite's gain only as far as the last column lets it be. *other*: another way to the same end.",
        "",
        "- At the papers' size the same work costs the same, but for the loop over poses and many bodies' meshes:",
        "  both are bound by the matrix product. Few bodies take longer here.",
        "- What pays is less work: half the digits, and an encoder that is run once, or never.",
        "- Not compared: their detector (another one), a whole evaluation (theirs reads files that are not at hand),",
        "  training of a base, and anything on a GPU.",
        "",
    ])  # fmt: skip


def main() -> None:
    bench, paper = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("bench_speed", "paper_size"))
    found = rows(bench, paper)
    document = {
        "command": "python benchmarks/speed/peers.py", "theirs": THEIR_MACHINE,
        "rows": [{**asdict(row), "factor": round(row.factor, 3)} for row in found],
    }  # fmt: skip
    (RESULTS / f"{NAME}.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / f"{NAME}.md").write_text(page(found, bench))


if __name__ == "__main__":
    main()
