"""How many people the detector finds in the shared test photos; writes docs/results/detection_photos.{json,md}.

Truth is `benchmarks/data/photo_people.json`, boxed by eye. A person counts when the longer side of the box exceeds 25 %
of the image height. Detections on smaller people and on unboxed members of a crowd are neither right nor wrong. The
same photos mirrored and at half size show how much the figures owe to chance: thresholds were chosen on the originals.

    python benchmarks/photos/detection_photos.py [--photos FOLDER] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hmralign.body.skeleton import MIRROR_KEYPOINTS
from hmralign.detection.boxes import box_iou
from hmralign.detection.detection import Detection
from hmralign.detection.environment import detector_environment
from hmralign.detection.mediapipe_detector import MediapipeDetector

ROOT = Path(__file__).resolve().parents[2]
COUNTED_SHARE = 0.25
MIN_IOU = 0.5


def variant_of(image: np.ndarray, people: list[dict], ignore: list, variant: str) -> tuple[np.ndarray, list, list]:
    """The photo, its people and its crowd regions, mirrored or shrunk."""
    width = image.shape[1]
    if variant == "mirrored":

        def change(box: list[float]) -> list[float]:
            return [width - 1 - box[2], box[1], width - 1 - box[0], box[3]]

        image = np.ascontiguousarray(image[:, ::-1])
    elif variant == "half size":

        def change(box: list[float]) -> list[float]:
            return [v / 2 for v in box]

        image = np.asarray(Image.fromarray(image).reduce(2))
    else:

        def change(box: list[float]) -> list[float]:
            return box

    return image, [{**p, "box": change(p["box"])} for p in people], [change(b) for b in ignore]


def matched(boxes: list[np.ndarray], people: list[dict]) -> dict[int, int]:
    """Detection index of each person index, greedily by overlap."""
    pairs = sorted(
        ((box_iou(b, np.array(p["box"], float)), i, k) for i, b in enumerate(boxes) for k, p in enumerate(people)),
        reverse=True,
    )
    result: dict[int, int] = {}
    for iou, i, k in pairs:
        if iou >= MIN_IOU and k not in result and i not in result.values():
            result[k] = i
    return result


def judge(
    detector: MediapipeDetector, image: np.ndarray, people: list[dict], ignore: list
) -> tuple[dict, dict[str, Detection]]:
    """Counts for one image, and its detections by the person's name."""
    start = time.perf_counter()
    detections = detector(image)
    seconds = time.perf_counter() - start
    boxes = [d.box.astype(float) for d in detections]
    match = matched(boxes, people)
    counted = [k for k, p in enumerate(people) if longer_side(p["box"]) > COUNTED_SHARE * image.shape[0]]
    unmatched = [i for i in range(len(boxes)) if i not in match.values()]
    false = [i for i in unmatched if not any(inside(boxes[i], region) for region in ignore)]
    start = time.perf_counter()
    by_box = [detector.detect_in_box(image, np.array(p["box"], np.float32)) for p in people]
    row = {
        "people": len(counted),
        "found": sum(k in match for k in counted),
        "missed": [people[k]["id"] for k in counted if k not in match],
        "smaller_found": sum(k in match for k in range(len(people)) if k not in counted),
        "false": len(false),
        "seconds": round(seconds, 2),
        "found_in_given_box": sum(by_box[k] is not None for k in counted),
        "not_found_in_given_box": [people[k]["id"] for k in counted if by_box[k] is None],
        "box_seconds": round(time.perf_counter() - start, 2),
    }
    return row, {people[k]["id"]: detections[i] for k, i in match.items()}


def mirror_agreement(plain: Detection, mirrored: Detection, width: int) -> dict:
    """How far two readings of one person, plain and mirrored, lie apart; whether left and right were exchanged."""
    order = list(MIRROR_KEYPOINTS)
    back, back_confidence = mirrored.keypoints[order].copy(), mirrored.confidence[order]
    back[:, 0] = width - 1 - back[:, 0]
    sure = (np.minimum(plain.confidence, back_confidence) > 0.5)[:17]
    side = float(longer_side(plain.box.tolist()))
    straight = np.linalg.norm(plain.keypoints - back, axis=1)[:17][sure] / side
    crossed = np.linalg.norm(plain.keypoints - back[order], axis=1)[:17][sure] / side
    return {"gaps": straight.tolist(), "exchanged": bool(crossed.mean() < straight.mean())}


def longer_side(box: list[float]) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def inside(box: np.ndarray, region: list[float]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return region[0] <= x <= region[2] and region[1] <= y <= region[3]


def totals(rows: dict[str, dict]) -> dict:
    keys = ("people", "found", "smaller_found", "false", "found_in_given_box")
    result: dict = {k: sum(r[k] for r in rows.values()) for k in keys}
    result["median_seconds"] = float(np.median([r["seconds"] for r in rows.values()]))
    result["largest_seconds"] = max(r["seconds"] for r in rows.values())
    return result


def to_markdown(result: dict) -> str:
    lines = [
        "# People found in the test photos",
        "",
        f"Detector: {result['detector']}. Written by `benchmarks/photos/detection_photos.py`; truth boxed by eye in",
        "`benchmarks/data/photo_people.json`. A person counts when the longer side of the box exceeds 25 % of",
        f"the image height, and is found by a box with intersection over union of at least {MIN_IOU}. Seconds are",
        "wall time on two shared CPU cores, one thread. **The detector's thresholds were chosen on these photos",
        "as they are; the mirrored and the half-size rows are the better guess for other photos, and still share",
        "their scenes.**",
        "",
        "| photos | people | found | smaller ones found | false | found in a given box | seconds, median / largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, part in result["variants"].items():
        t = part["total"]
        lines.append(
            f"| {variant} ({len(part['photos'])}) | {t['people']} | {t['found']} | {t['smaller_found']} | "
            f"{t['false']} | "
            f"{t['found_in_given_box']} | {t['median_seconds']:.1f} / {t['largest_seconds']:.1f} |"
        )
    agreement = result["mirror_agreement"]
    lines += [
        "",
        f"The {agreement['people']} people found both as they are and mirrored: their 17 COCO keypoints (confidence",
        f"above 0.5 in both) lie {agreement['median_percent_of_box']} % of the box's longer side apart (median; 90th",
        f"percentile {agreement['p90_percent_of_box']} %). Left and right of the whole body were exchanged in one of",
        f"the two readings for {len(agreement['exchanged'])}: {'; '.join(agreement['exchanged']) or 'nobody'}.",
    ]
    lines += ["", "Photos as they are:", "", "| photo | people | found | missed | smaller found | false | seconds |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, r in result["variants"]["as is"]["photos"].items():
        missed = ", ".join(r["missed"]) or "-"
        lines.append(
            f"| {name} | {r['people']} | {r['found']} | {missed} | {r['smaller_found']} | {r['false']} | "
            f"{r['seconds']:.1f} |"
        )
    lines += ["", "Missed or invented in the other variants:", ""]
    for variant in ("mirrored", "half size"):
        for name, r in result["variants"][variant]["photos"].items():
            if r["missed"] or r["false"]:
                lines.append(f"- {variant}, {name}: missed {', '.join(r['missed']) or 'none'}; false {r['false']}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "data" / "photos")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    arguments = parser.parse_args()
    truth = json.loads((ROOT / "benchmarks" / "data" / "photo_people.json").read_text(encoding="utf-8"))["photos"]
    if not arguments.photos.is_dir():
        print(f"skipped: the photos are not at '{arguments.photos}'")
        return
    if detector_environment() is None:
        print("skipped: the detector is not installed (hmralign setup-detector)")
        return
    result: dict = {"detector": "", "variants": {}}
    found: dict[tuple[str, str], dict[str, Detection]] = {}
    pairs: list[dict] = []
    with MediapipeDetector() as detector:
        result["detector"] = "mediapipe " + detector.versions["mediapipe"]
        for variant in ("as is", "mirrored", "half size"):
            rows = {}
            for name, photo in truth.items():
                image = np.asarray(Image.open(arguments.photos / name).convert("RGB"))
                rows[name], found[variant, name] = judge(
                    detector, *variant_of(image, photo["people"], photo["ignore"], variant)
                )
                if variant == "mirrored":
                    pairs += [
                        {"photo": name, "id": k, **mirror_agreement(found["as is", name][k], d, image.shape[1])}
                        for k, d in found[variant, name].items()
                        if k in found["as is", name]
                    ]
                print(variant, name, rows[name], flush=True)
            result["variants"][variant] = {"total": totals(rows), "photos": rows}
    gaps = [g for p in pairs for g in p["gaps"] if not p["exchanged"]]
    result["mirror_agreement"] = {
        "people": len(pairs),
        "exchanged": [f"{p['photo']}: {p['id']}" for p in pairs if p["exchanged"]],
        "median_percent_of_box": round(100 * float(np.median(gaps)), 2),
        "p90_percent_of_box": round(100 * float(np.quantile(gaps, 0.9)), 2),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "detection_photos.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (arguments.out / "detection_photos.md").write_text(to_markdown(result), encoding="utf-8")
    print(f"written to {arguments.out / 'detection_photos.md'}")


if __name__ == "__main__":
    main()
