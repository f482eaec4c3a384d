"""What the detector makes of SynthWild's renders: whom it finds, how far off it is, at which size of the picture.

    python benchmarks/noise/detector_on_renders.py --persons 200 --enlarged

The same persons of SynthWild's wild world at every size, with the same seed of the scene; `enlarged` pictures are drawn
at 160 pixels and made twice as large for the detector. Beside it the noise that training adds instead: measured
residuals alone, and with the failures (hidden halves, exchanged sides, ...) of the world's configuration.

Errors are distances from where the detector's noise model has the landmark (its systematic offsets moved the truth),
in shares of the longer side of the box of the true keypoints; body keypoints only (shoulders to ankles). `uncovered`
ones are in the photo and were not drawn as hidden. Writes docs/results/detector_on_renders.{json,md} after each size.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from hmralign.body.keypoint_bones import landmark_points
from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.data.synthetic.generator import Generator, SeenBody
from hmralign.data.synthetic.observation_noise import Reported, body_height, load_measured_noise
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.detection.catalogue import DetectorSetting, make_detector
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.person_mask import PersonMask
from hmralign.geometry.cameras import project, scaled_pixels
from hmralign.rendering.scenes.crops import SceneMix
from hmralign.storage.seeds import seeded
from hmralign.structures import Example
from hmralign.systems.synth.detected import Looking, detected_examples

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
BODY = slice(5, 17)
"""Shoulders to ankles."""
CROP = 160


class Enlarged:
    """A detector that is shown each picture `times` as large."""

    def __init__(self, detector: Detector, times: int) -> None:
        self.detector, self.times = detector, times

    def __call__(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        height, width = (self.times * side for side in image.shape[:2])
        larger = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
        return [self._smaller(person) for person in self.detector(larger)]

    def _smaller(self, person: Detection) -> Detection:
        def back(points: Any) -> np.ndarray:
            pixels = torch.as_tensor(np.asarray(points, np.float32)).view(-1, 2)
            return scaled_pixels(pixels, (1 / self.times, 1 / self.times)).numpy()

        mask = person.mask
        if mask is not None:
            x0, y0, x1, y1 = (float(edge) for edge in back(mask.region).flatten())
            mask = PersonMask(mask.alpha, (x0, y0, x1, y1))
        box = back(person.box).flatten()
        return Detection(back(person.keypoints), person.confidence, box, person.score, mask)

    def detect_in_box(self, image: UInt8[np.ndarray, "height width 3"], box: Any) -> Detection | None:
        raise NotImplementedError


@dataclass(frozen=True)
class Persons:
    """Who is drawn, where the landmarks are, and which of them can be seen."""

    example: Example
    seen: SeenBody
    landmarks: Float[Tensor, "n 27 2"]
    uncovered: Bool[Tensor, "n 27"]


def draw_persons(source: Generator, n: int) -> Persons:
    """Nobody twice; true landmarks in pixels, moved by the noise model's offsets."""
    example, seen = source.sample_distinct(n, seeded(0, "detector on renders"))
    assert example.annotation is not None and source.noise is not None
    betas, K = example.annotation.body.betas, example.observation.K
    points = landmark_points(source.model, betas, seen.global_rotmats, seen.joints, source.noise.offsets)
    landmarks = project(points, K)
    inside = ((landmarks > -0.5) & (landmarks < 2 * K[:, None, :2, 2] + 0.5)).all(-1)
    return Persons(example, seen, landmarks, inside & (example.observation.confidence > MIN_CONFIDENCE))


def row(what: str, persons: Persons, rows: Tensor, reported: Reported) -> dict[str, Any]:
    """Figures of the persons who were found."""
    truth, there = persons.landmarks[rows], persons.uncovered[rows][:, BODY]
    height = body_height(truth)[:, None]
    error = ((reported.keypoints - truth).norm(dim=-1) / height)[:, BODY]
    other = ((reported.keypoints - truth[:, MIRROR_KEYPOINTS]).norm(dim=-1) / height)[:, BODY]
    sure = reported.confidence[:, BODY] > MIN_CONFIDENCE
    used = error[there & sure]
    exchanged = (other.nan_to_num().sum(1) < 0.7 * error.sum(1)).float().mean()
    return {
        "what": what,
        "found": len(rows) / len(persons.landmarks),
        "sure": float(sure[there].float().mean()),
        "median": float(used.median()),
        "p90": float(used.quantile(0.9)),
        "beyond": float((used > 0.1).float().mean()),
        "exchanged": float(exchanged),
    }


def drawn_rows(source: Generator, persons: Persons) -> list[dict[str, Any]]:
    """What training adds instead of looking."""
    assert source.noise is not None
    everybody = torch.arange(len(persons.landmarks))
    draw = seeded(0, "measured noise")
    measured = source.noise.report(persons.landmarks, draw)
    failing = source.mix.failures.apply(measured, draw)
    return [
        row("measured noise alone", persons, everybody, measured),
        row("measured noise and failures", persons, everybody, failing),
    ]


def looked_row(what: str, source: Generator, persons: Persons, detector: Detector, side: int) -> dict[str, Any]:
    """What the detector says of pictures of that side."""
    looking, draw = Looking(detector, side, CROP), seeded(0, "scene")
    found, rows = detected_examples(source.model, persons.example, persons.seen, looking, SceneMix(), draw)
    return row(what, persons, rows, Reported(found.observation.keypoints, found.observation.confidence))


def earlier_facts(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with the rows of an earlier run on the same persons, whose other sizes are kept."""
    there = json.loads(path.read_text()) if path.is_file() else {"rows": []}
    same = all(there.get(name) == value for name, value in facts.items())
    return {**facts, "rows": there["rows"] if same else []}


def page(facts: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# The detector on renders",
        "",
        f"{facts['persons']} persons of SynthWild's wild world, the detector `{facts['detector']}` with one look at",
        "the whole picture. Errors of shoulders to ankles that are in the photo and were not drawn as hidden, reported",
        "with confidence above 0.3, in % of the longer side of the box of the true keypoints; far: more than 10 % off.",
        "Made by `python benchmarks/noise/detector_on_renders.py`, which adds sizes to those that are there.",
        "",
        "| keypoints from | persons found | reported | median error | 90th percentile | far | sides exchanged |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {r['what']} | {100 * r['found']:.0f} % | {100 * r['sure']:.0f} % | {100 * r['median']:.1f} | "
            f"{100 * r['p90']:.1f} | {100 * r['beyond']:.0f} % | {100 * r['exchanged']:.0f} % |"
            for r in facts["rows"]
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure size after size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--sides", type=int, nargs="+", default=[160, 256, 320])
    parser.add_argument("--enlarged", action="store_true", help=f"also pictures of {CROP} pixels made twice as large")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    detector = make_detector("mediapipe", DetectorSetting(one_person=True))
    name = str(getattr(detector, "name", "mediapipe"))
    wild = world_generator("wild", "train")
    source = Generator(wild.model, wild.poses, wild.mix, load_measured_noise(name, photos=False))
    persons = draw_persons(source, args.persons)
    arms = [(f"the detector, {side} pixels", detector, side) for side in args.sides]
    if args.enlarged:
        arms.append((f"the detector, {CROP} pixels enlarged to {2 * CROP}", Enlarged(detector, 2), CROP))
    facts = earlier_facts(args.out / "detector_on_renders.json", {"persons": args.persons, "detector": name})
    rows = {row["what"]: row for row in [*facts["rows"], *drawn_rows(source, persons)]}
    for what, looks, side in arms:
        rows[what] = looked_row(what, source, persons, looks, side)
        facts["rows"] = list(rows.values())
        (args.out / "detector_on_renders.json").write_text(json.dumps(facts, indent=2) + "\n")
        (args.out / "detector_on_renders.md").write_text(page(facts))
        print(page(facts), flush=True)


if __name__ == "__main__":
    main()
