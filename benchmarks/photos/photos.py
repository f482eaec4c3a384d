"""`recover` on all shared photos: agreement with the 2D evidence, and a numbered sheet to look at.

    python benchmarks/photos/photos.py [--photos DIR] [--checkpoint lite]

Writes docs/results/photos.{json,md} and docs/results/photos_sheet.jpg: each person's crop, the fused body over it, and
the same body from the side (+90 degrees). What is right and wrong per limb was judged by eye on that sheet and stands
in benchmarks/data/photo_limbs.json; it belongs to the checkpoint whose hash it names.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from hmralign import Recoverer
from hmralign.body.lbs import vertices
from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.overlays.overlay import cut_photo, draw_overlays, draw_side_views, person_window
from hmralign.rendering.colormap import magnitude_colors
from shared_photos import PHOTOS, ROOT

MAIN = [i for i, n in enumerate(KEYPOINT_NAMES[:17]) if not any(p in n for p in ("nose", "eye", "ear"))]
SIDE = 200
CREDITS = (
    "Photos: skier (Flickr 6795644157), surf_lesson by fotologic, baseball by Jelonek, "
    "cow_show by Fort Rucker, ski_group by Doll: CC BY 2.0; soccer by Lokomotive74: CC BY 4.0; "
    "gym_pair (Pose2Sim) and park (Sports2D): BSD-3-Clause, "
    "Copyright (c) 2022 perfanalytics; apollo11_crew and astronaut: NASA, public domain; cameraman by Lav Varshney: "
    "CC0. All cropped and resized."
)  # fmt: skip


def tile(person, photo, side: int = SIDE) -> Image.Image:
    window = person_window(person.box)
    body = person.vertices("fused")[None]
    faces = person.body.faces
    size = (side, side)
    parts = [
        np.asarray(cut_photo(photo, window, size)[0]),
        draw_overlays(photo, body, faces, person.camera, window=window, size=size)[0],
        draw_side_views(body, faces, size)[0],
    ]
    return Image.fromarray(np.concatenate(parts, axis=1))


def doubt(person, side: int) -> Image.Image:
    """The fused body from the side, coloured by the spread of its vertices: dark 0, bright 30 cm and more."""
    group = vertices(person.body, person.hypotheses.body)
    relative = group - person.hypotheses.joints[:, :1]
    spread = (relative - relative.mean(0)).square().sum(-1).mean(0).sqrt()
    colors = torch.from_numpy(magnitude_colors(spread.numpy(), high=0.3))[None]
    drawn = draw_side_views(person.vertices("fused")[None], person.body.faces, (side, side), vertex_colors=colors)
    return Image.fromarray(drawn[0])


def readme_picture(person, photo, path: Path, side: int = 320) -> None:
    page = Image.new("RGB", (4 * side, side))
    page.paste(tile(person, photo, side), (0, 0))
    page.paste(doubt(person, side), (3 * side, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--checkpoint", default="lite")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/photos.json")
    parser.add_argument("--pictures", type=Path, help="folder for the two pictures of the README")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, tiles = [], []
    with Recoverer.load(args.checkpoint, num_hypotheses=100, seed=0) as recoverer:
        for path in sorted(args.photos.glob("*.jpg")):
            people = recoverer(path)
            for k, person in enumerate(people):
                rows.append(row(len(rows) + 1, path.name, k, person))
                tiles.append(tile(person, people.photo.rgb))
            if args.pictures and path.stem in ("skier", "astronaut"):
                readme_picture(people[0], people.photo.rgb, args.pictures / path.name)
    result = {"checkpoint_sha256": checkpoint_hash(args.checkpoint), "people": rows, "summary": summary(rows)}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    sheet(tiles, rows).save(args.out.parent / "photos_sheet.jpg", quality=80)
    print(json.dumps(result["summary"], indent=2))


def row(number: int, photo: str, k: int, person) -> dict:
    confidence = person.detection.confidence[MAIN]
    fit = {"fused": person.fused_agreement, "best": person.best_agreement}
    return {
        "number": number,
        "photo": photo,
        "person": k,
        "box": [round(float(x)) for x in person.box],
        "fully_visible": bool((confidence > 0.5).all()),
        **{
            f"{name} {key}": None if getattr(a, key) is None else round(float(getattr(a, key)), 4)
            for name, a in fit.items()
            for key in ("reprojection_over_box_height", "mask_iou")
        },
        "mean_spread_m": round(float(person.spread.mean()), 3),
    }


def summary(rows: list[dict]) -> dict:
    whole = [r for r in rows if r["fully_visible"]]
    out = {"people": len(rows), "fully_visible": len(whole)}
    for group, chosen in (("all", rows), ("fully visible", whole)):
        for key in (
            "fused reprojection_over_box_height",
            "fused mask_iou",
            "best reprojection_over_box_height",
            "best mask_iou",
        ):
            values = [r[key] for r in chosen if r[key] is not None]
            out[f"median {key}, {group}"] = round(float(np.median(values)), 4) if values else None
    return out


def sheet(tiles: list[Image.Image], rows: list[dict], columns: int = 3) -> Image.Image:
    height = SIDE + 16
    lines = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * 3 * SIDE, lines * height + 40), "white")
    draw = ImageDraw.Draw(page)
    for k, (picture, r) in enumerate(zip(tiles, rows, strict=True)):
        x, y = (k % columns) * 3 * SIDE, (k // columns) * height
        draw.text((x + 4, y + 2), f"{r['number']}  {r['photo']} person {r['person']}", fill="black")
        page.paste(picture, (x, y + 16))
    third = len(CREDITS) // 3
    for k in range(3):
        draw.text(
            (4, lines * height + 2 + 12 * k), CREDITS[k * third : (k + 1) * third if k < 2 else None], fill="black"
        )
    return page


def markdown(result: dict) -> str:
    limbs_file = ROOT / "benchmarks/data/photo_limbs.json"
    limbs = json.loads(limbs_file.read_text()) if limbs_file.exists() else {}
    if limbs.get("checkpoint_sha256") != result["checkpoint_sha256"]:
        limbs = {}
    lines = [
        "# Shared photos",
        "",
        "Command: `python benchmarks/photos/photos.py`. The sheet: `photos_sheet.jpg` (photo, fused body, side).",
        "",
    ]
    lines += [f"- {k}: {v}" for k, v in result["summary"].items()]
    lines += [
        "",
        "`reprojection` is the mean distance of confident keypoints over the height of their box, of the fused body.",
        "",
    ]
    names = ["torso", "head", "left arm", "right arm", "left leg", "right leg"]
    lines += ["| # | photo | reprojection | mask IoU | spread m | " + " | ".join(names) + " | remark |"]
    lines += ["| ---: | --- | ---: | ---: | ---: |" + " --- |" * (len(names) + 1)]
    for r in result["people"]:
        seen = limbs.get("people", {}).get(str(r["number"]), {})
        cells = [seen.get(n, "") for n in names] + [seen.get("remark", "")]
        fit = f"{r['fused reprojection_over_box_height']} | {r['fused mask_iou']} | {r['mean_spread_m']}"
        lines.append(f"| {r['number']} | {r['photo']} | {fit} | {' | '.join(cells)} |")
    if limbs:
        counts = {
            v: sum(p.get(n) == v for p in limbs["people"].values() for n in names) for v in ("right", "wrong", "hidden")
        }
        lines += ["", f"Limbs judged by eye (front and side view): {counts}.", "", CREDITS]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
