"""Three small stores of a tiny checkpoint's groups, and a study of them that takes seconds."""

from pathlib import Path

from hmralign.cli.main import main
from hmralign.overlays.hypothesis_tile import TileStyle
from support.group_stores import shard_folder
from support.recover_example import tiny_checkpoint

PERSONS, HYPOTHESES = 4, 4
STYLE = TileStyle(views="overlay", side=64, strip=0)
RULES = ["If a hand lies inside the trunk, deduct 10 points"]


def stores(folder: Path, *, persons: int = PERSONS, hypotheses: int = HYPOTHESES) -> dict[str, str]:
    """Groups with truth to learn on, to score, and to measure on; of different persons."""
    checkpoint = tiny_checkpoint(folder / "tiny.safetensors")
    flags = ["--group-size", str(hypotheses), "--num-steps", "2", "--critic", "plausibility", "--with-truth", "--quiet"]
    made = {"base": str(checkpoint)}
    for seed, name in enumerate(("learn", "score", "measure"), start=5):
        shards = shard_folder(folder / f"shards_{name}", persons, seed=seed)
        out = folder / name
        words = ["--out", str(out), "--checkpoint", str(checkpoint), "--shard-size", "2"]
        assert main(["groups", str(shards), *words, *flags]) == 0
        made[name] = str(out)
    return made


def study(made: dict[str, str], **changes) -> dict:
    """As its YAML file says it."""
    return {
        "learn": made["learn"], "score": made["score"], "base": made["base"],
        "measure": {"store": made["measure"], "hypotheses": 10, "kinds": ["raw"]},
        "judging": {"style": {"views": STYLE.views, "side": STYLE.side, "strip": STYLE.strip}},
        "explore": {"round_size": 2}, "first_rules": [{"text": text, "tags": ["arms"]} for text in RULES],
        "align": {"min_persons": 1, "held_out_share": 0.0, "dpo": {"top_k": 2},
                  "training": {"steps": 2, "batch_size": 4, "check_every": 2, "save_every": 2, "warmup": 1}},
        **changes,
    }  # fmt: skip
