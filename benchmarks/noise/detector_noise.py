"""Measure what a detector does wrong, on pictures of the free body; writes the noise that training replays.

Persons come from the generator of synthetic data (poses, views, shapes), are dressed and photographed by
`noise_scenes.py` and read by the detector as `recover` reads photos. Chunks of pictures are kept in the work folder, so
the run can be stopped and continued; `noise_analysis.py` turns all chunks into the asset and the report.

    python benchmarks/noise/detector_noise.py --poses FILE --photos FOLDER --chunks 60
    python benchmarks/noise/detector_noise.py --only-analyse
    python benchmarks/noise/detector_noise.py --poses FILE --photos FOLDER --sheet sheet.png
    python benchmarks/noise/detector_noise.py --poses FILE --photos FOLDER --detector mediapipe
    python benchmarks/noise/detector_noise.py --poses FILE --photos FOLDER --detector vitpose --detector-folder DIR

Of mediapipe_heavy, the shipped detector with the heavy weights of its landmark network, and of mediapipe, the same with
the full ones, the asset and docs/results are written; of vitpose, noise.npz and noise.json in the work folder: copied
into DIR, noise.npz is what `recover --detector vitpose --detector-folder DIR` then uses.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import noise_analysis
from hmralign.body.free_body import load_free_body
from hmralign.body.keypoint_bones import offset_bones
from hmralign.body.lbs import forward_kinematics, keypoints_from_fk, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import KEYPOINT_NAMES
from hmralign.data.pose_file import load_pose_file
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.detection.boxes import box_iou
from hmralign.detection.detection import Detection, Detector
from hmralign.detection.mediapipe_client import Network
from hmralign.detection.mediapipe_detector import ONE_PERSON, MediapipeDetector, MediapipeDetectorConfig
from hmralign.detection.vitpose_detector import VitposeDetector
from hmralign.geometry.cameras import project, scaled_intrinsics
from hmralign.overlays.contact_sheet import Tile, contact_sheet
from hmralign.overlays.keypoints import draw_keypoints
from hmralign.structures import BodyParams
from noise_scenes import Backgrounds, Scene, make_scene, truly_visible

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 48
TRUNCATED = 12
"""Pictures per chunk, and how many of them cut the person off."""
FEW_TILES: dict[str, Any] = {"tile_scales": (1.0, 0.6), "max_regions": 12}
"""Tiles and readings that look for whom the short path misses, unless all are asked for: the person fills a third of
the picture's height or more, so that the smallest tiles of a photo hold parts of a body."""
NETWORKS: dict[str, Network] = {"mediapipe_heavy": "heavy", "mediapipe": "full"}
SHORT_PATH = ONE_PERSON
"""Whoever is missed on it is looked for with all tiles, and every tenth chunk runs both ways."""
_LIMB_CHAINS = [
    [KEYPOINT_NAMES.index(f"{side}_{name}") for name in chain]
    for side in ("left", "right")
    for chain in (("elbow", "wrist", "index_knuckle"), ("knee", "ankle", "big_toe"))
]


@dataclass(frozen=True)
class Persons:
    """Bodies and cameras; `points`, `pixels`: the body's own keypoints; `bone_rotmats`: the axes of their bones."""

    body: BodyParams
    up: torch.Tensor  # (n, 3) in cam
    K: torch.Tensor  # (n, 3, 3)
    sizes: list[tuple[int, int]]
    points: torch.Tensor  # (n, 27, 3)
    pixels: torch.Tensor  # (n, 27, 2)
    bone_rotmats: torch.Tensor  # (n, 27, 3, 3)
    yaw: torch.Tensor  # (n,) radians, 0: facing the camera

    def __getitem__(self, index: list[int]) -> Persons:
        tensors = (getattr(self, k)[index] for k in ("points", "pixels", "bone_rotmats", "yaw"))
        return Persons(self.body[index], self.up[index], self.K[index], [self.sizes[i] for i in index], *tensors)


def draw_persons(model: BodyModel, poses: PoseSource, n: int, mix: ViewMix, generator: torch.Generator) -> Persons:
    """Candidates, seen in pictures 384 to 512 pixels high."""
    body_pose, up = poses.sample(n, generator)
    views = sample_views(up, mix, generator)
    betas = torch.randn(n, model.num_betas, generator=generator).clamp(-3, 3)
    body = BodyParams(views.global_orient, body_pose, betas, views.transl)
    high = 384 + 128 * torch.rand(n, generator=generator)
    sizes, cameras = [], []
    for i in range(n):
        size = [round(float(v * high[i] / views.height[i])) for v in (views.height[i], views.width[i])]
        scale = (size[1] / float(views.width[i]), size[0] / float(views.height[i]))
        sizes.append((size[0], size[1]))
        cameras.append(scaled_intrinsics(views.K[i], scale))
    rotmats, joints = forward_kinematics(rest_joints(model, betas), body.rotmats, model.parents)
    points = keypoints_from_fk(model, betas, rotmats, joints + body.transl[:, None])
    K = torch.stack(cameras)
    facing = views.global_orient[:, :, 2]
    yaw = torch.atan2(facing[:, 0], -facing[:, 2])
    up_cam = (views.global_orient @ up[..., None])[..., 0]
    return Persons(body, up_cam, K, sizes, points, project(points, K), rotmats[:, offset_bones(model)], yaw)


def suitable(persons: Persons, truncated: bool) -> list[int]:
    """Persons wholly in the picture and 33 to 97 % of its height; or cut off with enough left to be found."""
    sizes = torch.tensor(persons.sizes)
    width_height = sizes.flip(1)[:, None]
    margin = 0.01 * sizes.amax(1)[:, None, None]
    inside = ((persons.pixels > margin) & (persons.pixels < width_height - margin)).all(-1)
    extent = (persons.pixels.amax(1) - persons.pixels.amin(1)).amax(1) / sizes[:, 0]
    near = persons.points[..., 2].amin(1) > 0.35
    if truncated:
        # Photographers cut legs more often than heads; keep only every fourth person without a face.
        near &= inside[:, 0] | (torch.arange(len(near)) % 4 == 0)
        body = inside[:, 5:17].sum(1)
        good = near & (body >= 4) & (body <= 11) & (extent < 2.5)
    else:
        good = near & inside.all(1) & (extent > 0.33) & (extent < 0.97)
    return good.nonzero()[:, 0].tolist()


def draw_chunk(model: BodyModel, poses: PoseSource, seed: int, chunk: int) -> Persons:
    """The persons of one chunk: the last `TRUNCATED` are cut off."""
    generator = torch.Generator().manual_seed(seed * 100_003 + chunk)
    whole = draw_persons(model, poses, 400, ViewMix(height=(0.4, 1.0)), generator)
    cut = draw_persons(model, poses, 200, ViewMix(height=(0.8, 2.2)), generator)
    parts = [whole[suitable(whole, False)[: CHUNK - TRUNCATED]], cut[suitable(cut, True)[:TRUNCATED]]]
    joined = {
        k: torch.cat([getattr(p, k) for p in parts]) for k in ("up", "K", "points", "pixels", "bone_rotmats", "yaw")
    }
    body = BodyParams.cat([p.body for p in parts])
    return Persons(body=body, sizes=[s for p in parts for s in p.sizes], **joined)


def photograph(model: BodyModel, persons: Persons, i: int, backgrounds: Backgrounds, rng: np.random.Generator) -> Scene:
    """The picture of person `i`."""
    pixels = persons.pixels[i].numpy()
    limbs = [pixels[chain] for chain in _LIMB_CHAINS]
    size = persons.sizes[i]
    return make_scene(model, persons.body[i], persons.up[i], persons.K[i], size, limbs, backgrounds, rng)


def find(detector: Detector, scene: Scene) -> tuple[Detection | None, int]:
    """The detection whose box fits the visible body best (None below an overlap of 0.3), and how many there were."""
    people = detector(scene.image)
    rows, columns = np.nonzero(scene.owner >= 0)
    if len(rows) == 0 or not people:
        return None, len(people)
    truth = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)
    best = max(people, key=lambda p: box_iou(p.box.astype(np.float64), truth))
    return (best if box_iou(best.box.astype(np.float64), truth) > 0.3 else None), len(people)


def read_missed(
    model: BodyModel, persons: Persons, backgrounds: Backgrounds, full: Detector | None, seed: list[int], chunk: dict
) -> dict[str, np.ndarray]:
    """What all tiles show where the short path found nobody: `rows` of the chunk and the answers there."""
    if not np.array_equal(chunk["pixels"], persons.pixels.numpy()):
        raise SystemExit(f"chunk {seed}: persons are drawn differently now; use an empty work folder")
    rows = np.nonzero(~chunk["found"][:, 0])[0]
    names = ("found", "count", "keypoints", "confidence", "score")
    if full is None or chunk["found"].shape[1] == 2:
        return {"rows": rows, **{k: chunk[k][rows, -1] for k in names}}
    answers: dict[str, list] = {k: [] for k in names}
    for i in rows.tolist():
        scene = photograph(model, persons, i, backgrounds, np.random.default_rng([*seed, i]))
        person, count = find(full, scene)
        answers["found"].append(person is not None)
        answers["count"].append(count)
        answers["keypoints"].append(np.zeros((27, 2), np.float32) if person is None else person.keypoints)
        answers["confidence"].append(np.zeros(27, np.float32) if person is None else person.confidence)
        answers["score"].append(0.0 if person is None else person.score)
    return {"rows": rows, **{k: np.array(v) for k, v in answers.items()}}


def measure_chunk(
    model: BodyModel, persons: Persons, backgrounds: Backgrounds, detectors: list[Detector], seed: list[int]
) -> dict[str, np.ndarray]:
    """Everything about one chunk: truth, and per detector path the keypoints, confidences, and whether found."""
    n, bones = len(persons.sizes), offset_bones(model).numpy()
    rows: dict[str, list] = {
        k: [] for k in ("visible", "occluder", "found", "count", "keypoints", "confidence", "score")
    }
    for i in range(n):
        scene = photograph(model, persons, i, backgrounds, np.random.default_rng([*seed, i]))
        pixels, depth = persons.pixels[i].numpy(), persons.points[i, :, 2].numpy()
        rows["visible"].append(truly_visible(scene, pixels, depth, bones))
        rows["occluder"].append(scene.occluder)
        answers = [find(d, scene) for d in detectors]
        rows["found"].append([a is not None for a, _ in answers])
        rows["count"].append([c for _, c in answers])
        rows["keypoints"].append([np.zeros((27, 2), np.float32) if a is None else a.keypoints for a, _ in answers])
        rows["confidence"].append([np.zeros(27, np.float32) if a is None else a.confidence for a, _ in answers])
        rows["score"].append([0.0 if a is None else a.score for a, _ in answers])
    truth = {k: getattr(persons, k).numpy() for k in ("points", "pixels", "bone_rotmats", "K", "yaw", "up")}
    truncated = np.arange(n) >= CHUNK - TRUNCATED
    return {
        **truth,
        **{k: np.array(v) for k, v in rows.items()},
        "size": np.array(persons.sizes),
        "truncated": truncated,
    }


def draw_sheet(
    model: BodyModel,
    persons: Persons,
    backgrounds: Backgrounds,
    detector: Detector,
    seed: list[int],
    out: Path,
) -> None:
    """Contact sheet of 24 pictures with what was detected."""
    tiles = []
    for i in [*range(18), *range(len(persons.sizes) - 6, len(persons.sizes))]:
        scene = photograph(model, persons, i, backgrounds, np.random.default_rng([*seed, i]))
        person, count = find(detector, scene)
        picture, label = scene.image, f"{i} {scene.occluder} found {count}"
        if person is not None:
            window = (0, 0, picture.shape[1], picture.shape[0])
            confidence = torch.from_numpy(person.confidence)
            picture = draw_keypoints(picture, torch.from_numpy(person.keypoints), confidence, window)
        side = max(picture.shape[:2])
        square = np.full((side, side, 3), 255, np.uint8)
        square[: picture.shape[0], : picture.shape[1]] = picture
        tiles.append(Tile((np.asarray(Image.fromarray(square).resize((320, 320))),), label))
    contact_sheet(tiles, columns=6).save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, help="motion-capture pose file; its training split is used")
    parser.add_argument("--photos", type=Path, help="folder of photos for backgrounds")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "detector_noise")
    parser.add_argument("--chunks", type=int, default=60, help=f"chunks of {CHUNK} pictures in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--detector", choices=("mediapipe_heavy", "mediapipe", "vitpose"), default="mediapipe_heavy")
    parser.add_argument("--detector-folder", type=Path, help="models of vitpose: person/ and pose/")
    parser.add_argument(
        "--all-tiles", action="store_true", help="look for the missed as in a photo; three times slower"
    )
    parser.add_argument("--missed-every", type=int, default=1, help="look for the missed in every such chunk only")
    parser.add_argument("--only-analyse", action="store_true")
    parser.add_argument("--sheet", type=Path, help="draw a contact sheet instead of measuring")
    arguments = parser.parse_args()
    if arguments.missed_every < 1:
        parser.error("--missed-every is 1 or more")
    if (arguments.detector == "vitpose") != (arguments.detector_folder is not None):
        parser.error("--detector vitpose and --detector-folder DIR go together")
    torch.set_num_threads(1)
    model = load_free_body("7k")
    work = arguments.work / f"{model.mesh_hash[:8]}_seed{arguments.seed}"
    if arguments.detector in NETWORKS:
        network = NETWORKS[arguments.detector]
        work = work.with_name(work.name + ("_heavy" if network == "heavy" else ""))
        if not arguments.only_analyse:
            tiles = MediapipeDetectorConfig(network=network, **({} if arguments.all_tiles else FEW_TILES))
            with (
                MediapipeDetector(config=replace(SHORT_PATH, network=network)) as short,
                MediapipeDetector(config=tiles) as full,
            ):
                if short.name != arguments.detector:
                    raise SystemExit("the heavy weights are not installed: run `hmralign setup-detector`")
                measure(model, work, arguments, short, full)
        if not arguments.sheet:
            noise_analysis.analyse(work, model, noise_analysis.shipped_files(ROOT, arguments.detector))
        return
    detector = VitposeDetector(arguments.detector_folder)
    hashes = [detector.versions[f"{part}_sha256"][:8] for part in ("person", "pose")]
    work = work.with_name("_".join([work.name, "vitpose", *hashes]))
    if not arguments.only_analyse:
        measure(model, work, arguments, detector, None)
    if not arguments.sheet:
        noise_analysis.analyse(work, model, noise_analysis.OutputFiles(work / "noise.npz", work / "noise.json", None))


def measure(
    model: BodyModel,
    work: Path,
    arguments: argparse.Namespace,
    short: MediapipeDetector | VitposeDetector,
    full: Detector | None,
) -> None:
    """Make the chunks that are missing; `short` is asked first, `full`, if there is one, where that found nobody."""
    work.mkdir(parents=True, exist_ok=True)
    real = load_pose_file(arguments.poses, "train") if arguments.poses else None
    poses = PoseSource(load_pose_prior("train"), poses=real)
    backgrounds = Backgrounds(arguments.photos, ROOT / "benchmarks" / "data" / "photo_people.json")
    if arguments.sheet:
        persons = draw_chunk(model, poses, arguments.seed, 0)
        return draw_sheet(model, persons, backgrounds, short, [arguments.seed, 0], arguments.sheet)
    notes = [f"{k} {v}" for k, v in sorted(short.versions.items())]
    notes += ["missed looked for with " + ("all tiles" if arguments.all_tiles else "few tiles")]
    notes += [f"poses {real.sha256[:16] if real else 'none'}", f"photos {bool(arguments.photos)}"]
    for chunk in range(arguments.chunks):
        path, missed = work / f"chunk_{chunk:05d}.npz", work / f"missed_{chunk:05d}.npz"
        if path.is_file() and missed.is_file():
            continue
        persons, seed = draw_chunk(model, poses, arguments.seed, chunk), [arguments.seed, chunk]
        if not path.is_file():
            detectors: list[Detector] = [short, full] if full is not None and chunk % 10 == 9 else [short]
            arrays = measure_chunk(model, persons, backgrounds, detectors, seed)
            save(path, {**arrays, "notes": np.array(notes), "skeleton": np.array(model.skeleton_hash)})
        arrays = dict(np.load(path, allow_pickle=False))
        search = full if chunk % arguments.missed_every == 0 else None
        again = read_missed(model, persons, backgrounds, search, seed, arrays)
        again["searched"] = np.array(full is None or search is not None)
        save(missed, again)
        print(
            f"chunk {chunk}: found {arrays['found'][:, 0].mean():.2f}, of the rest {again['found'].mean():.2f}",
            flush=True,
        )


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"part_{path.name}")
    np.savez_compressed(partial, **arrays)  # pyright: ignore[reportArgumentType]
    partial.rename(path)


if __name__ == "__main__":
    main()
