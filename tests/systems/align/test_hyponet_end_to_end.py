"""The papers' chain at tiny size: base steps, groups, critics, DPO, bodies; on a stand-in body of 6,890 vertices."""

import copy
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace

import pytest
import torch

from hmralign.alignment.labelled import LabelledConfig
from hmralign.alignment.methods.dpo import ADHMR_CODE
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import vertices
from hmralign.body.model import BodyModel
from hmralign.fitting.keypoint_update import RefinementConfig
from hmralign.hypotheses.estimate import estimate_bodies
from hmralign.models.paper.config import OWN
from hmralign.policies.catalogue import open_policy
from hmralign.policies.hyponet import HypoNetPolicy
from hmralign.policies.policy import SamplerConfig, state_hash
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import SourceBatch, whole_blocks
from hmralign.structures import Example, InputError
from hmralign.systems.align.configuration import recommended
from hmralign.systems.align.run import align_policy
from hmralign.training.preference_configuration import PreferenceTrainingConfig
from support.synthetic_persons import persons, seeded
from support.tiny_paper import own_config, tiny_paper, with_pixels

PERSONS = 12


def stand_in() -> BodyModel:
    """6,890 vertices, 24 joints, pose correctives: SMPL's sizes with nothing of it."""
    body = load_free_body("7k")
    few = 6890
    faces = body.faces[(body.faces < few).all(1)]
    correctives = 1e-3 * torch.randn(few, 3, 207, generator=seeded(0))
    return replace(
        body, name="stand-in", v_template=body.v_template[:few], shapedirs=body.shapedirs[:few],
        weights=body.weights[:few], faces=faces, posedirs=correctives,
    )  # fmt: skip


BODY = stand_in()


@dataclass(frozen=True)
class PixelSource:
    """Persons with pixels."""

    example: Example
    name: str = "pixels"
    sha256: str = "0" * 64
    has_truth: bool = True

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        names = [f"person/{n}" for n in range(len(self.example.observation.box))]
        for block in whole_blocks(names, size, done):
            yield SourceBatch(tuple(names[block]), self.example[block])


def example(seed: int = 5) -> Example:
    found = persons(PERSONS, seed, known=1.0)
    return replace(found, observation=with_pixels(found.observation))


def base_loss(policy: HypoNetPolicy, seen: Example, step: int) -> torch.Tensor:
    """Noise of true bodies, and their shapes: what the base model is trained on."""
    draw = seeded(step)
    truth = seen.annotation.body
    x_0 = policy.from_body(truth[:, None], seen.observation)
    context = policy.context(seen.observation)
    t = torch.randint(1000, (PERSONS, 1), generator=draw)
    loss = policy.denoising_loss(x_0, t, torch.randn(x_0.shape, generator=draw), context)
    return loss.mean() + (context.betas - truth.betas).square().mean()


@pytest.fixture(scope="module")
def based() -> HypoNetPolicy:
    """20 steps of training on truth, encoder and denoiser together."""
    policy = HypoNetPolicy(copy.deepcopy(tiny_paper(own_config())), BODY, num_steps=3)
    policy.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    seen, losses = example(), []
    for step in range(20):
        optimiser.zero_grad()
        loss = base_loss(policy, seen, step % 5)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5]), losses
    return policy.eval().requires_grad_(False)


def test_base_steps_groups_and_dpo(based, tmp_path):
    source = PixelSource(example())
    config = GroupStoreConfig(group_size=8, num_steps=3, with_truth=True, shard_size=4)
    store = build_groups(based, BODY, "tiny", (), source, tmp_path / "groups", config, ["oracle", "reprojection"])
    kept = store.read(0)
    assert torch.equal(kept.example.observation.crop, source.example.observation.crop[:4]), "pixels are in the store"
    assert kept.x_0.shape == (4, 8, 133)

    training = replace(
        recommended("dpo").training, steps=6, batch_size=24, dropout=True, check_every=3, save_every=3, warmup=1,
        context_variants=2,
    )  # fmt: skip
    settings = recommended(
        "dpo", training=training, critic="oracle", min_persons=1, settings=replace(ADHMR_CODE, top_k=4)
    )
    settings = replace(settings, labelled=LabelledConfig(share=0.5, critic="oracle", batch_share=0.5))
    aligned = align_policy(based, "tiny", BODY, store, settings, tmp_path / "run")
    assert aligned.stopped is None and aligned.groups >= 8
    assert state_hash(aligned.policy) != state_hash(based)
    encoder = aligned.policy.model.encoder.state_dict()
    assert all(torch.equal(v, encoder[n]) for n, v in based.model.encoder.state_dict().items()), "only the denoiser"

    path = aligned.policy.save(tmp_path / "aligned.safetensors", ("pixels",))
    opened = open_policy(path, BODY, num_steps=3)
    assert opened.policy.model.config.quirks == OWN
    bodies = opened.policy.to_body(kept.x_0, kept.example.observation)
    mesh = vertices(BODY, bodies.body)
    assert mesh.shape == (4, 8, 6890, 3) and torch.isfinite(mesh).all()


def test_an_encoder_that_is_trained_is_seen_at_every_step(based, tmp_path):
    config = GroupStoreConfig(group_size=8, num_steps=3, with_truth=True, shard_size=12)
    store = build_groups(based, BODY, "tiny", (), PixelSource(example()), tmp_path / "groups", config, ["oracle"])
    training = PreferenceTrainingConfig(
        steps=2, batch_size=8, trainable="all", cache_context=False, context_variants=1, check_every=2, ema_decay=0.0
    )
    settings = recommended("dpo", training=training, critic="oracle", min_persons=1)
    aligned = align_policy(based, "tiny", BODY, store, settings, tmp_path / "run")
    moved = [
        name
        for (name, now), was in zip(aligned.policy.named_parameters(), based.parameters(), strict=True)
        if not torch.equal(now, was)
    ]
    assert any(name.startswith("model.encoder.stage4") for name in moved)
    shape_only = ("model.encoder.final_feat_layer", "model.encoder.pred_beta")
    assert not any(name.startswith(shape_only) for name in moved), "no loss of DPO reaches the shape"


def test_bodies_of_persons_with_pixels_are_estimated_and_others_are_refused(based):
    seen = example().observation[:3]
    ask = (SamplerConfig(5, 3), RefinementConfig(), based.noise, seeded(0))
    found = estimate_bodies(based, seen, *ask)
    assert found.hypotheses.joints.shape == (3, 5, 29, 3)
    with pytest.raises(InputError, match="looks at pixels"):
        estimate_bodies(based, replace(seen, crop=None, has_crop=None), *ask)
