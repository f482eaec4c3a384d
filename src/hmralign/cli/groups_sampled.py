"""`hmralign groups PHOTOS` or shards: hypotheses are sampled for the persons of a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmralign.cli.groups_options import GroupsOptions, check_pairs, checked_critics, computed
from hmralign.cli.run_file import write_run_file
from hmralign.cli.usage import UsageError
from hmralign.cli.work_options import has_workers, run_workers, told_to_the_driver
from hmralign.detection.names import wrong_folder

if TYPE_CHECKING:
    from hmralign.body.model import BodyModel
    from hmralign.engines.work import Units
    from hmralign.preferences.person_source import GroupSource
    from hmralign.preferences.store import GroupStore


def from_source(options: GroupsOptions) -> tuple[GroupStore, tuple[str, ...]]:
    """A store of the persons of the source, new or continued; workers go ahead where there are some."""
    from hmralign.preferences.build import build_groups

    required_out(options)
    if has_workers(options):
        run_workers(options, partial(opened_units, options), options.device)
    with _prepared(options) as made:
        store = build_groups(**made.arguments, only_collect=options.collect)
        write_run_file(store.folder, "groups", options, made_by(options, store, made.own_body, made.detector))
    return store, made.critics


@contextmanager
def opened_units(options: GroupsOptions) -> Iterator[Units]:
    """The units of the store, for a worker."""
    from hmralign.preferences.workers import GroupUnits

    with told_to_the_driver(), _prepared(options) as made:
        yield GroupUnits.begin(**made.arguments)


def required_out(options: GroupsOptions) -> Path:
    """The folder of the store. Raises UsageError without one."""
    if options.out is None:
        raise UsageError("--out is missing; expected the folder of the store")
    return options.out


@dataclass(frozen=True)
class _Prepared:
    """What groups are made with."""

    arguments: dict[str, Any]
    """Those of `build_groups`."""
    critics: tuple[str, ...]
    own_body: BodyModel
    detector: dict[str, str]
    """Versions behind the detector."""


@contextmanager
def _prepared(options: GroupsOptions) -> Iterator[_Prepared]:
    """Policy, body, source and critics of the options."""
    from hmralign.body.body_file import load_body
    from hmralign.body.free_body import load_free_body
    from hmralign.critics.catalogue import critic_crop_side
    from hmralign.models.scorer_checkpoint import scorer_for
    from hmralign.policies.catalogue import open_policy
    from hmralign.policies.policy import crop_side
    from hmralign.preferences.build import GroupStoreConfig
    from hmralign.preferences.person_source import PhotoSource

    out = required_out(options)
    if options.predicted_by:
        raise UsageError("--predicted-by is for a prediction file (.npz); the groups of this source are sampled here")
    checked_critics(options.critic)
    critics = options.critic or (scorer_for(options.checkpoint),)
    if (wrong := wrong_folder(options.detector, options.detector_folder)) is not None:
        raise UsageError(wrong)
    check_pairs(options, options.group_size)
    config = GroupStoreConfig(
        group_size=options.group_size,
        num_steps=options.num_steps,
        shard_size=options.shard_size,
        with_truth=options.with_truth,
        correlation=options.correlation,
        seed=options.seed or 0,
        options={} if options.runtime == "torch" else {"runtime": options.runtime},
    )
    opening = {"num_steps": options.num_steps, "runtime": options.runtime}
    own = load_free_body("3k5") if options.body is None else load_body(options.body)
    body = own.to(options.device)
    made = None
    if options.data is not None:  # whose keypoints have the noise of the options, and whose crops are the policy's
        made = open_policy(options.checkpoint, body, detector=options.detector, **opening)
    sides = [] if made is None else [crop_side(made.policy)]
    sides += map(critic_crop_side, computed(critics))
    with _opened_source(options, own, next((side for side in sides if side is not None), None)) as opened:
        source, noise, detector = opened
        config = dataclasses.replace(config, detector=noise)
        if made is None:
            made = open_policy(options.checkpoint, body, detector=noise, **opening)
        if isinstance(source, PhotoSource):
            sides = [crop_side(made.policy), *map(critic_crop_side, computed(critics))]
            source = dataclasses.replace(source, crop_side=next((side for side in sides if side is not None), None))
        arguments = {
            "policy": made.diffusion(), "body": body, "checkpoint_sha256": made.sha256, "trained_on": made.trained_on,
            "source": source, "folder": out, "config": config, "critics": computed(critics),
        }  # fmt: skip
        yield _Prepared(arguments, critics, body, detector)


@contextmanager
def _opened_source(
    options: GroupsOptions, body: BodyModel, crop_side: int | None
) -> Iterator[tuple[GroupSource, str, dict[str, str]]]:
    """The persons, whose measured noise their keypoints have, and the versions behind the detector.

    `crop_side` is that of a data set's crops; photos are asked for theirs when they are cut.
    """
    from hmralign.data.dataset import DatasetSetting
    from hmralign.data.images import expand_inputs
    from hmralign.detection.catalogue import DetectorSetting, noise_name, running_detector
    from hmralign.preferences.person_source import DatasetSource, PhotoSource, ShardSource
    from hmralign.structures.errors import InputError

    if options.data is not None:
        if options.detector != "mediapipe":
            raise UsageError("--detector is for photos, but --data is a data set")
        setting = DatasetSetting(body=body, label_body=options.label_body or options.body, crop_side=crop_side)
        opened = DatasetSource.open(options.dataset, options.data, options.split, options.persons, setting)
        yield opened, options.detector, {}
        return
    folder = Path(options.source[0])
    if len(options.source) == 1 and ((folder / "index.json").is_file() or any(folder.glob("shard_*.safetensors"))):
        if options.detector != "mediapipe":
            raise UsageError(f"--detector is for photos, but '{folder}' is a folder of shards")
        yield ShardSource.open(folder, options.persons), options.detector, {}
        return
    if options.persons is not None:
        raise UsageError("--persons is for shards; name fewer photos instead")
    try:
        photos = expand_inputs(options.source)
    except InputError as error:
        if len(options.source) > 1 or not folder.is_dir():
            raise
        raise UsageError(
            f"'{folder}' holds neither a store of groups (store.json), nor finished shards (index.json), nor photos"
        ) from error
    with running_detector(options.detector, DetectorSetting(options.detector_folder, options.device)) as made:
        yield PhotoSource(photos, made), noise_name(options.detector, made), dict(getattr(made, "versions", {}))


def made_by(options: GroupsOptions, store: GroupStore, body: BodyModel, detector: dict[str, str]) -> dict[str, Any]:
    """What made a store, for its `run.yaml`: weights, body, source, versions, and their hashes."""
    from hmralign.systems.recover.provenance import BodyIdentity, library_versions

    facts = store.facts
    return {
        "checkpoint": {"name": "" if facts.predicted_by else options.checkpoint, "sha256": facts.checkpoint_sha256},
        "predicted_by": facts.predicted_by,
        "retargeted": facts.retargeted,
        "trained_on": list(facts.trained_on),
        "body": dataclasses.asdict(BodyIdentity.of(body)),
        "source": {"name": facts.source, "sha256": facts.source_sha256},
        "detector": {"name": facts.detector, "versions": detector},
        "seed": facts.seed,
        "content_sha256": store.content_hash(),
        "versions": library_versions(),
    }
