"""A benchmark of a few persons, tiny bases, and settings of a comparison on them."""

from dataclasses import replace
from pathlib import Path

from hmralign.data.synthetic.synthwild import SPLITS, Split
from hmralign.models.checkpoint import save_checkpoint
from hmralign.studies.alignment.settings import StudySettings
from hmralign.systems.synth.write_synthwild import write_benchmark
from support.synthetic_persons import BODY, tiny_model

TINY_SPLITS = {
    "tiny/train": Split("wild", "train", 14, 981, 0.6),
    "tiny/val": Split("wild", "train", 8, 982, 0.6),
    "tiny/test": Split("wild", "heldout", 8, 983, 0.6),
    "tiny/labval": Split("lab", "train", 6, 984, 0.6),
    "tiny/lab": Split("lab", "train", 5, 985, 0.6),
    "tiny/broad": Split("broad", "train", 4, 986, 0.6),
}


def know_splits(patch) -> None:
    """`patch` is pytest's."""
    for name, split in TINY_SPLITS.items():
        patch.setitem(SPLITS, name, split)


def tiny_benchmark(folder: Path) -> Path:
    write_benchmark(folder, list(TINY_SPLITS))
    return folder


def tiny_base(path: Path, seed: int = 0, sources: tuple[str, ...] = ("tiny/lab",)) -> str:
    """Written once: the order of a file's header is not always the same, and so is its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return (
        str(path)
        if path.is_file()
        else str(save_checkpoint(path, tiny_model(seed), BODY.skeleton_hash, sources=sources))
    )


def tiny_settings(data: Path, folder: Path, **changes) -> StudySettings:
    bases = tuple(tiny_base(folder / f"base_{k}.safetensors", k) for k in (0, 1))
    settings = StudySettings(
        data, folder / "work", folder / "log.jsonl", bases=bases, persons=9, group_size=4, steps=2, batch_size=8,
        train_split="tiny/train", label_splits=("tiny/lab", "tiny/broad"), val_split="tiny/val", val_persons=6,
        final_split="tiny/test", final_persons=8, forget_split="tiny/labval", forget_persons=4, hypotheses=10,
        many_persons=1, many_rows=("base", "best-of-N, reprojection"),
        num_steps=1, temperatures=(0.1, 1.0), sweep_critic="reprojection", sweep_sizes=(2, 4),
        sweep_size_persons=6, sweep_persons=(100,),
    )  # fmt: skip
    return replace(settings, **changes)
