"""A sheet of SynthWild-Images: 50 persons of the lab and 50 of the wild, and how fast they are drawn.

    hmralign bench --out runs/synthwild --splits lab/val wild/val
    python benchmarks/pixels/sheet.py --data runs/synthwild

Writes docs/images/synthwild_images.jpg; prints crops per CPU second on one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import interpolate

from hmralign.data.dataset import open_dataset
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.rendering.scenes.crops import SceneMix, rendered_crops
from hmralign.storage.seeds import seeded

ROOT = Path(__file__).resolve().parents[2]
SIDE, ACROSS = 100, 10


def sheet(folder: Path) -> Image.Image:
    """Lab above, wild below."""
    crops = []
    for split in ("lab/val", "wild/val"):
        crop = open_dataset("synthwild-images", folder, split).first(50).examples.observation.crop  # type: ignore[attr-defined]
        crops.append(interpolate(crop.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True))
    tiles = torch.cat(crops).clamp(0, 255).to(torch.uint8).view(-1, ACROSS, 3, SIDE, SIDE)
    picture = tiles.permute(0, 3, 1, 4, 2).reshape(-1, ACROSS * SIDE, 3)
    return Image.fromarray(picture.numpy())


def speed(size: int, persons: int = 512) -> float:
    """Crops per CPU second, persons and bodies included."""
    source, draw = world_generator("wild", "train"), seeded(0, "speed")
    example, seen = source.sample_seen(64, draw)
    rendered_crops(source.model, example, seen, size, SceneMix(), draw)
    start = time.process_time()
    example, seen = source.sample_seen(persons, draw)
    rendered_crops(source.model, example, seen, size, SceneMix(), draw)
    return persons / (time.process_time() - start)


def main() -> None:
    """Draw, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sheet(args.data).save(ROOT / "docs/images/synthwild_images.jpg", quality=82)
    for size in (128, 160, 192):
        print(f"{size} pixels: {speed(size):.0f} crops per CPU second")


if __name__ == "__main__":
    main()
