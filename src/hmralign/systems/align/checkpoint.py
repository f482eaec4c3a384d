"""`hmralign align`: a checkpoint and a store of groups in, an aligned checkpoint out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.scorer_checkpoint import SHIPPED_SCORERS
from hmralign.models.shipped import SHIPPED
from hmralign.policies.catalogue import OpenedPolicy, open_policy
from hmralign.policies.policy import SavedPolicy
from hmralign.preferences.store import GroupStore
from hmralign.storage.folder_lock import held_folder
from hmralign.storage.run_record import first_difference, plain
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.storage.yaml_file import read_yaml
from hmralign.structures import InputError
from hmralign.structures.extensions import extension_code
from hmralign.systems.align.configuration import AlignConfig
from hmralign.systems.align.curves import draw_curves
from hmralign.systems.align.run import Aligned, align_policy, check_persons
from hmralign.systems.recover.provenance import library_versions
from hmralign.training.processes import by_the_first

FORMAT_VERSION = 1


@dataclass(frozen=True)
class AlignedCheckpoint:
    """Where the weights are, and how the run went."""

    path: Path
    result: Aligned


def open_start(
    store: GroupStore, checkpoint: str | None, body: BodyModel, *, other_model: bool = False
) -> OpenedPolicy:
    """The policy that sampled a store: the given one, or the shipped weights of that hash.

    Raises InputError where neither is it, unless groups of another model are asked for, and as `open_policy`.
    """
    sampled_by = store.facts.checkpoint_sha256
    if checkpoint is None:
        found = [name for name in SHIPPED if checkpoint_hash(name) == sampled_by]
        if not found:
            raise InputError(
                f"{store.folder}: its groups were sampled by weights {sampled_by[:12] or '(none)'}..., which are none "
                "of the shipped ones; give --checkpoint"
            )
        checkpoint = found[0]
    facts = store.facts
    opened = open_policy(checkpoint, body, num_steps=facts.sampler_steps, detector=facts.detector)
    if opened.sha256 != sampled_by and not other_model:
        raise InputError(
            f"{store.folder}: its groups were sampled by other weights ({sampled_by[:12] or 'of another system'}...) "
            f"than {checkpoint}; their bodies can be trained on with --other-model"
        )
    return opened


def scores_to_follow(store: GroupStore) -> str:
    """Whose scores are trained on where nobody says: the learned scorer's, else those of the only critic.

    The learned scorer is the critic that moved models furthest without truth (docs/results/alignment.md). Raises
    InputError where there are no scores, or several and none, or more than one, by a learned scorer.
    """
    names = store.critics()
    if not names:
        raise InputError(f"{store.folder}: no critic has scored these groups; see `hmralign groups --help`, --critic")
    candidates = [name for name in names if name in SHIPPED_SCORERS] or list(names)
    if len(candidates) > 1:
        raise InputError(
            f"{store.folder}: holds scores by {', '.join(candidates)}; say with --critic which to train on"
        )
    return candidates[0]


def own_body(path: Path | None) -> BodyModel:
    """The body of that file, or the free one. Errors as `load_body`."""
    return load_free_body("3k5") if path is None else load_body(path)


def align_checkpoint(
    store_folder: Path,
    checkpoint: str | None,
    config: AlignConfig,
    out: Path,
    *,
    other_model: bool = False,
    body: Path | None = None,
    device: str | torch.device = "cpu",
) -> AlignedCheckpoint:
    """Align, resuming an unfinished run in `out`; writes `model.safetensors`, `run.yaml`, `curve.jsonl`, `curves.png`.

    `body` is the file of the body that groups and checkpoint belong to, the free one where nothing is said. Raises
    InputError for a folder that holds a run with other settings, and as `align_policy`.
    """
    store = GroupStore.open(store_folder)
    start = open_start(store, checkpoint, own_body(body).to(device), other_model=other_model)
    _require_savable(start)
    record = _record(store, start, config)
    check_persons(store, config)  # before anything is written
    with by_the_first(held_folder(out, "aligning into this folder")):
        claim_record(out / "run.yaml", record)
        return _aligned(store, start, config, out)


def _require_savable(start: OpenedPolicy) -> None:
    """Raise InputError before a long run whose result could not be written."""
    if not isinstance(start.diffusion(), SavedPolicy):
        raise InputError(
            f"{start.name}: its policy has no `save(path, sources)`, so an aligned one could not be written"
        )


def _aligned(store: GroupStore, start: OpenedPolicy, config: AlignConfig, out: Path) -> AlignedCheckpoint:
    policy = start.diffusion()
    result = align_policy(policy, start.sha256, policy.body, store, config, out)
    sources = tuple(dict.fromkeys((*start.trained_on, *store.facts.trained_on, store.facts.source)))
    return write_aligned(result, out, sources, f"{config.method} on {config.critic}")


def write_aligned(result: Aligned, out: Path, sources: tuple[str, ...], title: str) -> AlignedCheckpoint:
    """Weights, drawn curves and summary of a finished run."""
    path = result.policy.save(out / "model.safetensors", sources)
    draw_curves(out / "curve.jsonl", out / "curves.png", title)
    summary = {
        "format_version": FORMAT_VERSION, "checkpoint": str(path), "sha256": checkpoint_hash(path),
        "rounds": result.rounds, "stopped": result.stopped, "groups": result.groups,
    }  # fmt: skip
    write_json(out / "summary.json", summary)
    return AlignedCheckpoint(path, result)


def _record(store: GroupStore, start: OpenedPolicy, config: AlignConfig) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "command": "align",
        "config": plain(config.mapping),
        "made_by": {
            "checkpoint": start.name,
            "checkpoint_sha256": start.sha256,
            "groups": store.content_hash(),
            "scores": _scores_hash(store, config.critic if config.uses_scores else None),
            "labelled_scores": _scores_hash(store, config.labelled.scores),
            "method_sha256": extension_code(config.method),
            "skeleton_hash": store.facts.skeleton_hash,
            "mesh_hash": store.facts.mesh_hash,
            "versions": library_versions(),
        },
    }


def _scores_hash(store: GroupStore, critic: str | None) -> str | None:
    """Hash of a critic whose scores are trained on; None where there is none."""
    if critic is None:
        return None
    store.scores(critic)  # says which critics there are
    return store.critic_facts(critic).get("sha256")


def claim_record(path: Path, record: dict[str, Any]) -> None:
    """Write the record of a run, or make sure that the one there is of the same run. Versions may differ.

    Raises InputError where the folder holds another run, or none that can be read.
    """
    if path.is_file():
        try:
            there = read_yaml(path, "the record of a run")
            found = first_difference(_without_versions(there), _without_versions(record))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not the record of a run ({error})") from error
        if found is not None and not (path.parent / "state.pt").exists():
            write_whole(path, yaml.safe_dump(record, sort_keys=False))  # that run never took a step
        elif found is not None:
            raise InputError(f"{path.parent}: was made with {found}; use another folder")
        return
    if (path.parent / "state.pt").exists() or (path.parent / "model.safetensors").exists():
        raise InputError(f"{path.parent}: holds another run; use another folder")
    write_whole(path, yaml.safe_dump(record, sort_keys=False))


def _without_versions(record: dict[str, Any]) -> dict[str, Any]:
    made_by = {k: v for k, v in record["made_by"].items() if k != "versions"}
    return {**record, "made_by": made_by}
