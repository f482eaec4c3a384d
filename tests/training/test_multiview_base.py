"""Training of the multi-view base: it learns persons it has seen, and its loss is that of the clean views."""

from dataclasses import replace

import pytest
import torch

from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras
from hmralign.rendering.ring_persons import turned_persons
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from hmralign.training.curve import curve_rows
from hmralign.training.multiview_base import MultiViewTrainingConfig, base_view_loss, train_multiview, view_persons

TINY = MultiViewTrainingConfig(
    model=ViewTransformerConfig(views=4, size=16, patch=8, width=32, depth=1, heads=2, head_channels=8),
    ring=RingCameras(size=16, supersampling=1), persons=4, batch_size=4, steps=60, learning_rate=5e-3, ema_decay=0.9,
    save_every=30,
)  # fmt: skip


def test_a_base_learns_persons_it_has_seen(tmp_path):
    path = train_multiview(TINY, tmp_path)
    rows = curve_rows(tmp_path / "curve.jsonl")
    assert rows[-1]["step"] == 60
    policy, persons = MultiViewPolicy.load(path), view_persons(TINY, 4, "base")
    untrained = train_multiview(replace(TINY, steps=1), tmp_path / "untrained")
    losses = [float(base_view_loss(p, persons, seeded(0)).mean()) for p in (policy, MultiViewPolicy.load(untrained))]
    assert losses[0] < 0.75 * losses[1]


def test_the_loss_of_perfect_views_is_zero_whatever_the_time():
    persons = view_persons(TINY, 3, "base")

    class Perfect(MultiViewPolicy):
        def view_loss(self, x_0, t, eps, context):
            assert t.shape == (3, 1) and context.shape == (3, 4, 16, 16)
            return (x_0 - x_0).square().mean(-1)

    assert base_view_loss(Perfect(ViewTransformer(TINY.model)), persons, seeded(0)).abs().max() == 0


def test_purposes_and_splits_are_other_persons_and_both_kinds_of_poses_occur():
    first = view_persons(TINY, 40, "base").joints
    assert torch.equal(first, view_persons(TINY, 40, "base").joints)
    for purpose, split in (("fine-tuning", "train"), ("base", "test")):
        assert not torch.isclose(first, view_persons(TINY, 40, purpose, split).joints).all((-1, -2)).any()
    assert 0 < is_hard(first).float().mean() < 1


def test_a_model_of_another_ring_is_refused():
    with pytest.raises(InputError, match="differ in the number or the size of views"):
        replace(TINY, ring=RingCameras(size=32))
    with pytest.raises(InputError, match="at least 1"):
        replace(TINY, persons=0)
    assert replace(TINY, max_cpu_minutes=1.0).max_cpu_minutes == 1.0


def test_a_front_is_shown_only_to_rings_of_evenly_spaced_views():
    shown = replace(TINY.model, shows_front=1)
    assert replace(TINY, model=shown).model.shows_front == 1
    with pytest.raises(InputError, match="shows_front needs azimuths"):
        replace(TINY, model=shown, ring=replace(TINY.ring, azimuths=(0.0, 60.0, 180.0, 270.0)))


def test_persons_of_a_kind_are_as_many_as_asked_and_none_of_the_other():
    assert not is_hard(view_persons(TINY, 30, "base", kind="ordinary").joints).any()
    hard = view_persons(TINY, 30, "base", kind="hard").joints
    assert len(hard) == 30 and is_hard(hard).all()


def test_a_base_is_trained_on_the_kind_it_names(tmp_path, monkeypatch):
    kinds = []

    def drawn(config, count, purpose, split="train", kind="all"):
        kinds.append(kind)
        return view_persons(config, count, purpose, split, kind)

    monkeypatch.setattr("hmralign.training.multiview_base.view_persons", drawn)
    train_multiview(replace(TINY, kind="ordinary", steps=1), tmp_path)
    assert kinds == ["ordinary"]


def test_turning_needs_an_evenly_spaced_ring_and_a_share():
    with pytest.raises(InputError, match="turned needs azimuths"):
        replace(TINY, turned=0.5, ring=replace(TINY.ring, azimuths=(0.0, 60.0, 180.0, 270.0)))
    with pytest.raises(InputError, match=r"turned is 1\.5"):
        replace(TINY, turned=1.5)


def test_a_base_learns_as_well_from_turned_rings_in_half_the_digits(tmp_path):
    losses = {}
    for name, config in {"as they are": TINY, "turned": replace(TINY, turned=1.0, bfloat16=True)}.items():
        policy = MultiViewPolicy.load(train_multiview(config, tmp_path / name))
        turned = turned_persons(view_persons(TINY, 4, "base"), TINY.ring, 1.0, seeded(3))
        losses[name] = float(base_view_loss(policy, turned, seeded(0)).mean())
    assert losses["turned"] < losses["as they are"]


def test_a_reader_of_fronts_learns_where_joints_are_beside_the_views(tmp_path):
    """With its own loss the reader says the joints of persons it has seen, of their mirror images too."""
    model = replace(TINY.model, front_reader=32)
    config = replace(TINY, model=model, front_joints_weight=1.0, steps=400, save_every=400, clip_norm=0.5)
    policy = MultiViewPolicy.load(train_multiview(config, tmp_path))
    assert {"front_joints", "loss"} <= set(curve_rows(tmp_path / "curve.jsonl")[-1])
    persons = view_persons(config, 4, "base")
    plain = persons.pixels[:, 0].float()
    fronts = torch.cat([plain, plain.flip(-1) * torch.tensor([-1.0, 1.0, 1.0, 1.0])[:, None, None]])
    mirrored = persons.joints[:, list(MIRROR_JOINTS[:NUM_JOINTS])] * torch.tensor([-1.0, 1.0, 1.0])
    joints = torch.cat([persons.joints, mirrored])
    with torch.no_grad():
        off = (policy.network.reader.joints(fronts) - joints).norm(dim=-1).mean()
    mean = (joints.mean(0) - joints).norm(dim=-1).mean()
    assert off < 0.4 * mean


def test_a_weight_of_joints_needs_a_reader():
    with pytest.raises(InputError, match=r"front_joints_weight is 1\.0"):
        replace(TINY, front_joints_weight=1.0)
    with pytest.raises(InputError, match=r"front_joints_weight is -1\.0"):
        replace(TINY, model=replace(TINY.model, front_reader=4), front_joints_weight=-1.0)
