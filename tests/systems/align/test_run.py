import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from hmralign.alignment.held_out import split_held_out
from hmralign.alignment.methods.best_of_n import BestOfNConfig, best_of_n_items
from hmralign.alignment.methods.dpo import DpoConfig, dpo_items
from hmralign.alignment.methods.group import GroupConfig, group_items
from hmralign.alignment.methods.kto import KtoConfig, kto_items
from hmralign.alignment.methods.sft import SftConfig, sft_items
from hmralign.alignment.rewards import critic_reward, reprojection_of_x_0_hat
from hmralign.alignment.scored_groups import load_groups
from hmralign.body.inverse_kinematics import BONE_CHILD
from hmralign.cli.main import main
from hmralign.critics.catalogue import make_critic
from hmralign.metrics.joint_errors import mpjpe
from hmralign.models.checkpoint import checkpoint_hash, load_checkpoint, save_checkpoint, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.policies.policy import state_hash
from hmralign.preferences.store import CriticFacts, GroupStore, writing
from hmralign.storage.presets import preset_names, preset_path
from hmralign.structures import BodyParams, Example, InputError
from hmralign.systems.align.checkpoint import align_checkpoint, scores_to_follow
from hmralign.systems.align.configuration import BEST_METHOD, AlignConfig, RefreshConfig, read_align_config, recommended
from hmralign.systems.align.run import align_policy, check_persons
from hmralign.training.objective import Draw
from support import forked
from support.synthetic_persons import BODY, mirrored, mirrored_body, persons, seeded, tiny_model
from support.toy_policy import tiny_policy, tiny_store

METHODS = ["sft", "best-of-n", "dpo", "kto", "group", "direct-reward"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tiny_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def groups(store):
    return load_groups(store, "reprojection", tiny_policy(), "tiny", truth=True)


def quick(method, **changes) -> AlignConfig:
    config = recommended(method, **changes)
    training = replace(config.training, steps=3, batch_size=16, check_every=2, save_every=2)
    return replace(config, training=training, held_out_hypotheses=4, min_persons=1)


def with_scores(folder: Path, rows: torch.Tensor) -> GroupStore:
    """The same groups each time, with these scores by `mine`."""
    made = tiny_store(folder, critics=())
    with writing(made.folder) as writer:
        writer.declare_critic("mine", CriticFacts("mine", False))
        ids = {name: row for row, name in enumerate(made.ids)}
        for shard in range(writer.num_shards):
            writer.write_scores("mine", shard, rows[[ids[name] for name in writer.shard_ids(shard)]])
    return GroupStore.open(made.folder)


@pytest.mark.parametrize("method", ["dpo", "group"])
def test_nothing_is_learnt_of_held_out_groups(method, tmp_path):
    """Other scores of theirs change no weight; other scores of the others do."""
    scores = torch.rand(12, 8, generator=seeded(0))
    config = quick(method, critic="mine", held_out_share=0.4)
    start = with_scores(tmp_path / "start", scores)
    groups = load_groups(start, "mine", tiny_policy(), "tiny")
    _, held_out = split_held_out(groups, 0.4, config.max_held_out, config.training.seed)
    theirs = torch.tensor([name in held_out.ids for name in groups.ids])
    assert theirs.sum() == 5

    def aligned(store: GroupStore, name: str) -> str:
        found = align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path / name)
        assert found.groups == 7 and found.stopped is None
        return state_hash(found.policy)

    as_it_is = aligned(start, "a")
    for rows, same in ((theirs, True), (~theirs, False)):
        other = torch.where(rows[:, None], scores.flip(1), scores)
        found = aligned(with_scores(tmp_path / f"other_{same}", other), f"run_{same}")
        assert (found == as_it_is) == same


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("at_most", [1, 3, 200])
def test_every_group_is_trained_on_or_held_out_and_none_is_both(groups, share, at_most):
    trained, held_out = split_held_out(groups, share, at_most, 0)
    assert sorted(trained.ids + held_out.ids) == sorted(groups.ids) and not set(trained.ids) & set(held_out.ids)
    assert len(held_out) == (0 if share == 0 else max(1, min(at_most, round(12 * share), 11)))
    for part in (trained, held_out):
        rows = [groups.ids.index(name) for name in part.ids]
        assert torch.equal(part.x_0, groups.x_0[rows]) and torch.equal(part.scores, groups.scores[rows])
        assert torch.equal(part.observation.box, groups.observation.box[rows])
    if len(held_out) > 1:
        assert split_held_out(groups, share, at_most, 1)[1].ids != held_out.ids


@pytest.mark.parametrize("method", METHODS)
def test_every_method_moves_the_denoiser_alone(method, store, tmp_path):
    policy = tiny_policy()
    before = state_hash(policy)
    found = align_policy(policy, "tiny", BODY, store, quick(method), tmp_path)
    assert state_hash(policy) == before  # the start is not changed
    state, start = found.policy.state_dict(), policy.state_dict()
    moved = {k.split(".")[1] for k in state if not torch.equal(state[k], start[k])}
    assert found.stopped is None
    assert moved == {"denoiser"}
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").open()]
    assert [r["step"] for r in rows] == [0, 2, 3] and "held_out" in rows[-1] and "spread" in rows[-1]
    if method in ("dpo", "kto", "group"):
        assert rows[-1]["gap_better"] != 0, "the policy has left its reference, which stays"


def test_options_of_best_of_n(store, tmp_path):
    config = quick("best-of-n", settings=BestOfNConfig(top_k=2, refine_targets=True, fuse=0.5, reprojection=1.0))
    assert align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path).stopped is None


def test_the_best_are_the_best(groups):
    items = best_of_n_items(groups, tiny_policy(), BestOfNConfig(), seeded(0))
    best = groups.scores.argmax(1)
    assert torch.equal(items.x_0[:, 0], groups.x_0[torch.arange(len(groups)), best][items.person])
    two = best_of_n_items(groups, tiny_policy(), BestOfNConfig(top_k=2, fuse=1.0), seeded(0))
    torch.testing.assert_close(two.x_0[0], two.x_0[1])
    chance = best_of_n_items(groups, tiny_policy(), BestOfNConfig(choose_at_random=True), seeded(0))
    assert not torch.equal(chance.x_0, items.x_0)


def test_pairs_signs_and_groups_agree_with_the_scores(groups):
    score = {
        tuple(x.tolist()): s
        for row, rs in zip(groups.x_0, groups.scores, strict=True)
        for x, s in zip(row, rs.tolist(), strict=True)
    }
    pairs = dpo_items(groups, tiny_policy(), DpoConfig(top_k=2), seeded(0))
    assert all(score[tuple(a.tolist())] > score[tuple(b.tolist())] for a, b in pairs.x_0)

    signed = kto_items(groups, KtoConfig(top_k=2))
    good = [score[tuple(x[0].tolist())] for x, w in zip(signed.x_0, signed.weights, strict=True) if w > 0]
    bad = [score[tuple(x[0].tolist())] for x, w in zip(signed.x_0, signed.weights, strict=True) if w < 0]
    assert len(good) == len(bad) and sum(good) > sum(bad)
    whole = group_items(groups, GroupConfig())
    assert (whole.weights.sum(1).abs() <= 1e-6 * whole.weights.abs().sum(1)).all()
    assert torch.equal(whole.weights.argmax(1), groups.scores[whole.person].argmax(1))


def test_noise_on_targets_is_as_large_as_is_said(groups):
    plain, noisy = (sft_items(groups, tiny_policy(), SftConfig(target_noise=sd), seeded(0)) for sd in (0.0, 0.2))
    noise = noisy.x_0 - plain.x_0
    assert abs(float(noise.std()) - 0.2) < 0.02 and abs(float(noise.mean())) < 0.02


def test_truth_as_a_target_is_the_truth(groups):
    policy = tiny_policy()
    items = sft_items(groups, policy, SftConfig(target="truth"), seeded(0))
    body = policy.to_body(items.x_0, groups.observation)
    known = groups.observation.knows_camera
    # Bones have the lengths of the predicted shape, so joints differ a little; directions are those of the truth.
    error = mpjpe(body.joints[known, 0, :24], groups.annotation.joints[known, :24], root=0)
    other = mpjpe(policy.to_body(groups.x_0, groups.observation).joints[known, :, :24],
                  groups.annotation.joints[known, None, :24], root=0)  # fmt: skip
    assert error.mean() < 0.06 and error.mean() < 0.3 * other.mean()
    pair = dpo_items(groups, policy, DpoConfig(pairs="truth_and_mode"), seeded(0))
    assert torch.equal(pair.x_0[:, 0], items.x_0[:, 0]) and torch.equal(pair.x_0[:, 1], groups.x_0[:, 0])


def test_silent_groups_are_left_out_and_nothing_left_is_an_error(groups):
    scores = groups.scores.clone()
    scores[:3] = 0.5
    some = replace(groups, scores=scores)
    for items in (
        best_of_n_items(some, tiny_policy(), BestOfNConfig(), seeded(0)),
        group_items(some, GroupConfig()),
        dpo_items(some, tiny_policy(), DpoConfig(top_k=2), seeded(0)),
    ):
        assert items.person.min() == 3
        own = groups.x_0[items.person][:, :, None] == items.x_0[:, None]  # which of the person's own samples each is
        assert own.all(-1).any(1).all()
    with pytest.raises(InputError, match="says nothing"):
        group_items(replace(groups, scores=torch.zeros_like(scores)), GroupConfig())
    with pytest.raises(InputError, match="at least 2"):
        group_items(replace(groups, scores=scores[:, :1], x_0=groups.x_0[:, :1]), GroupConfig())
    scores[4, 2] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        group_items(replace(groups, scores=scores), GroupConfig())


def test_groups_of_another_model_are_encoded_or_refused(store):
    policy = tiny_policy()
    own, encoded = (load_groups(store, "random", policy, sha) for sha in ("tiny", "other"))
    assert not torch.equal(own.x_0, encoded.x_0)
    known = own.observation.knows_camera
    a, b = (policy.to_body(g.x_0, g.observation).joints[known] for g in (own, encoded))
    # The same bodies, but where a bone of these wild poses points against its rest direction.
    apart = (a - a[..., :1, :] - (b - b[..., :1, :])).norm(dim=-1).amax(-1)
    assert apart.quantile(0.9) < 1e-3, apart
    with pytest.raises(InputError, match="no scores by 'oracle'"):
        load_groups(store, "oracle", policy, "tiny")


def test_refreshed_groups_come_from_the_model_as_it_is(store, tmp_path):
    config = quick("group", refresh=RefreshConfig(rounds=2, tolerance=100.0))
    found = align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path)
    assert found.rounds == 2
    fresh = GroupStore.open(tmp_path / "round_01/groups")
    assert fresh.ids == store.ids and fresh.facts.checkpoint_sha256 != "tiny"
    assert not torch.equal(fresh.read(0).x_0, store.read(0).x_0)
    again = align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path)
    assert state_hash(again.policy) == state_hash(found.policy)


def test_a_round_that_exploits_its_critic_is_thrown_away(store, tmp_path, monkeypatch):
    from hmralign.alignment import held_out

    looks = iter([0.0, 0.0, 0.0, 0.0, -5.0, -5.0, -5.0])

    def falling(self, policy):
        return {"held_out": next(looks), "held_out_std": 100.0, "spread": 0.1}

    monkeypatch.setattr(held_out.HeldOut, "__call__", falling)
    config = quick("group", refresh=RefreshConfig(rounds=3, tolerance=0.01))
    found = align_policy(tiny_policy(), "tiny", BODY, store, config, tmp_path)
    assert found.rounds == 1 and "round 1 lowered" in found.stopped


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint on disk and groups that it sampled."""
    folder = tmp_path_factory.mktemp("files")
    checkpoint = save_checkpoint(
        folder / "start.safetensors", tiny_model(), BODY.skeleton_hash, half=False, sources=("prior:train",)
    )
    tiny_store(folder, sha256=checkpoint_hash(checkpoint))
    return checkpoint, folder / "groups"


def test_the_result_is_a_checkpoint_that_says_what_it_was_trained_on(files, tmp_path):
    checkpoint, groups = files
    done = align_checkpoint(groups, str(checkpoint), quick("best-of-n"), tmp_path)
    assert trained_on(done.path) == ("prior:train", "shards:train")
    load_checkpoint(done.path, BODY.skeleton_hash)
    assert (tmp_path / "curves.png").stat().st_size > 5000
    with pytest.raises(InputError, match=r"was made with config\.method = "):
        align_checkpoint(groups, str(checkpoint), quick("dpo"), tmp_path)


def test_groups_that_were_sampled_by_other_weights_are_refused(files, tmp_path):
    _, groups = files
    with pytest.raises(InputError, match="give --checkpoint"):
        align_checkpoint(groups, None, quick("dpo"), tmp_path / "a")
    other = save_checkpoint(tmp_path / "other.safetensors", tiny_model(3), BODY.skeleton_hash)
    with pytest.raises(InputError, match="--other-model"):
        align_checkpoint(groups, str(other), quick("dpo"), tmp_path / "a")
    align_checkpoint(groups, str(other), quick("dpo"), tmp_path / "b", other_model=True)


def test_a_run_that_is_killed_ends_as_the_straight_one(files, tmp_path):
    checkpoint, groups = files
    settings = tmp_path / "c.yaml"
    settings.write_text(
        "training: {steps: 120, batch_size: 32, save_every: 5, check_every: 40}\n"
        "held_out_hypotheses: 4\nmin_persons: 1\n"
    )

    def command(out):
        words = ["align", "group", "--groups", groups, "--out", out, "--checkpoint", checkpoint, "--config", settings,
                 "--threads", "1", "--quiet", "--critic", "reprojection"]  # fmt: skip
        return main([str(word) for word in words])

    assert command(tmp_path / "straight") == 0
    kills = 0
    for _ in range(20):
        process = forked.start(lambda: command(tmp_path / "killed"))
        state = tmp_path / "killed/state.pt"
        seen, limit = state.stat().st_mtime_ns if state.exists() else 0, time.time() + 60
        while forked.runs(process) and time.time() < limit:
            if state.exists() and state.stat().st_mtime_ns != seen and kills < 2:
                os.kill(process, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        if forked.end(process) == 0:
            break
    assert kills == 2
    a, b = (load_checkpoint(tmp_path / n / "model.safetensors", BODY.skeleton_hash) for n in ("straight", "killed"))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert not list((tmp_path / "killed").glob("*.part"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method: dpo\n", "of 'dpo', not of 'group'"),
        ("trainng: {}\n", "trainng"),
        ("training: {steps: many}\n", "steps"),
        ("training: {steps: 0}\n", "must be positive"),
        ("group: {mode: sigmoidal}\n", "mode"),
        ("critic: plausibility\n", "held-out critic"),
        ("- 1\n", "keys with values"),
    ],
)
def test_a_wrong_configuration_is_named(text, words, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_align_config(path, "group")


def test_a_configuration_changes_only_what_it_says(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {steps: 7}\n")
    config = read_align_config(path, "dpo")
    assert config == replace(recommended("dpo"), training=replace(recommended("dpo").training, steps=7))


def test_without_a_method_it_is_the_files_or_the_best_one(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("method: group\ntraining: {steps: 7}\n")
    assert read_align_config(path).method == "group" and read_align_config(path).training.steps == 7
    assert read_align_config(None) == recommended(BEST_METHOD)
    path.write_text("method: ppo\n")
    with pytest.raises(InputError, match="method is 'ppo'; expected one of sft"):
        read_align_config(path)


def test_the_default_critic_is_asked_only_where_nobody_said_whom_to_follow(tmp_path):
    def unwanted() -> str:
        raise AssertionError("was asked")

    path = tmp_path / "c.yaml"
    path.write_text("critic: silhouette\n")
    assert read_align_config(path, "dpo", unwanted).critic == "silhouette"
    assert read_align_config(None, "sft", unwanted) == recommended("sft")
    assert read_align_config(None, "dpo", lambda: "mine").critic == "mine"


@pytest.mark.parametrize(
    ("critics", "expected"),
    [
        ((), "no critic has scored"),
        (("random",), "random"),
        (("random", "scorer-lab", "reprojection"), "scorer-lab"),
        (("random", "reprojection"), "say with --critic"),
        (("scorer", "scorer-lab", "random"), "holds scores by scorer, scorer-lab"),
    ],
)
def test_whose_scores_are_followed(critics, expected, tmp_path):
    made = tiny_store(tmp_path, critics=())
    for name in critics:
        record = made.folder / "scores" / name / "critic.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
    if expected in critics:
        assert scores_to_follow(made) == expected
        return
    with pytest.raises(InputError, match=expected):
        scores_to_follow(made)


@pytest.mark.parametrize("name", preset_names("align"))
def test_presets_can_be_read(name):
    path = preset_path("align", name)
    method = path.read_text().split("method:")[1].split()[0]
    assert read_align_config(path).method == read_align_config(path, method).method == method


def test_a_policy_round_trips_bodies_of_known_cameras():
    policy = tiny_policy()
    example = persons(6, known=1.0)
    truth = example.annotation.body
    one = truth[:, None]
    x_0 = policy.from_body(one, example.observation)
    back = policy.to_body(x_0, example.observation).joints[:, 0]
    there, here = (j[:, list(BONE_CHILD)] - j[:, 1:24] for j in (example.annotation.joints, back))
    # Bones have the lengths of the predicted shape and the directions of the truth.
    torch.testing.assert_close(normalize(here, dim=-1), normalize(there, dim=-1), atol=2e-3, rtol=0)


def test_a_variant_is_the_mirrored_person():
    policy = tiny_policy()
    example = persons(4)
    observation = example.observation
    plain, mirror = policy.context_variant(observation, 0), policy.context_variant(observation, 1)
    assert torch.equal(plain.plain.global_tokens, mirror.mirrored.global_tokens)
    assert (plain.plain.global_tokens - mirror.plain.global_tokens).abs().max() > 0.1
    x_0 = torch.randn(4, 3, 130, generator=seeded(0))
    torch.testing.assert_close(policy.x_0_variant(policy.x_0_variant(x_0, 1), 1), x_0)
    elsewhere = policy.context(mirrored(observation)).plain
    torch.testing.assert_close(mirror.plain.global_tokens, elsewhere.global_tokens, atol=1e-3, rtol=0)
    one = BodyParams(*(getattr(example.annotation.body, n)[:, None] for n in vars(example.annotation.body)))
    there = policy.from_body(mirrored_body(one), mirrored(observation))
    torch.testing.assert_close(policy.x_0_variant(policy.from_body(one, observation), 1), there, atol=2e-3, rtol=0)
    assert torch.equal(policy.x_0_variant(x_0, 2), x_0)
    hidden = policy.context_variant(observation, 2)
    turned = policy.context_variant(observation, 3)
    assert torch.equal(turned.plain.global_tokens, hidden.mirrored.global_tokens)
    assert not torch.equal(hidden.plain.global_tokens, plain.plain.global_tokens)
    assert torch.equal(policy.context_variant(observation, 2).plain.global_tokens, hidden.plain.global_tokens)


@pytest.mark.parametrize("variant", [0, 1, 2, 3])
def test_a_reward_judges_the_body_as_the_photo_shows_it_in_whatever_variant_it_was_made(groups, variant):
    policy = tiny_policy()
    person, obs = torch.tensor([4, 0, 7]), groups.observation
    plain = groups.x_0[person]
    for name in ("reprojection", "plausibility"):
        critic = make_critic(name, BODY)
        reward = critic_reward(policy, critic, obs)
        with torch.no_grad():
            expected = critic(policy.to_body(plain, obs[person]), Example(obs[person]))
            found = reward(policy.x_0_variant(plain, variant), person, variant)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_x_0_hat_of_a_perfect_prediction_costs_what_the_sample_does(groups):
    """Weighed by alpha_bar^2, whichever way the person is seen."""
    items = best_of_n_items(groups, tiny_policy(), BestOfNConfig(), seeded(0))
    t = torch.tensor([0, 300, 600] * 4)[:, None]
    draw = Draw(t, torch.randn(items.x_0.shape, generator=seeded(1)))

    class Knowing(LitePolicy):
        def predict_noise(self, x_t, t, context):
            return draw.eps

    policy = Knowing(tiny_model(), BODY, num_steps=2)
    reward = critic_reward(policy, make_critic("reprojection", BODY), groups.observation)
    for variant in (0, 1):
        seen = replace(items, x_0=policy.x_0_variant(items.x_0, variant).clamp(-4, 4))
        with torch.no_grad():
            cost = reprojection_of_x_0_hat(reward, 0.5)(policy, seen, draw, None, variant)
            expected = -0.5 * policy.schedule.at(t).square() * reward(seen.x_0, items.person, variant)
        assert expected.max() > 0.01
        torch.testing.assert_close(cost, expected, atol=2e-3, rtol=0)


def test_rescored_groups_can_be_trained_on(tmp_path):
    store = with_scores(tmp_path, torch.rand(12, 8, generator=seeded(0)))
    found = align_policy(
        tiny_policy(), "tiny", BODY, GroupStore.open(store.folder), quick("dpo", critic="mine"), tmp_path / "run"
    )
    assert found.stopped is None
    with pytest.raises(InputError, match="cannot be refreshed"):
        align_policy(tiny_policy(), "tiny", BODY, GroupStore.open(store.folder),
                     quick("dpo", critic="mine", refresh=RefreshConfig(rounds=2)), tmp_path / "run2")  # fmt: skip


def test_a_second_process_is_refused_and_a_run_that_never_began_makes_way(files, tmp_path):
    from filelock import FileLock

    checkpoint, groups = files
    with pytest.raises(InputError, match="overlap"):
        align_checkpoint(groups, str(checkpoint), quick("dpo", settings=DpoConfig(top_k=9)), tmp_path)
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="another process"):
        align_checkpoint(groups, str(checkpoint), quick("dpo"), tmp_path)
    assert align_checkpoint(groups, str(checkpoint), quick("dpo"), tmp_path).result.stopped is None


def test_a_held_out_critic_that_says_nothing_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="guards nothing"):
        align_policy(tiny_policy(), "tiny", BODY, store, quick("dpo", held_out_critic="landmarks3d"), tmp_path)


@pytest.fixture(scope="module")
def half_silent(tmp_path_factory):
    """A store of 12 persons; the critic `alike_K` gives all hypotheses of the first K of them one score."""
    store = tiny_store(tmp_path_factory.mktemp("half_silent"), critics=())
    with writing(store.folder) as writer:
        from hmralign.preferences.store import CriticFacts

        for alike in range(13):
            writer.declare_critic(f"alike_{alike}", CriticFacts(f"alike_{alike}", False))
            begun = 0
            for shard in range(writer.num_shards):
                scores = torch.rand(len(writer.shard_ids(shard)), 8, generator=seeded(shard))
                scores[: max(0, alike - begun)] = 0.5
                writer.write_scores(f"alike_{alike}", shard, scores)
                begun += len(scores)
    return GroupStore.open(store.folder)


@given(alike=st.integers(0, 11), least=st.integers(1, 30), method=st.sampled_from(["dpo", "sft"]))
def test_too_few_persons_are_refused_with_the_numbers(half_silent, alike, least, method):
    config = replace(recommended(method, critic=f"alike_{alike}"), min_persons=least)
    telling = 12 - alike if method == "dpo" else 12
    if telling >= least:
        check_persons(half_silent, config)
        return
    with pytest.raises(InputError) as error:
        check_persons(half_silent, config)
    assert f"{telling} person" in str(error.value) and f"at least {least}" in str(error.value)


def test_a_run_on_too_few_persons_leaves_nothing(files, tmp_path, capsys):
    from hmralign.cli.main import main

    checkpoint, groups = files
    words = ["align", "--groups", str(groups), "--checkpoint", str(checkpoint), "--critic", "random"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "12 persons to learn from are too few" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_where_all_scores_are_alike_the_critic_is_named(half_silent, tmp_path):
    config = replace(quick("dpo", critic="alike_12"), min_persons=100)
    with pytest.raises(InputError, match="says nothing"):
        align_policy(tiny_policy(), "tiny", BODY, half_silent, config, tmp_path)


def test_sft_needs_no_scores(tmp_path):
    store = tiny_store(tmp_path, critics=())
    assert align_policy(tiny_policy(), "tiny", BODY, store, quick("sft"), tmp_path / "run").groups > 0


@pytest.mark.parametrize(
    "wrong",
    ["dpo: {beta: -30.0}", "group: {beta: 0.0}", "training: {weight_decay: -1.0}", "training: {seed: 99999999999}"],
)
def test_numbers_without_meaning_are_refused(wrong, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(wrong + "\n")
    with pytest.raises(InputError, match="must"):
        read_align_config(path, "group")


def test_a_number_that_yaml_reads_as_a_word_is_explained(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {learning_rate: 1e-4}\n")
    with pytest.raises(InputError, match=r"write 1\.0e-4"):
        read_align_config(path, "group")
