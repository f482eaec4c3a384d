"""`hmralign align --pairs`: a checkpoint of HypoNet and a published pool in, an aligned checkpoint out.

    pool + images -> contexts, x_0, scores -> items of the method -> loop (guarded, resumable) -> average

A pool has no bodies and no camera, so nobody is held out to be looked at: the guard sees losses alone.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import torch

from hmralign.alignment.methods.dpo import DpoConfig
from hmralign.alignment.methods.group import GroupConfig
from hmralign.alignment.methods.sft import SftConfig
from hmralign.alignment.pool_groups import LivePoolContexts, cached_pool_contexts, pool_items, pool_scores, with_truth
from hmralign.body.body_file import load_body
from hmralign.body.free_body import load_free_body
from hmralign.policies.catalogue import OpenedPolicy, open_policy
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.preferences.pool_images import PoolImages
from hmralign.preferences.published_pool import PublishedPool, read_pool
from hmralign.preferences.published_pool_files import is_published, read_published
from hmralign.storage.folder_lock import held_folder
from hmralign.storage.run_record import plain
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.systems.align.checkpoint import FORMAT_VERSION, AlignedCheckpoint, claim_record, write_aligned
from hmralign.systems.align.configuration import AlignConfig
from hmralign.systems.align.run import Aligned
from hmralign.systems.recover.provenance import library_versions
from hmralign.training.contexts import encoder_is_trained
from hmralign.training.offline import OfflineStep
from hmralign.training.preference import choose_trainable, train_policy
from hmralign.training.processes import by_the_first


def read_any_pool(path: Path) -> PublishedPool:
    """A pool of ours or a published file. Errors as `read_pool` and `read_published`."""
    return read_published(path).pool if is_published(path) else read_pool(path)


def align_pool(
    pairs: Path,
    checkpoint: str,
    images: Path,
    config: AlignConfig,
    out: Path,
    *,
    critic: str | None = None,
    body: Path | None = None,
    device: str | torch.device = "cpu",
) -> AlignedCheckpoint:
    """Align a HypoNet with a pool over images below a folder; resumes from `out`, and writes what `align` writes.

    `critic` is the pool's measure to follow (`alignment.pool_groups.pool_scores`), `body` the file of the body to which
    the checkpoint is bound. Raises InputError for a policy of another kind, a method that needs bodies, records too few
    to learn from, images that are missing or outside of the folder, and a folder that holds another run.
    """
    pool = read_any_pool(pairs)
    if isinstance(config.settings, SftConfig):
        pool = with_truth(pool)
    _require_fitting(pool, config)
    scores = pool_scores(pool, critic)
    seen = PoolImages(pool, images)
    bound_to = load_free_body("3k5") if body is None else load_body(body)
    start = open_policy(checkpoint, bound_to.to(device))
    if not isinstance(start.policy, HypoNetPolicy):
        raise InputError(f"{checkpoint}: pools are samples of HypoNet, and this is a {type(start.policy).__name__}")
    record = _record(pairs, start, config, critic)
    with by_the_first(held_folder(out, "aligning into this folder")):
        claim_record(out / "run.yaml", record)
        result = _aligned(start.policy, seen, scores, config, out)
        return _written(start, result, config, out, f"pool:{record['made_by']['pool']}")


def _require_fitting(pool: PublishedPool, config: AlignConfig) -> None:
    if not isinstance(config.settings, DpoConfig | GroupConfig | SftConfig):
        raise InputError(f"pools are for dpo, group and sft, not for {config.method}, which needs bodies")
    if config.labelled.share > 0 or config.refresh.rounds > 1:
        raise InputError("a pool is neither labelled in parts nor sampled anew; expected labelled.share 0 and 1 round")
    if len(pool) < config.min_persons:
        raise InputError(
            f"{counted(len(pool), 'record')} are too few to align a model; expected at least {config.min_persons} "
            "(to try fewer, set min_persons in the configuration)"
        )


def _aligned(start: HypoNetPolicy, images: PoolImages, scores: torch.Tensor, config: AlignConfig, out: Path) -> Aligned:
    training = config.training
    made = pool_items(
        images.pool, images.samples(), scores, images.unseen(), config.settings, seeded(training.seed, "items")
    )
    reference = copy.deepcopy(start).eval().requires_grad_(False)
    policy = copy.deepcopy(reference)
    choose_trainable(policy, training)
    if training.cache_context:
        if encoder_is_trained(policy, policy.denoiser):
            raise InputError("contexts cannot be kept while the encoder is trained: cache_context = false")
        contexts = cached_pool_contexts(reference, images, training.context_variants)
    else:
        contexts = LivePoolContexts(images, training.context_variants)
    losses = OfflineStep(made.items, contexts, made.objective, reference, training)
    found = train_policy(policy, losses, training, out)
    return Aligned(found.policy, 1, found.stopped, len(made.items.person.unique()))


def _written(start: OpenedPolicy, result: Aligned, config: AlignConfig, out: Path, source: str) -> AlignedCheckpoint:
    sources = tuple(dict.fromkeys((*start.trained_on, source)))
    return write_aligned(result, out, sources, f"{config.method} on a pool")


def _record(pairs: Path, start: OpenedPolicy, config: AlignConfig, critic: str | None) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "command": "align",
        "config": plain(config.mapping),
        "made_by": {
            "checkpoint": start.name,
            "checkpoint_sha256": start.sha256,
            "pool": hashlib.sha256(pairs.read_bytes()).hexdigest(),
            "followed": critic,
            "skeleton_hash": start.policy.body.skeleton_hash,
            "versions": library_versions(),
        },
    }
