"""A small report with two photos and hostile names, filled with capsule figures."""

import numpy as np
import torch

from hmralign.overlays.overlay import cut_photo, draw_overlays, draw_people, draw_side_views, person_window
from hmralign.reports.report_data import LimbRow, Report, ReportPerson, ReportPhoto
from hmralign.structures import Camera
from support.capsule_figure import capsule_figure

HOSTILE = "<img src=x onerror=alert(1)> & \"quotes\" 'x' </script><script>alert(2)</script>"
CAMERA = Camera(torch.tensor([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]]), 320, 240, "given")


def example_person(name: str, seed: int = 0, count: int = 4, fused: bool = True, scored: bool = True) -> ReportPerson:
    place = (0.6 * seed - 0.3, 0.0, 3.5)
    bodies, faces = capsule_figure(count, place=place, seed=seed)
    photo = np.full((240, 320, 3), (120, 150, 120), np.uint8)
    x = 159.5 + 300 * place[0] / place[2]
    window = person_window(torch.tensor([x - 60, 40.0, x + 60, 200.0]))
    overlays = draw_overlays(photo, bodies, faces, CAMERA, window=window, size=(160, 160))
    sides = draw_side_views(bodies, faces, (80, 80))
    scores = np.random.default_rng(seed).random(count)
    crop = cut_photo(photo, window, (160, 160))[0]
    return ReportPerson(
        name=name,
        vertices=bodies.numpy(),
        faces=faces.numpy(),
        K=CAMERA.K.numpy(),
        window=window,
        photo=crop,
        best_overlay=overlays[int(scores.argmax()) if scored else 0],
        scores=scores if scored else None,
        fused_vertices=bodies[0].numpy() if fused else None,
        fused_overlay=overlays[0] if fused else None,
        keypoint_picture=crop,
        thumbnails=list(zip(overlays, sides, strict=True)),
        spread=(bodies - bodies[0]).norm(dim=-1).mean(0).numpy(),
        facts={"Detector": HOSTILE, "Hypotheses": str(count)},
        limbs=[LimbRow("Left arm", 0.123, 0.87), LimbRow("Right leg", 0.02)],
    )


def example_report() -> Report:
    photo = np.full((240, 320, 3), (120, 150, 120), np.uint8)
    persons = [example_person("person 1", 0), example_person(HOSTILE, 1, fused=False, scored=False)]
    bodies = torch.tensor(np.stack([p.vertices[0] for p in persons]))
    overlay = draw_people(photo, bodies, torch.tensor(persons[0].faces), CAMERA)
    photos = [
        ReportPhoto(HOSTILE, photo, overlay, persons, {"Size": "320 x 240"}),
        ReportPhoto("second.jpg", photo, overlay, [example_person("person 1", 2)]),
    ]
    return Report(f"Bodies in {HOSTILE}", photos, {"Model": "test"}, ["A caveat with <b>tags</b>."])
