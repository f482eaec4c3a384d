"""Where critics mislead: kinds of mistakes on real samples of `lite-lab`, regret and pairs by kind, and pictures.

    python benchmarks/critics/critic_failures.py --data DIR [--persons 1000] [--work DIR]

Persons of SynthWild's wild/val, 16 samples each, with truth. Groups and scores are kept in `--work`, and a run that was
cut off goes on where it was; tables and pictures are made anew. Committed figures come from a fresh `--work`.
"""

import argparse
import json
import time
from io import BytesIO
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.critics.names import CRITICS, CriticChoice
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.models.scorer_checkpoint import scorer_path
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.storage.whole_file import write_whole
from hmralign.studies.critic_failures.judged import JudgedGroups, judged_groups
from hmralign.studies.critic_failures.report import failures_markdown
from hmralign.studies.critic_failures.sheet import cases, failures_sheet
from hmralign.studies.critic_failures.study import FailuresConfig, failures

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
CHECKPOINT, SPLIT, HYPOTHESES = "lite-lab", "wild/val", 16
SHEETS = ("reprojection", "silhouette", "plausibility", "scorer-lab")
"""Critics whose failures are drawn."""
QUALITY = 74
"""Of JPEG files."""


def groups_of(args: argparse.Namespace, config: FailuresConfig, body: BodyModel) -> GroupStore:
    """Groups of the first persons, scored by every critic."""
    source = ShardSource.open(args.data / SPLIT.replace("/", "_"), args.persons)
    critics: list[CriticChoice] = [name for name in tuple(CRITICS) if name in config.critics]
    return build_groups(
        LitePolicy.load(CHECKPOINT, body), body, checkpoint_hash(CHECKPOINT), trained_on(CHECKPOINT), source,
        args.work / f"groups_{args.persons}", GroupStoreConfig(HYPOTHESES, with_truth=True, seed=args.seed), critics,
    )  # fmt: skip


def draw(store: GroupStore, judged: JudgedGroups, body: BodyModel, seed: int) -> dict[str, list[dict]]:
    """A sheet per critic; returns what each shows."""
    shown = {}
    for name in SHEETS:
        found = cases(judged, name, seed)
        sheet = failures_sheet(store, judged, name, body, found)
        content = BytesIO()
        sheet.save(content, "JPEG", quality=QUALITY, optimize=True)
        write_whole(RESULTS / f"critic_failures_{name.replace('-', '_')}.jpg", content.getvalue())
        shown[name] = [
            {"group": judged.ids[c.group], **{k: v for k, v in vars(c).items() if k != "group"}} for c in found
        ]
    return shown


def page(document: dict) -> str:
    """The Markdown file: what it is, the reading where there is one, pictures, tables."""
    run, persons = document["run"], document["groups"]
    reading = RESULTS / "critic_failures_reading.md"
    sheets = "\n\n".join(
        f"**{name}.** ![groups that misled {name}](critic_failures_{name.replace('-', '_')}.jpg)" for name in SHEETS
    )
    parts = [
        f"# Where critics mislead: {persons} persons of {SPLIT}, {HYPOTHESES} samples of `{CHECKPOINT}` each",
        f"Written by `{run['command']}`; seed {run['seed']}, {run['cpu_seconds']:.0f} CPU seconds with sampling, "
        f"scoring and drawing. Groups {document['store_sha256'][:16]}, weights {run['checkpoint_sha256'][:16]}, scorer "
        f"{run['scorer_sha256'][:16]}, split {run['source_sha256'][:16]}. Kinds are defined in "
        "`evaluation/mistakes/kinds.py`; no test split was read.",
        reading.read_text().strip() if reading.exists() else "",
        "## Pictures",
        "For each kind the group where it costs most, so these are extremes, and one drawn at random from the groups "
        "where it is the largest part of the regret. Keypoints: the person's left side orange, right side green, those "
        "with a confidence below 0.3 left out; the mask is grey. A good overlay with a wrong side view is what a "
        "picture cannot tell.",
        sheets,
        failures_markdown(document),
    ]  # fmt: skip
    return "\n\n".join(p for p in parts if p)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/critic_failures")
    parser.add_argument("--persons", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of samples, of random scores and cases, of the bootstrap")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body, config = load_free_body("3k5"), FailuresConfig(seed=args.seed)
    store = groups_of(args, config, body)
    judged = judged_groups(store, config.critics, body)
    document = failures(judged, config) | {
        "store_sha256": store.content_hash(), "compared": list(config.compared), "source": store.facts.source,
    }  # fmt: skip
    document["pictures"] = draw(store, judged, body, args.seed)
    document["run"] = {
        "command": f"python benchmarks/critics/critic_failures.py --persons {args.persons} --seed {args.seed}",
        "seed": args.seed,
        "checkpoint": CHECKPOINT,
        "checkpoint_sha256": store.facts.checkpoint_sha256,
        "scorer_sha256": checkpoint_hash(scorer_path("scorer-lab")),
        "source_sha256": store.facts.source_sha256,
        "cpu_seconds": round(time.process_time(), 1),
    }
    write_whole(RESULTS / "critic_failures.json", (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    write_whole(RESULTS / "critic_failures.md", page(document).encode())


if __name__ == "__main__":
    main()
