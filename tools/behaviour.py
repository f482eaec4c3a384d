"""Record what the package computes, so that two states of the source can be shown to compute the same.

    python tools/behaviour.py --work before                                # with the old source
    python tools/behaviour.py --work after --against before/hashes.json    # with the new one

The package is used through its command line alone, by the interpreter that runs this file, so that the same file serves
whatever the modules are called. Which source that is, `PYTHONPATH` says. Everything lies in the work folder; the name
of an entry is a file in it, with the array behind `#`:

    groups/wild/groups_00000.safetensors#x_0    bytes, shape and type of an array (safetensors, npz, parquet, obj)
    audit/wild/critic_audit.json                values of a document (json, jsonl); text (md, html) without hashes
    recover/photos/skier/overlay.png            pixels of a picture
    judge/asked.json                            what the judge was asked, pictures by their hash
    made_by/groups/wild/store.json              hashes, settings and origins that such a file holds

Times, versions and the place of the work folder are left out. `made_by` says whether a run of the old source would be
continued by the new one. The step `continued` tries it: commands are run again on the results of the other source (on
its own where there is none), and have to find them finished.

The judge is a small server of this file, whose answers follow from the pictures and words that it is sent.
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import hashlib
import itertools
import json
import math
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import load_file

FORMAT_VERSION = 1
RECORD = "hashes.json"
COMMAND = (sys.executable, "-m", "hmralign.cli")
LONGEST = 900
"""Seconds that one command may take; a limit against hangs."""

PHOTOS = ("skier.jpg", "gym_pair_t040_m01.jpg", "gym_pair_t080_m02.jpg")
POSES = "cmu_smpl24_poses.npz"

COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_BODY = COCO[5:]

KEYPOINTS: dict[str, dict[str, tuple[float, float]]] = {
    # Read off the picture by eye.
    "skier.jpg": {
        "nose": (368, 81), "left_eye": (373, 75), "right_eye": (363, 75), "left_ear": (387, 78),
        "left_shoulder": (413, 113), "right_shoulder": (366, 126), "left_elbow": (453, 152), "right_elbow": (327, 160),
        "left_wrist": (439, 165), "right_wrist": (301, 178), "left_hip": (440, 213), "right_hip": (405, 220),
        "left_knee": (430, 282), "right_knee": (370, 275), "left_ankle": (473, 355), "right_ankle": (405, 340),
    },
    # Joints of the man, from the cameras' triangulation.
    "gym_pair_t040_m01.jpg": dict(zip(_BODY, (
        (277.3, 272.9), (245.6, 223.7), (266.6, 327.0), (192.7, 200.1), (264.7, 377.5), (217.8, 167.1), (206.1, 339.0),
        (173.3, 316.2), (195.5, 419.7), (113.9, 379.4), (169.3, 458.9), (49.3, 443.8)), strict=True)),
    "gym_pair_t080_m02.jpg": dict(zip(_BODY, (
        (258.7, 239.5), (186.8, 232.6), (301.5, 274.0), (142.9, 256.6), (334.3, 311.8), (121.2, 248.1), (239.8, 340.3),
        (198.2, 333.1), (234.5, 408.7), (205.8, 412.7), (236.5, 443.3), (218.5, 479.4)), strict=True)),
}  # fmt: skip
"""Pixels; what is left out is not seen."""

CRITICS = (
    "oracle", "oracle-pa", "oracle-pve", "oracle-gpa", "oracle-noisy", "reprojection", "silhouette", "plausibility",
    "landmarks3d", "random", "mix", "consistency", "scorer", "scorer-lab",
)  # fmt: skip
"""All that need neither a detector nor a model that speaks."""


# -- commands ----------------------------------------------------------------------------------------------------------


class Run:
    """One recording: commands run inside `work`, with paths relative to it."""

    def __init__(self, work: Path, shared: Path | None, seed: int, old: Path | None) -> None:
        """`shared` holds `photos` and `poses`; `old` is the work folder of the other source, None for this one."""
        self.work, self.shared, self.seed, self.old = work, shared, seed, old
        self.step, self.failed = "", list[str]()
        self.exit_codes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "HMRALIGN_"))}
        threads = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
        self.environment |= {f"{name}_NUM_THREADS": "1" for name in threads} | {
            "HMRALIGN_DETECTOR_ENV": str(work / "no_detector"),  # what it finds would depend on the machine
            "HMRALIGN_DEBUG": "1",
        }
        if path := os.environ.get("PYTHONPATH"):
            self.environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).resolve()) for p in path.split(os.pathsep))

    def __call__(self, label: str, *words: object, expected: int = 0) -> None:
        """Run a command of the package. A document that it prints is kept as `<step>/<label>.out.json`."""
        command, spent = [str(word) for word in words], _child_seconds()
        done = subprocess.run(
            [*COMMAND, *command], cwd=self.work, env=self.environment, capture_output=True, text=True, timeout=LONGEST
        )
        self.exit_codes[label] = done.returncode
        self.seconds[f"{self.step} {label}"] = round(_child_seconds() - spent, 1)
        if done.returncode != expected:
            said = "\n    ".join(done.stderr.strip().splitlines()[-4:])
            self.failed.append(f"{self.step} {label}: exit code {done.returncode}, expected {expected}\n    {said}")
        if "--json" in command and done.stdout.strip():
            self.write(f"{label}.out.json", _document(done.stdout))

    def write(self, name: str, content: Any) -> None:
        """Keep a document in the folder of the step."""
        path = self.work / self.step / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def yaml(self, name: str, content: dict[str, Any]) -> str:
        """Write settings for a command; returns the path that it is given."""
        path = self.work / "inputs" / name
        path.write_text(yaml.safe_dump(content))
        return f"inputs/{name}"


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"no document": text}


def bench(run: Run) -> None:
    """Splits of the benchmark, and persons drawn for training."""
    run("synthwild", "bench", "--out", "bench", "--splits", "wild/val", "lab/val", "--json")
    run("drawn", "synth", "--out", "bench/drawn", "--examples", 300, "--shard-size", 200, "--seed", 5 + run.seed)
    if run.shared is not None:
        run("mocap", "bench", "--out", "bench", "--splits", "mocap/test", "--poses", "inputs/poses.npz", "--json")


def evaluate(run: Run) -> None:
    """Shipped weights on the benchmark: refined, recalibrated, and raw with silhouettes."""
    common = ("--data", "data", "--split", "wild/val", "--seed", run.seed, "--json", "--num-hypotheses", 20)
    run("shipped", "evaluate", "lite-lab", "lite", *common, "--persons", 300, "--out", "evaluate/shipped")
    found = "evaluate/shipped/recalibration_lite-lab.json"
    run("again", "evaluate", "lite-lab", *common, "--persons", 24, "--recalibration", found, "--out", "evaluate/again")
    run("raw", "evaluate", "lite-lab", *common, "--persons", 24, "--no-refine", "--silhouette", 0.5, "--out",
        "evaluate/raw")  # fmt: skip


def groups(run: Run) -> None:
    """Stores from shards and from prediction files, scored, counted, exported and drawn."""
    seed = ("--seed", run.seed)
    run("wild", "groups", "data/wild_val", "--out", "groups/wild", "--checkpoint", "lite-lab", "--persons", 50,
        "--group-size", 8, "--with-truth", "--shard-size", 20, "--critic", *CRITICS, *seed, "--stats", "--export",
        "groups/pairs.parquet", "--sheet", "groups/widest.png", "--sheet-groups", 3, "--json")  # fmt: skip
    run("rows", "groups", "groups/wild", "--critic", "mix", "--export", "groups/rows.parquet", "--export-layout",
        "groups", "--sheet", "groups/drawn.png", "--sheet-choice", "random", "--sheet-groups", 2, "--json")  # fmt: skip
    run("lab", "groups", "data/lab_val", "--out", "groups/lab", "--persons", 12, "--group-size", 6, "--num-steps", 3,
        "--with-truth", *seed, "--json")  # fmt: skip
    predictions(run.work)
    for kind in ("free", "smpl", "joints"):
        run(kind, "groups", f"inputs/{kind}.npz", "--out", f"groups/{kind}", "--predicted-by", "Other", "--critic",
            "reprojection", "plausibility", "mix", "consistency", "scorer", *seed, "--stats", "--json")  # fmt: skip


def align(run: Run) -> None:
    """Every method, in rounds, on foreign predictions; what it brought."""
    store = ("--groups", "groups/wild", "--steps", 20, "--seed", run.seed, "--json")
    for method in ("dpo", "group", "best-of-n", "kto"):
        run(method, "align", method, *store, "--critic", "scorer-lab", "--out", f"align/{method}")
    for method in ("sft", "direct-reward"):
        run(method, "align", method, *store, "--out", f"align/{method}")
    rounds = {"method": "group", "group": {"mode": "literal"}, "refresh": {"rounds": 2}, "training": {"batch_size": 16}}
    run("rounds", "align", *store, "--critic", "mix", "--config", run.yaml("rounds.yaml", rounds), "--out",
        "align/rounds")  # fmt: skip
    run("foreign", "align", "best-of-n", "--groups", "groups/smpl", "--steps", 5, "--checkpoint", "lite",
        "--other-model", "--critic", "mix", "--out", "align/foreign", "--json")  # fmt: skip
    aligned = [f"align/{method}/model.safetensors" for method in ("dpo", "group")]
    run("measured", "evaluate", "alignment", "--base", "lite-lab", "--aligned", *aligned, "--data", "data", "--split",
        "lab/val", "--persons", 60, "--forgetting-persons", 20, "--scorer", "scorer-lab", "--out", "align/measured",
        "--json")  # fmt: skip
    for path in (run.work / "align").rglob("state.pt"):
        if "/".join(path.relative_to(run.work).parts[:2]) not in CONTINUED:
            path.unlink()  # large, and nobody continues it


def train(run: Run) -> None:
    """A small base model, a scorer of errors, and one that learns a critic's order."""
    small = {"width": 32, "depth": 1, "context_width": 16, "context_depth": 1}
    base = {
        "model": {**small, "hidden": 64}, "shards": "bench/drawn", "shard_share": 0.5, "mirror_share": 0.5,
        "batch_size": 32, "draws": 2, "steps": 10, "save_every": 4, "seed": run.seed,
        **({} if run.shared is None else {"pose_file": "inputs/poses.npz"}),
    }  # fmt: skip
    training = {"model": small, "steps": 10, "batch_size": 16, "seed": run.seed}
    data = {
        "labelled": "data/lab_val", "checkpoints": ["lite-lab", "lite"], "as_observed": 60, "seen_again": 40,
        "perturbed": 40, "hypotheses": 8, "calibration_persons": 20,
    }  # fmt: skip
    distil = {"store": "groups/wild", "critic": "reprojection", "held_out_share": 0.3}
    order = {**training, "model": {**small, "heads": "one"}, "loss": "listwise_ranknet"}
    for name, what, config in (
        ("base", "base", base),
        ("scorer", "scorer", {"data": data, "training": {**training, "members": 2}}),
        ("order", "scorer", {"distil": distil, "training": order}),
    ):
        file = run.yaml(f"train_{name}.yaml", config)
        run(name, "train", what, "--config", file, "--out", f"train/{name}", "--threads", 1)
    run("measured", "evaluate", "train/base/model.safetensors", "--data", "data", "--split", "lab/val", "--persons", 20,
        "--num-hypotheses", 10, "--out", "train/measured", "--json")  # fmt: skip


def recover(run: Run) -> None:
    """Photos with given keypoints, a person given by a box, and a body of the user's."""
    if run.shared is None:
        return
    photos = [f"inputs/photos/{name}" for name in PHOTOS]
    common = ("--num-hypotheses", 20, "--seed", run.seed, "--json")
    keypoints = ("--detector", "none", "--keypoints", "inputs/keypoints.json")
    run("photos", "recover", *photos, *common, *keypoints, "--keep", 2, "--out", "recover/photos")
    run("box", "recover", photos[0], *common, "--detector", "none", "--boxes", "inputs/boxes.json", "--out",
        "recover/box")  # fmt: skip
    run("body", "recover", photos[1], *common, *keypoints, "--body", "inputs/figure.npz", "--focal-px", 700,
        "--weighed-by", "train/scorer/scorer.safetensors", "--out", "recover/body")  # fmt: skip
    run("raw", "recover", photos[2], *common, *keypoints, "--no-refine", "--checkpoint", "lite-lab", "--weighed-by",
        "scorer-lab", "--keep", "all", "--out", "recover/raw")  # fmt: skip


def judge(run: Run) -> None:
    """A judge that learns and judges, in three ways of asking, live and by batch files."""
    small = {"style": {"side": 160}}
    store, memory = "judge/store", "judge/memory.sqlite"
    run("store", "groups", "data/wild_val", "--out", store, "--checkpoint", "lite-lab", "--persons", 6, "--group-size",
        8, "--with-truth", "--critic", "oracle", "--seed", run.seed, "--json")  # fmt: skip
    explore = {"judge": small, "round_size": 4, "leave_one_out": 0.5, "seed": run.seed}
    pairs = {"judge": {**small, "plan": {"design": "pairs", "rounds": 1}}}
    plain = run.yaml("judge.yaml", {"judge": small})
    with judging() as asked:
        server = ("--base-url", asked.address, "--model", "rule", "--concurrency", 4, "--json")
        run("doctor", "critic", "doctor", *server[:4], "--out", "judge/doctor.json", "--json",
            expected=3)  # it sees no colours  # fmt: skip
        run("explore", "critic", "explore", "groups/lab", *server, "--memory", memory, "--groups", 8, "--journal",
            "judge/explore.sqlite", "--config", run.yaml("explore.yaml", explore))  # fmt: skip
        run("freeze", "critic", "freeze", memory, "--out", "judge/frozen.sqlite", "--json")
        run("export", "critic", "memory", "export", memory, "judge/memory")
        run("show", "critic", "memory", "show", "judge/frozen.sqlite", "--json")
        run("import", "critic", "memory", "import", "judge/memory", "judge/imported.sqlite")
        run("diff", "critic", "memory", "diff", memory, "judge/imported.sqlite", "--json")
        score = ("critic", "score", store, *server)
        run("remembering", *score, "--config", plain, "--memory", "judge/frozen.sqlite", "--name", "remembering")
        run("paper", *score, "--preset", "paper", "--name", "paper")
        run("pairs", *score, "--config", run.yaml("pairs.yaml", pairs), "--name", "pairs")
        run("groups", "groups", store, "--critic", "vlm", "--vlm", run.yaml("vlm.yaml", {"config": plain}),
            *server[:4], "--json")  # fmt: skip
        run("estimate", "critic", "estimate", store, "--config", plain, "--memory", memory, "--name", "next", "--json")
        batch = ("--name", "batch", "--journal", "judge/batch.sqlite", "--config", plain, "--json")
        run("requests", "critic", "export-batch", store, "--out", "judge/batch", "--model", "rule", *batch)
        answer_batch(run.work / "judge/batch", run.work / "judge/batch/answers.jsonl", asked)
        run("answers", "critic", "import-batch", store, "judge/batch/answers.jsonl", "--from", "judge/batch",
            "--journal", "judge/batch.sqlite", "--json")  # fmt: skip
        run("batch", "critic", "score", store, "--model", "rule", "--journal-only", *batch)
        run.write("asked.json", asked.told())


def ablate(run: Run) -> None:
    """A study of a judge with a memory, from exploring to aligned models."""
    run("persons", "groups", "bench/drawn", "--out", "ablate/persons", "--checkpoint", "lite-lab", "--persons", 20,
        "--group-size", 2, "--with-truth", "--critic", "oracle", "--json")  # fmt: skip
    if (run.work / "judge/store").is_dir():
        shutil.copytree(run.work / "judge/store", run.work / "ablate/store")
    study = {
        "learn": "groups/lab", "score": "ablate/store",
        "measure": {"store": "ablate/persons", "hypotheses": 10, "kinds": ["raw"]},
        "judging": {"style": {"side": 96, "views": "overlay", "strip": 0}},
        "explore": {"round_size": 4, "groups": 4}, "base": "lite-lab",
        "first_rules": [{"text": RULES[0], "tags": ["arms"]}],
        "align": {"held_out_share": 0.0, "training": {"steps": 3, "batch_size": 4, "warmup": 1}},
        "arms": [{"name": "full"}, {"name": "no rules", "rules": False}, {"name": "no memory", "memory": False},
                 {"name": "DPO", "method": "dpo"}, {"name": "mix", "critic": "mix"},
                 {"name": "base", "method": "none"}],
    }  # fmt: skip
    with judging() as asked:
        run("study", "critic", "ablate", "--config", run.yaml("study.yaml", study), "--out", "ablate/study",
            "--base-url", asked.address, "--model", "rule", "--json")  # fmt: skip
        run.write("asked.json", asked.told())
    for name in ("study/steps", "store"):  # what is in them has hashes of a memory in its names
        shutil.rmtree(run.work / "ablate" / name, ignore_errors=True)


def clean(run: Run) -> None:
    """Labels of shards and of a prediction file, by three rules."""
    seed = ("--seed", run.seed, "--json")
    run("outliers", "clean", "data/wild_val", "--out", "clean/outliers", "--sheet-items", 6, "--write", *seed)
    run("share", "clean", "data/lab_val", "--out", "clean/share", "--critic", "mix", "--keep-share", 0.8,
        "--sheet-items", 0, *seed)  # fmt: skip
    run("again", "clean", "data/lab_val", "--out", "clean/again", "--critic", "mix", "--threshold", -0.5,
        "--scores-from", "clean/share", "--sheet-items", 0, *seed)  # fmt: skip
    run("predicted", "clean", "inputs/free.npz", "--out", "clean/predicted", "--critic", "reprojection", "--threshold",
        -0.5, "--hypothesis", "best", "--sheet-items", 4, "--write", *seed)  # fmt: skip


def audit(run: Run) -> None:
    """Critics against truth and planted mistakes; habits of those that speak."""
    run("wild", "critic", "audit", "groups/wild", "--out", "audit/wild", "--planted", 10, "--seed", run.seed, "--json")
    run("judges", "critic", "audit", "judge/store", "--out", "audit/judges", "--reference", "none", "--json")


def demo(run: Run) -> None:
    """The demonstration with a small closed loop."""
    run("demo", "demo", "--out", "demo/all", "--groups", 60, "--steps", 10, "--persons", 40, "--num-hypotheses", 20,
        "--seed", run.seed, "--quiet")  # fmt: skip


CONTINUED = (
    "groups/wild", "align/dpo", "align/rounds", "train/base", "train/scorer", "recover/photos", "judge/store",
    "judge/frozen.sqlite", "judge/critic_journal.sqlite",
)  # fmt: skip
"""Results that commands are given again."""


def continued(run: Run) -> None:
    """Results of the other source, given to the same commands again: what is finished has to stay as it is."""
    here = "continued/copies"
    old, copies = run.old or run.work, run.work / here
    for path in (old / name for name in CONTINUED):
        into = copies / path.relative_to(old)
        into.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, into)
        elif path.is_file():
            shutil.copyfile(path, into)
    parts = sorted({name.split("/")[0] for name in CONTINUED})
    before = Results(copies, str(run.work)).hashes(parts)
    store = f"{here}/groups/wild"
    run("read", "groups", store, "--stats", "--json")
    run("scored", "groups", store, "--critic", *CRITICS, "--json")
    run("evaluated", "evaluate", f"{here}/train/base/model.safetensors", "--data", "data", "--split", "lab/val",
        "--persons", 10, "--num-hypotheses", 10, "--out", "continued/evaluated", "--json")  # fmt: skip
    for method, critic in (("dpo", "scorer-lab"), ("rounds", "mix")):
        named = ("--config", "inputs/rounds.yaml") if method == "rounds" else ()
        run(method, "align", *([] if named else [method]), "--groups", store, "--critic", critic, *named, "--steps", 20,
            "--seed", run.seed, "--out", f"{here}/align/{method}", "--json")  # fmt: skip
    for name, what in (("base", "base"), ("scorer", "scorer")):
        run(name, "train", what, "--config", f"inputs/train_{name}.yaml", "--out", f"{here}/train/{name}", "--threads",
            1)  # fmt: skip
    run("shown", "critic", "memory", "show", f"{here}/judge/frozen.sqlite", "--json")
    with judging() as asked:
        run("judged", "critic", "score", f"{here}/judge/store", "--base-url", asked.address, "--model", "rule",
            "--name", "vlm", "--config", "inputs/judge.yaml", "--json")  # fmt: skip
        run.write("asked.json", asked.told())
    if run.shared is not None:
        run("recovered", "recover", *(f"inputs/photos/{name}" for name in PHOTOS), "--num-hypotheses", 20, "--seed",
            run.seed, "--json", "--detector", "none", "--keypoints", "inputs/keypoints.json", "--keep", 2, "--out",
            f"{here}/recover/photos")  # fmt: skip
    after = Results(copies, str(run.work)).hashes(parts)
    run.write("changed.json", sorted(n for n in {*before, *after} if before.get(n) != after.get(n)))
    shutil.rmtree(copies)


STEPS: dict[str, Callable[[Run], None]] = {
    f.__name__: f
    for f in (bench, evaluate, groups, align, train, recover, judge, ablate, clean, audit, demo, continued)
}
"""In the order in which they need each other."""


# -- what the commands are given ---------------------------------------------------------------------------------------


def prepare(run: Run, data: Path | None) -> None:
    """Write `inputs`, and let `data` point at the benchmark."""
    inputs = run.work / "inputs"
    (inputs / "photos").mkdir(parents=True, exist_ok=True)
    if run.shared is not None:
        for name in PHOTOS:
            shutil.copyfile(run.shared / "photos" / name, inputs / "photos" / name)
        shutil.copyfile(run.shared / "poses" / POSES, inputs / "poses.npz")
    people = []
    for name, points in KEYPOINTS.items():
        flat = [v for k in COCO for v in ((*points[k], 0.9) if k in points else (0, 0, 0))]
        people.append({"image_id": name, "category_id": 1, "keypoints": flat, "score": 0.9})
    (inputs / "keypoints.json").write_text(json.dumps(people))
    (inputs / "boxes.json").write_text(json.dumps({"boxes": {PHOTOS[0]: [[275, 40, 520, 400], [300, 44, 470, 390]]}}))
    save_arrays(inputs / "figure.npz", figure())
    link = run.work / "data"
    link.unlink(missing_ok=True)
    link.symlink_to(run.work / "bench" if data is None else data.resolve())


def figure() -> dict[str, np.ndarray]:
    """A body file in SMPL's format: a small box of skin at each of 24 joints, made from nothing but this table."""
    parents = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
    half = {  # x of a left joint, y, z; metres, y up
        0: (0, -0.24, 0.03), 1: (0.07, -0.33, 0.02), 3: (0, -0.12, 0), 4: (0.1, -0.71, 0.01), 6: (0, 0.02, 0.03),
        7: (0.09, -1.13, -0.03), 9: (0, 0.07, 0.03), 10: (0.12, -1.19, 0.09), 12: (0, 0.28, -0.01),
        13: (0.08, 0.19, 0), 15: (0, 0.36, 0.04), 16: (0.2, 0.22, -0.01), 18: (0.45, 0.21, -0.04),
        20: (0.71, 0.21, -0.04), 22: (0.8, 0.2, -0.05),
    }  # fmt: skip
    joints = np.array([half[j] if j in half else np.multiply(half[j - 1], (-1, 1, 1)) for j in range(24)])
    corners = np.array(list(itertools.product((-0.04, 0.04), repeat=3)))
    vertices = (joints[:, None] + corners).reshape(-1, 3)
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    box = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    rng = np.random.default_rng(0)
    weights = np.repeat(np.eye(24), 8, axis=0)
    return {
        "v_template": vertices,
        "shapedirs": rng.normal(0, 2e-3, (len(vertices), 3, 10)),
        "posedirs": rng.normal(0, 1e-3, (len(vertices), 3, 207)),
        "J_regressor": weights.T / 8,
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(24)], np.uint32),
        "f": (box + 8 * np.arange(24)[:, None, None]).reshape(-1, 3).astype(np.uint32),
    }


def predictions(work: Path) -> None:
    """Prediction files of another system, made of the bodies in the store: rotations, SMPL's joints, joints alone."""
    path = work / "groups/wild/groups_00000.safetensors"
    if not path.is_file():
        return  # the command that makes it has failed, which is told
    store = {name: array[:10] for name, array in load_file(path).items()}
    two = store["rotmat_columns"]
    rotmats = np.concatenate([two, np.cross(two[..., 0], two[..., 1])[..., None]], -1)
    seen = {name: store[name] for name in ("keypoints", "confidence", "K", "box")}
    common = {"id": np.array([f"person_{n}" for n in range(10)]), "detector": np.array("mediapipe"), **seen}
    turned = {"global_orient": rotmats[:, :, 0], "body_pose": rotmats[:, :, 1:], "transl": store["transl"]}
    shape, joints = {"betas": store["betas"]}, {"joints": store["joints"][:, :, :24]}
    save_arrays(work / "inputs/free.npz", common | turned | shape | {"skeleton": np.array("free")})
    save_arrays(work / "inputs/smpl.npz", common | turned | shape | joints | {"skeleton": np.array("smpl")})
    nobody = {"skeleton": np.array("smpl"), "detector": np.array("unknown")}
    save_arrays(work / "inputs/joints.npz", common | joints | nobody)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz file without pickles."""
    np.savez(path, allow_pickle=False, **arrays)


# -- the judge ---------------------------------------------------------------------------------------------------------

RULES = (
    "If an arm or a hand lies inside the trunk, deduct 10 points",
    "If the far leg is drawn in front of the near leg in the side view, deduct 10 points",
    "If a foot floats while the person stands, deduct 10 points",
    "If the head looks another way than in the photo, deduct 15 points",
    "If both shoulders lie within the silhouette, add 5 points",
    "If a knee bends backwards, deduct 30 points",
    "If the trunk leans as in the photo, add 10 points",
)


class Judge(ThreadingHTTPServer):
    """A server of chat completions whose answers follow from the request alone."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """The whole answer."""
        with self.lock:
            self.bodies.append(body)
        words, pictures = shown(body)
        text = json.dumps(answer(body, words, pictures)) if "response_format" in body else "yes"
        prompt = sum(map(len, words)) // 4 + sum(map(len, pictures)) // 100
        return {
            "object": "chat.completion", "model": "rule",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": len(text) // 4},
        }  # fmt: skip

    def told(self) -> list[dict[str, Any]]:
        """Every request, in no particular order of time."""
        lines = []
        for body in self.bodies:
            words, pictures = shown(body)
            rest = {name: value for name, value in body.items() if name not in ("messages", "model")}
            lines.append({**rest, "words": words, "pictures": [_sha256(p)[:16] for p in pictures]})
        return sorted(lines, key=lambda line: json.dumps(line, sort_keys=True))


class _Asked(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Judge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = json.dumps(self.server.completion(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def judging() -> Iterator[Judge]:
    """A judge that listens."""
    server = Judge()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def shown(body: dict[str, Any]) -> tuple[list[str], list[bytes]]:
    """Words and pictures of a request, in their order."""
    words, pictures = [], []
    for message in body["messages"]:
        content = message["content"]
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                words.append(part["text"])
            else:
                pictures.append(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
    return words, pictures


def answer(body: dict[str, Any], words: list[str], pictures: list[bytes]) -> Any:
    """What the judge says: a prediction's score from its picture, all else from the whole request."""
    schema = body["response_format"]["json_schema"]["schema"]
    everything = _sha256("\n".join(words).encode() + b"".join(pictures))
    said = by_schema(schema, everything)
    labels = [label for label, value in said.items() if isinstance(value, dict) and "score" in value]
    # The photo is the first picture where they are called by their place, else it follows on what is remembered.
    tiles = pictures[1 : 1 + len(labels)] if "image_2" in labels else pictures[len(pictures) - len(labels) :]
    for label, tile in zip(labels, tiles, strict=True):
        said[label] = by_schema(schema["properties"][label], _sha256(tile))
    if "better" in said:
        first, second = (_sha256(picture) for picture in pictures[-2:])
        said["better"] = schema["properties"]["better"]["enum"][0 if first > second else 1]
    return said


def by_schema(schema: dict[str, Any], seed: str) -> Any:
    """A value of the form that is asked for; the seed decides which."""
    number = int(_sha256(seed.encode())[:12], 16)
    if schema["type"] == "object":
        return {name: by_schema(part, f"{seed} {name}") for name, part in schema["properties"].items()}
    if schema["type"] == "array":
        count = schema["minItems"] + number % (schema["maxItems"] - schema["minItems"] + 1)
        return [by_schema(schema["items"], f"{seed} {n}") for n in range(count)]
    if schema["type"] == "integer":
        return schema["minimum"] + number % (schema["maximum"] - schema["minimum"] + 1)
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    most = int(re.findall(r"\d+", schema.get("pattern", "100"))[-1])
    return RULES[number % len(RULES)][:most]


def answer_batch(folder: Path, path: Path, asked: Judge) -> None:
    """Answer the requests in the files of a batch, in the form of a batch service."""
    lines = []
    for file in sorted(folder.glob("requests_*.jsonl")):
        for line in file.read_text().splitlines():
            request = json.loads(line)
            response = {"status_code": 200, "request_id": "r", "body": asked.completion(request["body"])}
            lines.append({"id": "b", "custom_id": request["custom_id"], "response": response, "error": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


# -- hashes ------------------------------------------------------------------------------------------------------------

Entry = np.ndarray | list | dict | str
"""What is hashed: an array, a document, a text."""

MADE_BY = "made_by"

_PASSING = re.compile(r"(^|_)(seconds|versions|time|date|when)$")
"""Keys of what differs from run to run."""
_ORIGIN = re.compile(r"(^|_)(sha256|hash|hashes|fingerprint|made_by|settings|options|config|key|keys)$")
"""Keys of what says what made a number; kept apart from the numbers."""
_TIMES = re.compile(r"\b(CPU|s|seconds|minutes|hours)\b")
"""In the head of a table's column of times."""
_SECONDS = re.compile(r"\b\d+(\.\d+)? s\b")
_HASHES = re.compile(r"\b[0-9a-f]{12,64}\b")
_PORT = re.compile(r"127\.0\.0\.1:\d+")
_STEP = re.compile(r"\b(gpa-|(?:learn|score|align|measure)_)[0-9a-f]{12}\b")
"""Names of a study's steps, which end in a hash that depends on when its judge has learnt."""
_LEFT_OUT = (".pt", ".sqlite", ".sqlite-shm", ".sqlite-wal", ".lock", ".part")
"""State of an optimiser and databases are seen through commands."""
_OF_A_MEMORY = ("judge/freeze.out.json", "judge/show.out.json", "judge/memory/memory.json", "continued/shown.out.json",
                "ablate/study*")  # fmt: skip
"""Files whose hashes are of a memory, or follow from one: it knows when it has learnt."""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Results:
    """Files of a work folder as entries that are equal wherever and whenever they were made."""

    def __init__(self, folder: Path, place: str | None = None, old: Path | None = None) -> None:
        """`place` is where the folder lay when it was written; None for where it is. `old` is as for `Run`."""
        self.folder, self.place = folder, str(folder) if place is None else place
        # Equal weights make unequal files, as the order of what they say of themselves is left to chance.
        files = [path for where in (folder, old) if where is not None for path in where.rglob("*.safetensors")]
        weights = [path for path in files if _metadata(path)]
        self.weights = {_sha256(path.read_bytes()): _content_of(path) for path in weights}

    def entries(self, step: str) -> Iterator[tuple[str, Entry]]:
        """Everything that a step has left, by name."""
        for path in sorted((self.folder / step).rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not path.is_file() or path.suffix in _LEFT_OUT:
                continue
            for part, numbers, origins in self._parts(path):
                if numbers is not None:
                    yield f"{name}{part}", numbers
                if origins and not any(fnmatch.fnmatch(name, pattern) for pattern in _OF_A_MEMORY):
                    yield f"{MADE_BY}/{name}{part}", origins

    def hashes(self, steps: Sequence[str]) -> dict[str, str]:
        """Hashes of all entries of some steps."""
        return {name: hash_of(entry) for step in steps for name, entry in self.entries(step)}

    def _parts(self, path: Path) -> Iterator[tuple[str, Any, Any]]:
        """What a file holds: its part, the numbers, and what tells their origin."""
        kind = path.suffix
        if kind in (".safetensors", ".npz", ".parquet", ".obj"):
            for name, array in _arrays(path).items():
                if array.dtype.kind in "OU":
                    yield f"#{name}", *parted(self._settled(_read(array.tolist())))
                else:
                    yield f"#{name}", array, None
            if kind == ".safetensors":
                yield "", None, self._settled(_lasting(_metadata(path)))
        elif kind in (".json", ".jsonl"):
            text = path.read_text()
            document = json.loads(text) if kind == ".json" else [json.loads(line) for line in text.splitlines()]
            yield "", *parted(self._settled(document))
        elif kind in (".yaml", ".yml"):
            yield "", None, self._settled(_lasting(yaml.safe_load(path.read_text())))
        elif kind in (".png", ".jpg"):
            yield "", np.asarray(Image.open(path)), None
        elif kind in (".md", ".html"):
            yield "", _HASHES.sub("...", self._settled(without_times(path.read_text()))), None
        else:
            yield "", _sha256(path.read_bytes()), None

    def _settled(self, value: Any) -> Any:
        """The same wherever the folder is, whatever port the judge had, however equal weights were written."""
        if isinstance(value, str):
            if value in self.weights:
                return f"weights {self.weights[value]}"
            return _STEP.sub(r"\1...", _PORT.sub("127.0.0.1", value.replace(self.place, "WORK")))
        if isinstance(value, dict):
            settled = {self._settled(k): self._settled(v) for k, v in value.items()}
            if settled.get("memory_sha256"):
                settled |= {name: "of a memory" for name in ("memory_sha256", "sha256") if name in settled}
            return settled
        return [self._settled(v) for v in value] if isinstance(value, list) else value


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if path.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path).to_pydict()
        return {name: np.array([json.dumps(v, default=str) for v in column]) for name, column in table.items()}
    lines = [line.split() for line in path.read_text().splitlines()]
    return {
        kind: np.array([[float(v.partition("/")[0]) for v in line[1:]] for line in lines if line and line[0] == kind])
        for kind in ("v", "f")
    }


def _metadata(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself; empty for shards."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return _read(header.get("__metadata__", {}))


def _content_of(path: Path) -> str:
    """Hash of weights and of what they say of themselves."""
    return hash_of({"": _metadata(path), **{name: hash_of(array) for name, array in load_file(path).items()}})


def _read(value: Any) -> Any:
    """Texts that are documents themselves are read."""
    if isinstance(value, dict):
        return {name: _read(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_read(inner) for inner in value]
    try:
        return json.loads(value)
    except ValueError:
        return value


def without_times(text: str) -> str:
    """A page without times, Markdown without its tables' columns of times."""
    lines, gone = [], set[int]()
    for before, line in itertools.pairwise(["", *text.splitlines()]):
        if not line.startswith("|"):
            lines.append(line)
            continue
        cells = line.split("|")
        if not before.startswith("|"):
            gone = {i for i, cell in enumerate(cells) if _TIMES.search(cell)}
        lines.append("|".join(cell for i, cell in enumerate(cells) if i not in gone))
    return _SECONDS.sub("some s", "\n".join(lines))


def parted(value: Any) -> tuple[Any, Any]:
    """A document without what passes and without what tells origins, and the origins."""
    if isinstance(value, dict):
        numbers, origins = {}, {}
        for key, inner in value.items():
            if _PASSING.search(str(key)):
                continue
            if _ORIGIN.search(str(key)):
                if (told := _lasting(inner)) not in ({}, [], None):
                    origins[key] = told
                continue
            numbers[key], more = parted(inner)
            if more:
                origins[key] = more
        return numbers, origins
    if isinstance(value, list):
        parts = [parted(inner) for inner in value]
        return [n for n, _ in parts], {str(i): o for i, (_, o) in enumerate(parts) if o}
    return value, None


def _lasting(value: Any) -> Any:
    """The same without what passes."""
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if not _PASSING.search(str(k))}
    return [_lasting(v) for v in value] if isinstance(value, list) else value


def hash_of(entry: Entry) -> str:
    """Hash of an array's type, shape and bytes, or of a document's values."""
    if isinstance(entry, np.ndarray):
        plain = np.ascontiguousarray(entry.astype(entry.dtype.newbyteorder("<")))
        return _sha256(f"{plain.dtype.str} {plain.shape} ".encode() + plain.tobytes())
    return _sha256(json.dumps(entry, sort_keys=True).encode())


# -- comparison --------------------------------------------------------------------------------------------------------


def difference(old: Entry, new: Entry) -> str:
    """In a line, how far two entries are apart."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        if old.shape != new.shape or old.dtype != new.dtype:
            return f"{old.dtype} {old.shape} became {new.dtype} {new.shape}"
        apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
        unequal = (old != new) & ~((old != old) & (new != new))
        return f"largest difference {np.nanmax(apart):.3g}, {unequal.mean():.1%} of the numbers"
    if isinstance(old, str) and isinstance(new, str):
        pairs = itertools.zip_longest(old.splitlines(), new.splitlines())
        return next((f"'{_cut(a)}' became '{_cut(b)}'" for a, b in pairs if a != b), "")
    leaves = [(path, a, b) for path, a, b in _leaves(old, new, "") if _differ(a, b)]
    numbers = [abs(a - b) for _, a, b in leaves if _is_number(a) and _is_number(b)]
    largest = f", largest difference {max(numbers):.3g}" if numbers else ""
    told = "; ".join(f"{path or 'it'}: {_cut(a)} became {_cut(b)}" for path, a, b in leaves[:3])
    return f"{len(leaves)} values{largest}: {told}"


_NOTHING = "(nothing)"


def _leaves(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}, key=str):
            yield from _leaves(old.get(key, _NOTHING), new.get(key, _NOTHING), f"{path}/{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for i, (a, b) in enumerate(itertools.zip_longest(old, new, fillvalue=_NOTHING)):
            yield from _leaves(a, b, f"{path}/{i}")
    else:
        yield path, old, new


def _differ(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _cut(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def compare(record: Path, work: Path, new: dict[str, Any], left_out: list[str]) -> list[str]:
    """Names that differ from an earlier record, each told on a line of standard output."""
    old = json.loads(record.read_text())
    steps = new["steps"]

    def of_these(hashes: dict[str, str]) -> dict[str, str]:
        return {
            name: value for name, value in hashes.items()
            if name.removeprefix("made_by/").split("/")[0] in steps
            and not any(fnmatch.fnmatch(name, pattern) for pattern in left_out)
        }  # fmt: skip

    before, after = of_these(old["hashes"]), of_these(new["hashes"])
    for what in ("machine", "libraries", "seed"):
        if old[what] != new[what]:
            print(f"note: {what} was {old[what]}, is {new[what]}")
    changed = [name for name in before if name in after and before[name] != after[name]]
    gone, more = [n for n in before if n not in after], [n for n in after if n not in before]
    folder = _folder_of(record)
    parts = sorted({name.removeprefix("made_by/").split("/")[0] for name in changed})
    wanted = set(changed)
    values = [
        {} if f is None else {n: e for s in parts for n, e in f.entries(s) if n in wanted}
        for f in (None if folder is None else Results(folder, old["work"]), Results(work, old=folder))
    ]
    for name in changed:
        known = name in values[0] and name in values[1]
        said = difference(values[0][name], values[1][name]) if known else "the old values are not there"
        print(f"differs  {name}: {said}")
    for word, names in (("gone", gone), ("new", more)):
        for name in names:
            print(f"{word:<8} {name}")
    print(f"{len(before)} entries of {record}: {len(before) - len(changed) - len(gone)} equal, {len(changed)} differ, "
          f"{len(gone)} are gone, {len(more)} are new")  # fmt: skip
    return [*changed, *gone, *more]


def _folder_of(record: Path) -> Path | None:
    """The work folder of a record: where it lies, or beside it under its name."""
    for folder in (record.with_suffix(""), record.parent):
        if (folder / "inputs").is_dir():
            return folder.resolve()
    return None


def table(record: dict[str, Any]) -> str:
    """A row per folder and file: how many entries, and a hash of all of them."""
    rows: dict[str, list[str]] = {}
    for name, value in record["hashes"].items():
        row = "/".join(name.partition("#")[0].split("/")[: 3 if name.startswith("made_by/") else 2])
        rows.setdefault(row, []).append(value)
    width = max(map(len, rows), default=0)
    return "\n".join(
        f"{row:<{width}}  {len(values):>5}  {_sha256(''.join(values).encode())[:16]}" for row, values in rows.items()
    )


# -- the whole ---------------------------------------------------------------------------------------------------------


def main() -> int:
    args = _arguments()
    work, steps = args.work.resolve(), args.only or list(STEPS)
    old = None if args.against is None else _folder_of(args.against)
    work.mkdir(parents=True, exist_ok=True)
    run = Run(work, args.shared, args.seed, old)
    if not args.no_run:
        _run_steps(run, steps, args.data)
    record = {
        "format_version": FORMAT_VERSION,
        "work": str(work), "steps": steps, "seed": args.seed, "failed": run.failed, "cpu_seconds": run.seconds,
        "machine": _machine(), "libraries": _libraries(), "source": _source(run),
        "hashes": Results(work, old=old).hashes(steps),
    }  # fmt: skip
    (work / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    print(f"{len(record['hashes'])} entries, {sum(run.seconds.values()):.0f} CPU seconds, of {record['source']}")
    for line in run.failed:
        print(f"failed   {line}")
    differing = [] if args.against is None else compare(args.against, work, record, args.leave_out)
    return 1 if differing or run.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    shared = Path(os.environ.get("HMRALIGN_SHARED_DATA", beside))
    parser.add_argument("--work", type=Path, required=True, help="folder for everything, new or empty")
    parser.add_argument("--against", type=Path, help="hashes.json of an earlier run; exit code 1 where one differs")
    parser.add_argument("--data", type=Path, help="read the benchmark from here; it is made and hashed all the same")
    parser.add_argument("--shared", type=Path, default=shared, help=f"folder with photos/ and poses/ ({shared})")
    parser.add_argument("--no-shared", action="store_true", help="go without photos and recorded poses")
    parser.add_argument("--only", nargs="+", choices=list(STEPS), help="only these steps, in a work folder that has "
                        "what they need")  # fmt: skip
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="PATTERN", help="names that may differ, such as "
                        "'made_by/*' or '*.md'")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="another one shows that differences are seen")
    parser.add_argument("--no-run", action="store_true", help="hash and compare what the work folder has")
    args = parser.parse_args()
    if args.no_shared:
        args.shared = None
    elif not all((args.shared / p).is_file() for p in (f"poses/{POSES}", *(f"photos/{name}" for name in PHOTOS))):
        parser.error(f"{args.shared} lacks photos or poses; give --shared, or --no-shared to go without")
    if args.against is not None and not args.against.is_file():
        parser.error(f"{args.against} is no file")
    if not (args.only or args.no_run) and args.work.is_dir() and any(args.work.iterdir()):
        parser.error(f"{args.work} is not empty; expected a new folder")
    return args


def _run_steps(run: Run, steps: list[str], data: Path | None) -> None:
    prepare(run, data)
    for step in steps:
        folder = run.work / step
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run.step, run.exit_codes = step, {}
        begun, spent = time.monotonic(), _child_seconds()
        STEPS[step](run)
        run.write("exit_codes.json", run.exit_codes)
        took = f"{_child_seconds() - spent:.0f} CPU seconds, {time.monotonic() - begun:.0f} s"
        print(f"{step}: {took}", file=sys.stderr, flush=True)


def _child_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _machine() -> str:
    """Processor and system: other ones may round otherwise."""
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor()}, {platform.system()} {platform.machine()}"


def _libraries() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("torch", "numpy", "scipy", "warp-lang", "pillow", "matplotlib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _source(run: Run) -> str:
    """Where the package that was recorded lies."""
    code = "import hmralign; print(hmralign.__path__[0])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=run.environment, cwd=run.work, capture_output=True, text=True
    )
    return done.stdout.strip() or "no package"


if __name__ == "__main__":
    sys.exit(main())
