"""How long rendering takes: groups of bodies, silhouettes for search, overlays, contact sheets, crops of persons.

Run `python benchmarks/speed/rendering.py`; writes docs/results/rendering.{json,md}. CPU seconds of this process, one
thread, median of several repeats after the kernels are compiled. With --only-crops the other rows stay as they were.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices as body_vertices
from hmralign.data.synthetic.synthwild import world_generator
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.overlays.contact_sheet import contact_sheet, hypothesis_tiles
from hmralign.overlays.overlay import draw_overlays
from hmralign.rendering.scenes.crops import AT_ONCE, SceneMix, rendered_crops
from hmralign.rendering.zbuffer import render
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Camera

RESULTS = Path(__file__).parents[2] / "docs" / "results"
REPEATS = 7
CROPS = "SynthWild-Images crops"


def bodies(size: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random standing people at 3.2 m: at 256 pixels and this camera each covers about 8 % of the picture."""
    model = load_free_body(size)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    body = BodyParams(
        torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(count, 3, 3),
        rotvec_to_rotmat(0.25 * torch.randn(count, 23, 3, generator=generator)),
        torch.randn(count, model.num_betas, generator=generator),
        torch.tensor([0.0, 0.1, 3.2]).expand(count, 3),
    )
    return body_vertices(model, body).float(), model.faces


def camera(pixels: int) -> torch.Tensor:
    middle = (pixels - 1) / 2
    return torch.tensor([[1.3 * pixels, 0.0, middle], [0.0, 1.3 * pixels, middle], [0.0, 0.0, 1.0]])


def cpu_seconds(job: Callable[[], object]) -> float:
    job()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure() -> list[dict]:
    rows = []

    def add(what: str, count: int, seconds: float) -> None:
        rows.append({"what": what, "count": count, "cpu_s": seconds, "per_cpu_s": count / seconds})

    large, large_faces = bodies("7k", 20)
    everything = ("depth", "normals", "silhouette", "face_index")
    covered = 0.0
    for pixels in (256, 512):
        K = camera(pixels)
        for outputs in (("silhouette",), ("depth",), everything):
            job = lambda K=K, o=outputs, n=pixels: render(large, large_faces, K, (n, n), o)  # noqa: E731
            add(f"{'+'.join(outputs)}, {len(large_faces)} triangles, {pixels} px", 20, cpu_seconds(job))
        covered = float(render(large, large_faces, K, (pixels, pixels)).silhouette.float().mean())  # type: ignore
    small, small_faces = bodies("3k5", 100)
    job = lambda: render(small, small_faces, camera(64), (64, 64), ("silhouette",))  # noqa: E731
    add(f"silhouette, {len(small_faces)} triangles, 64 px", 100, cpu_seconds(job))

    photo = np.full((768, 1024, 3), 128, np.uint8)
    K = torch.tensor([[900.0, 0, 511.5], [0, 900.0, 383.5], [0, 0, 1]])
    view = Camera(K, 1024, 768, "given")
    window = (256, 64, 768, 640)
    job = lambda: draw_overlays(photo, large, large_faces, view, window=window, size=(256, 256))  # noqa: E731
    add("shaded overlay, smooth edges, 256 px", 20, cpu_seconds(job))
    box = torch.tensor([300.0, 80.0, 720.0, 640.0])
    job = lambda: contact_sheet(hypothesis_tiles(photo, large, large_faces, view, box))  # noqa: E731
    add("contact sheet of 20: overlay and side view, 256 px", 1, cpu_seconds(job))
    print(f"each body covers {100 * covered:.1f} % of the picture")
    return rows


def measure_crops() -> list[dict]:
    """Pictures of SynthWild's wild world, with everything that its scenes have; persons are drawn before."""
    source = world_generator("wild", "train")
    example, seen = source.sample_seen(AT_ONCE, seeded(0, "speed"))
    rows = []
    for pixels in (128, 160):
        job = lambda n=pixels: rendered_crops(source.model, example, seen, n, SceneMix(), seeded(1, "speed"))  # noqa: E731
        seconds = cpu_seconds(job)
        what = f"{CROPS}, {len(source.model.faces)} triangles, {pixels} px"
        rows.append({"what": what, "count": AT_ONCE, "cpu_s": seconds, "per_cpu_s": AT_ONCE / seconds})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only-crops", action="store_true")
    args = parser.parse_args()
    out: Path = args.out
    torch.set_num_threads(1)
    if args.only_crops:
        earlier = json.loads((out / "rendering.json").read_text())["rows"]
        rows = [row for row in earlier if not row["what"].startswith(CROPS)]
    else:
        rows = measure()
    rows += measure_crops()
    machine = {"processor": platform.machine(), "torch": torch.__version__, "threads": 1, "repeats": REPEATS}
    out.mkdir(parents=True, exist_ok=True)
    (out / "rendering.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    lines = [
        "# Rendering speed",
        "",
        "CPU seconds of one thread (median of 7 repeats, kernels compiled), free body, people at 3.2 m.",
        "Made by `python benchmarks/speed/rendering.py`.",
        "",
        "| what | count | CPU s | per CPU second |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {r['what']} | {r['count']} | {r['cpu_s']:.3f} | {r['per_cpu_s']:.0f} |" for r in rows),
    ]
    (out / "rendering.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
