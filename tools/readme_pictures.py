"""Make the pictures of README: photo, fused body over it, the body from the side, the same coloured by uncertainty.

    python tools/readme_pictures.py skier.jpg astronaut.jpg

Writes docs/images/NAME.jpg for each photo; needs the detector (`hmralign setup-detector`). The first person is drawn.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hmralign import Recoverer
from hmralign.body.lbs import vertices
from hmralign.hypotheses.spread import surface_spread
from hmralign.overlays.overlay import cut_photo, draw_overlays, draw_side_views, person_window
from hmralign.rendering.colormap import magnitude_colors
from hmralign.reports.person_report import spread_scale
from hmralign.systems.recover.pictures import picture_box

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIDE = 320


def picture(recoverer: Recoverer, path: Path) -> Image.Image:
    people = recoverer(path)
    person = people[0]
    window, size = person_window(picture_box(person._person), margin=0.03), (SIDE, SIDE)
    mesh, faces = person.vertices("fused")[None], person.body.faces
    group = person.hypotheses
    spread = surface_spread(group.joints, vertices(person.body, group.body)).numpy()
    colors = torch.from_numpy(magnitude_colors(spread, spread_scale(spread)))[None]
    tiles = [
        cut_photo(people.photo.rgb, window, size)[0],
        draw_overlays(people.photo.rgb, mesh, faces, person.camera, window=window, size=size)[0],
        draw_side_views(mesh, faces, size)[0],
        draw_side_views(mesh, faces, size, vertex_colors=colors)[0],
    ]
    return Image.fromarray(np.concatenate(tiles, axis=1))


def main() -> None:
    with Recoverer.load("lite") as recoverer:
        for path in map(Path, sys.argv[1:]):
            picture(recoverer, path).save(IMAGES / f"{path.stem}.jpg", quality=88)


if __name__ == "__main__":
    main()
