"""Sampling with PSHuman's parts at tiny size, against the public order of operations and through direct reward."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.adapters.pshuman_folder import load_folder
from hmralign.alignment.methods.direct_reward import DirectRewardConfig, planned_steps, rollout
from hmralign.policies.policy import NoisePredictor
from hmralign.policies.pshuman import GivenPictures, PSHumanPolicy, PSHumanSampling
from hmralign.structures import InputError
from support.pshuman_tiny import EMBEDDING, LATENT, PIXELS, VIEWS, configs, write_folder

library = pytest.importorskip("diffusers", minversion="0.36", reason="the extra [diffusers] is not installed")

FEW = PSHumanSampling(num_steps=3)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return load_folder(write_folder(tmp_path_factory.mktemp("model") / "m"))


@pytest.fixture
def policy(parts):
    return PSHumanPolicy(parts, FEW)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(people=1, seed=3):
    return torch.rand(people, 2, 3, PIXELS, PIXELS, generator=generator(seed))


def public_pipeline(parts, how, given, seed):
    """The public pipeline's steps for one person, row by row as it has them, with the schedulers of `diffusers`."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    draw, side = generator(seed), parts.clip_input.side
    rows = ([given[0]] * (VIEWS - 1) + [given[1]]) * 2
    pils = [Image.fromarray((p * 255).byte().permute(1, 2, 0).numpy()) for p in rows]
    sees = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    embeds = parts.image_encoder(sees(pils, return_tensors="pt").pixel_values).image_embeds
    noise = torch.randn(embeds.shape, generator=draw)
    level = torch.full((len(rows),), how.noise_level)
    noising = library.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    embeds = noising.add_noise((embeds - parts.embed_mean) / parts.embed_std, noise, level)
    embeds = embeds * parts.embed_std + parts.embed_mean
    from diffusers.models.embeddings import get_timestep_embedding

    embeds = torch.cat([embeds, get_timestep_embedding(level, EMBEDDING, True, 0)], 1)
    tensors = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255 for p in pils])
    latents_given = parts.vae.encode(tensors * 2 - 1).latent_dist.mode() * parts.vae.config.scaling_factor
    words = torch.cat([parts.words[0], parts.words[1]])

    def doubled(t, empty):
        n, c = t.chunk(2)
        return torch.cat([0 * n if empty else n, n, 0 * c if empty else c, c])

    scheduler = library.DDIMScheduler(**{k: v for k, v in configs()["scheduler"].items() if k[0] != "_"})
    scheduler.set_timesteps(how.num_steps)
    latents = torch.randn(len(rows), 4, LATENT, LATENT, generator=draw)
    for t in scheduler.timesteps:
        seen = torch.cat([doubled(latents, False), doubled(latents_given, True)], 1)
        out = parts.unet(seen, t, doubled(words, False), class_labels=doubled(embeds, True), return_dict=False)[0]
        n_not, n, c_not, c = out.chunk(4)
        without = torch.cat([n_not, c_not])
        out = without + how.guidance * (torch.cat([n, c]) - without)
        latents = scheduler.step(out, t, latents, eta=how.eta, generator=draw).prev_sample
    return (parts.vae.decode(latents / parts.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("change", [{}, {"noise_level": 300, "guidance": 1.5, "eta": 0.4}, {"eta": 0.0}])
def test_pictures_are_those_of_the_public_order_of_operations(parts, change):
    how = replace(FEW, **change)
    policy, draw, given = PSHumanPolicy(parts, how), generator(7), pictures()
    x_0 = policy.sample(policy.context(given, draw), 1, draw)
    found = policy.to_pictures(x_0)
    with torch.no_grad():
        expected = public_pipeline(parts, how, given[0], 7)
    assert found.shape == (1, 1, 2, VIEWS, 3, PIXELS, PIXELS)
    assert expected.std() > 0.05 and torch.allclose(found.flatten(0, 3), expected, atol=2e-4)


def test_equal_seeds_give_equal_samples_and_others_others(policy):
    context = policy.context(pictures())
    first, again, other = (policy.sample(context, 2, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert first.shape == (1, 2, policy.dims) and not torch.allclose(first[:, 0], first[:, 1])
    assert isinstance(policy, NoisePredictor) and policy.schedule.num_steps == 1000
    assert torch.equal(policy.context(pictures()).embeds, context.embeds)  # without a generator: the same noise


def test_a_person_is_the_same_alone_and_among_others(policy):
    both = policy.context(pictures(2))
    assert len(both.latents) == 2 and isinstance(both[:1], GivenPictures)
    x_t = torch.randn(2, 3, policy.dims, generator=generator())
    t = torch.tensor([[1, 500, 999], [30, 700, 2]])
    with torch.no_grad():
        whole = policy.predict_noise(x_t, t, both)
        alone = policy.predict_noise(x_t[1:, 2:], t[1:, 2:], both[1:])
    assert torch.allclose(whole[1:, 2:], alone, atol=1e-4)


def test_without_guidance_the_network_is_asked_once(parts):
    plain, guided = (PSHumanPolicy(parts, replace(FEW, guidance=g)) for g in (1.0, 1.0 + 1e-9))
    context = plain.context(pictures())
    x_t, t = torch.randn(1, 1, plain.dims, generator=generator()), torch.tensor([[400]])
    rows = []
    handle = parts.unet.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    with torch.no_grad():
        a, b = (p.predict_noise(x_t, t, context) for p in (plain, guided))
    handle.remove()
    assert rows == [2 * VIEWS, 4 * VIEWS] and torch.allclose(a, b, atol=1e-4)


def test_views_see_what_they_are_given(policy):
    context = policy.context(pictures())
    assert torch.equal(context.latents[0, 0], context.latents[0, VIEWS - 2])
    assert not torch.allclose(context.latents[0, 0], context.latents[0, VIEWS - 1])
    assert context.embeds.shape == (1, 2, VIEWS, 2 * EMBEDDING)
    assert not torch.allclose(context.embeds[0, 0], context.embeds[0, 1])  # noise of its own
    blunt = PSHumanPolicy(policy.parts, replace(FEW, eight_bits=False)).context(pictures())
    assert 0 < (blunt.latents - context.latents).abs().max() < 0.1


@pytest.mark.parametrize("predicted", ["epsilon", "sample", "v_prediction"])
def test_the_loss_is_none_for_a_network_that_knows_the_noise(parts, predicted, monkeypatch):
    policy = PSHumanPolicy(replace(parts, noise=replace(parts.noise, predicted=predicted)), FEW)
    x_0, eps = (torch.randn(1, 2, policy.dims, generator=generator(s)) for s in (1, 2))
    t = torch.tensor([[100, 800]])
    ab = policy.schedule.at(t)[..., None]
    known = {"epsilon": eps, "sample": x_0, "v_prediction": ab.sqrt() * eps - (1 - ab).sqrt() * x_0}[predicted]

    def knowing(seen, times, words, class_labels, return_dict):
        rows = known.reshape(2, *policy.shape).transpose(0, 1)
        return (torch.stack([rows, rows], 1).flatten(0, 3),)

    monkeypatch.setattr(policy.unet, "forward", knowing)
    loss = policy.denoising_loss(x_0, t, eps, policy.context(pictures()))
    assert loss.shape == (1, 2) and loss.max() < 1e-6


@pytest.mark.parametrize("variant", ["draft", "drtune"])
def test_a_reward_has_a_gradient_through_the_sampler(tmp_path, variant):
    parts = load_folder(write_folder(tmp_path / "m"))
    policy = PSHumanPolicy(parts, FEW)
    policy.denoiser.requires_grad_(True)
    context = policy.context(pictures())
    config = DirectRewardConfig(num_steps=3, variant=variant, last_steps=2, kappa=0.0, clamp=50.0)
    x_T = torch.randn(1, 1, policy.dims, generator=generator())

    def reward():
        x_0, _ = rollout(policy, policy, context, context, x_T, config, planned_steps(config, generator()))
        return policy.to_pictures(x_0)[0, 0, 1, 3].mean()  # the back's brightness

    before = reward()
    before.backward()
    named = {name: p.grad for name, p in policy.denoiser.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in named.values())
    assert max(g.abs().max() for name, g in named.items() if ".attn_mv." in name) > 0
    size = sum(g.square().sum() for g in named.values())
    assert size > 0 and not any(p.requires_grad for p in policy.vae.parameters())
    with torch.no_grad():
        for name, p in policy.denoiser.named_parameters():
            p += 1e-3 * named[name] / size.sqrt()
        gained = reward() - before
    if variant == "draft":  # the whole gradient of two steps: the first-order gain is what is found
        assert gained > 0
    assert gained.isfinite()


def test_pictures_go_through_the_latents_and_back(policy):
    views = torch.rand(1, 1, 2, VIEWS, 3, PIXELS, PIXELS, generator=generator())
    x_0 = policy.from_pictures(views)
    again = policy.to_pictures(x_0)
    assert x_0.shape == (1, 1, policy.dims) and again.shape == views.shape
    first = policy.from_pictures(views[..., :1, :, :, :].expand_as(views))
    assert torch.equal(first.unflatten(-1, policy.shape)[0, 0, 0, 0], x_0.unflatten(-1, policy.shape)[0, 0, 0, 0])


def test_what_cannot_be_seen_or_sampled_is_refused(policy, parts):
    for wrong, said in (
        (pictures()[..., :-1], "pictures have shape"), (2 * pictures(), "colours that are not 0 to 1"),
        (pictures() * torch.nan, "colours that are not 0 to 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            policy.context(wrong)
    with pytest.raises(InputError, match="noise_level is 1000; expected 0 to 999"):
        PSHumanPolicy(parts, replace(FEW, noise_level=1000)).context(pictures())
    for wrong in ({"num_steps": 0}, {"eta": 1.5}, {"guidance": float("nan")}, {"noise_level": -1}):
        with pytest.raises(InputError, match="expected steps of 1 or more"):
            PSHumanSampling(**wrong)
