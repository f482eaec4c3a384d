"""The wrong changes of `mutants.py`. Snippets are of the files as they are: whoever changes a line moves them along."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One wrong change. `file` is below `src/hmralign`, `tests` are below `tests`, divided by spaces."""

    file: str
    snippet: str
    replacement: str
    meaning: str
    tests: str

    @property
    def selection(self) -> tuple[str, ...]:
        return tuple(self.tests.split())


def _of(file: str, tests: str, *changes: tuple[str, str, str]) -> tuple[Mutant, ...]:
    """Changes (meaning, snippet, replacement) of one file with the same tests."""
    return tuple(Mutant(file, snippet, replacement, meaning, tests) for meaning, snippet, replacement in changes)


# fmt: off
_RUN = "systems/align/test_run.py::test_"

_ALIGNMENT = (
    *_of(
        "alignment/advantages.py", "alignment/test_advantages.py",
        ("in the digits of the rewards", "rewards = rewards.double()", "rewards = rewards + 0"),
        ("mean over groups instead of hypotheses", "rewards.mean(-1, keepdim=True)", "rewards.mean(0, keepdim=True)"),
        ("drop and divide exchanged", 'below_floor == "drop"', 'below_floor == "divide"'),
        ("variance of a sample", "centred.square().mean(-1, keepdim=True)",
         "centred.square().sum(-1, keepdim=True) / (rewards.shape[-1] - 1)"),
    ),
    *_of(
        "alignment/methods/dpo.py", "alignment/methods/test_objectives.py",
        ("DPO prefers the loser", "-logsigmoid(-beta * delta)", "-logsigmoid(beta * delta)"),
        ("DPO with the policy as its reference", "- (reference_chosen - reference_rejected)",
         "- (policy_chosen - policy_rejected).detach()"),
        ("DPO without its reference", "(policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)",
         "policy_chosen - policy_rejected"),
    ),
    *_of(
        "alignment/methods/kto.py", "alignment/methods/test_objectives.py",
        ("KTO's drift has a gradient", "gain.detach().mean()", "gain.mean()"),
        ("KTO's drift is not clamped", "gain.detach().mean().clamp(min=0)", "gain.detach().mean()"),
        ("KTO's gain upside down", "gain = reference - policy", "gain = policy - reference"),
    ),
    *_of(
        "alignment/methods/group.py", "alignment/methods/test_objectives.py",
        ("literal form upside down", "return advantages * d\n    scale", "return -advantages * d\n    scale"),
        ("sigmoid form upside down", "logsigmoid(-advantages.sign() * beta * d)",
         "logsigmoid(advantages.sign() * beta * d)"),
        ("sigmoid form forgets how much better", "-advantages.abs() * logsigmoid(", "-logsigmoid("),
        ("one sigmoid over the batch", "pull.sum(-1, keepdim=True) if", "pull.sum() if"),
        ("hinge without a hinge", "d.clamp(max=margin)", "d"),
        ("positive form keeps the worse", "return advantages.clamp(min=0) * d", "return advantages * d"),
        ("anchor on the worse too", "return advantages.clamp(min=0) * policy", "return advantages * policy"),
        ("NFT moves the old model", "old = old.detach()", "old = old + 0"),
        ("NFT without its negative branch", "(1 + beta) * old - beta * prediction", "(1 - beta) * old + beta * prediction"),
    ),
    *_of(
        "alignment/drift.py", "alignment/methods/test_objectives.py",
        ("drift moves the reference", "(prediction - reference.detach())", "(prediction - reference)"),
    ),
    *_of(
        "alignment/methods/dpo.py", "alignment/methods/test_methods.py",
        ("winner and loser exchanged in DPO", "dpo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1]",
         "dpo(policy[:, 1], policy[:, 0], reference[:, 1], reference[:, 0]"),
        ("DPO's anchor on the loser", "chosen = policy[:, 0]", "chosen = policy[:, 1]"),
    ),
    *_of(
        "alignment/methods/kto.py", "alignment/methods/test_methods.py",
        ("KTO supervised on the bad too", "plain * (losses.weights > 0)", "plain"),
        ("KTO by parts with one of them", "torch.stack(each, dim=-1).sum(-1)", "2 * each[0]"),
    ),
    *_of(
        "alignment/methods/group.py", "alignment/methods/test_methods.py training/test_preference.py::test_a_group_shares_its_draw_as_it_is_told_and_policy_and_reference_always_do",
        ("NFT's optimality upside down", "0.5 + 0.5 * advantages", "0.5 - 0.5 * advantages"),
        ("drift is rewarded", "return terms + config.kappa * drift_of(losses) if", "return terms - config.kappa * drift_of(losses) if"),
        ("groups never share their draw", "by_parts=config.by_parts,\n        shares=config.shares",
         "by_parts=config.by_parts,\n        shares=\"nothing\""),
        ("every group weighs the same", "return (std / std.mean().clamp(min=1e-12)).to(scores.dtype)",
         "return (std * 0 + 1).to(scores.dtype)"),
    ),
    *_of(
        "alignment/methods/best_of_n.py", _RUN + "the_best_are_the_best",
        ("the best are the worst", "best = scores[kept].sort(dim=-1, descending=True", "best = scores[kept].sort(dim=-1, descending=False"),
    ),
    *_of(
        "alignment/methods/dpo.py", _RUN + "pairs_signs_and_groups_agree_with_the_scores",
        ("pairs exchanged", "[groups.x_0[person, pairs.chosen], groups.x_0[person, pairs.rejected]]",
         "[groups.x_0[person, pairs.rejected], groups.x_0[person, pairs.chosen]]"),
        ("pairs of other persons", "person = kept[pairs.group]", "person = kept[pairs.group].flip(0)"),
    ),
    *_of(
        "alignment/methods/kto.py", _RUN + "pairs_signs_and_groups_agree_with_the_scores",
        ("KTO's signs exchanged", "[torch.ones(len(person), 1), -torch.ones(len(person), 1)]",
         "[-torch.ones(len(person), 1), torch.ones(len(person), 1)]"),
    ),
    *_of(
        "alignment/methods/group.py", _RUN + "silent_groups_are_left_out_and_nothing_left_is_an_error",
        ("samples of other groups", "return Items(kept, groups.x_0[kept], _advantages", "return Items(kept, groups.x_0[: len(kept)], _advantages"),
    ),
    *_of(
        "alignment/methods/group.py", "alignment/methods/test_gpa_code.py",
        ("unscaled sigmoids are divided all the same", "scale = 1.0 if unscaled else beta", "scale = beta"),
        ("the code's term is a share of the group's", "(whole if unscaled else whole / d.shape[-1])", "(whole / d.shape[-1])"),
        ("the mean inside the sigmoid is a sum", "pull.mean(-1, keepdim=True)", "pull.sum(-1, keepdim=True)"),
        ("denoising on better members alone", "terms + config.denoising * plain", "terms + config.denoising * winner_anchor(plain, advantages)"),
        ("the weight of the form is lost", "terms = config.preference * terms", "terms = terms"),
        ("one part twice", "losses.reference.unbind(-1), strict=True)", "losses.reference.flip(-1).unbind(-1), strict=True)"),
        ("drawn members keep the whole group's scores", "drawn_weights=lambda scores: _advantages(scores, config)", "drawn_weights=None"),
    ),
    *_of(
        "alignment/advantages.py", "alignment/test_advantages.py",
        ("nothing is added to the standard deviation", ".sqrt() + std_floor)", ".sqrt())"),
    ),
    *_of(
        "alignment/labelled.py", "alignment/test_labelled.py",
        ("truth judges those without labels", "torch.where(labelled[:, None], truth_scores, groups.scores)", "torch.where(labelled[:, None], groups.scores, truth_scores)"),
        ("the same persons whatever the seed", 'seeded(seed, "labelled")', 'seeded(0, "labelled")'),
    ),
    *_of(
        "alignment/methods/dpo.py", "alignment/test_labelled.py",
        ("pairs of truth are another person's", "replace(items, person=kind[items.person])", "items"),
    ),
    *_of(
        "alignment/scored_groups.py", _RUN + "silent_groups_are_left_out_and_nothing_left_is_an_error",
        ("silent groups are kept", "return (~silent).nonzero()[:, 0]", "return (silent | ~silent).nonzero()[:, 0]"),
    ),
    *_of(
        "alignment/held_out.py", _RUN + "every_group_is_trained_on_or_held_out_and_none_is_both",
        ("held-out groups are trained on", "groups[order[n:].sort().values]", "groups[order.sort().values]"),
        ("the same groups held out for every seed", "seeded(seed, \"held out\")", "seeded(0, \"held out\")"),
    ),
    *_of(
        "systems/align/run.py", _RUN + "nothing_is_learnt_of_held_out_groups " + _RUN + "every_method_moves_the_denoiser_alone",
        ("all groups are trained on", "step_losses(policy, reference, trained, body", "step_losses(policy, reference, groups, body"),
        ("the start is the result", "reference, rounds, best = _frozen(found.policy), number + 1",
         "reference, rounds, best = reference, number + 1"),
        ("the reference is trained", "policy = copy.deepcopy(reference)\n    choose", "policy = reference\n    choose"),
    ),
    *_of(
        "alignment/rewards.py", _RUN + "a_reward_judges_the_body_as_the_photo_shows_it_in_whatever_variant_it_was_made "
        + _RUN + "x_0_hat_of_a_perfect_prediction_costs_what_the_sample_does",
        ("mirrored bodies judged against the plain photo", "plain = policy.x_0_variant(x_0, variant) if variant else x_0", "plain = x_0"),
        ("reprojection is driven up", "return -weight * alpha_bar.square()", "return weight * alpha_bar.square()"),
        ("alpha_bar instead of its square", "-weight * alpha_bar.square()", "-weight * alpha_bar"),
    ),
    *_of(
        "alignment/methods/direct_reward.py", "training/test_preference.py::test_the_gradient_of_the_reward_is_that_of_finite_differences "
        "training/test_preference.py::test_earlier_steps_receive_no_gradient "
        "training/test_preference.py::test_the_drift_of_a_rollout_is_its_distance_from_the_reference_at_the_steps_with_gradients "
        "training/test_preference.py::test_following_a_reward_raises_it "
        "training/test_preference.py::test_a_reward_in_parts_is_the_reward "
        "alignment/methods/test_direct_reward.py",
        ("the inputs of DRTune keep their gradient", "seen = x_t.detach() if detached else x_t", "seen = x_t"),
        ("all steps of DRTune are stopped but the last", "offset + k * stride for k in range(config.last_steps)", "last - k for k in range(config.last_steps)"),
        ("the reward is lowered", '{"objective": self.settings.kappa * away - reward}', '{"objective": self.settings.kappa * away + reward}'),
        ("one step fewer with gradients", "range(config.num_steps - config.last_steps, config.num_steps)", "range(config.num_steps - config.last_steps + 1, config.num_steps)"),
        ("drift from itself", "theirs = reference.predict_noise(seen, t, reference_context)", "theirs = eps.detach()"),
    ),
)

_TRAINING = (
    *_of(
        "training/offline.py", "training/test_offline.py",
        ("mirrored contexts, plain samples", "            if variant:\n", "            if False:\n"),
        ("plain contexts, mirrored samples", "context = self.contexts.of(policy, some.person, variant)", "context = self.contexts.of(policy, some.person, 0)"),
        ("the reference sees the plain person", "self.contexts.of(self.reference, items.person, variant)", "self.contexts.of(self.reference, items.person, 0)"),
        ("the same order in every pass", "seeded(self.config.seed, name, epoch)", "seeded(self.config.seed, name)"),
        ("order of the items as they are", "torch.randperm(len(pool), generator=shuffled)", "torch.arange(len(pool))"),
        ("the first kind fills the batch", "round(n * self.partition.share)", "n"),
        ("the same members at every step", "items = draw_members(items, self.objective, draw_from)\n", "items = draw_members(items, self.objective, seeded(0))\n"),
        ("the same batch at every step", "torch.arange(step * n, step * n + n)", "torch.arange(0, n)"),
        ("never mirrored", "variant = int(torch.randint(self.contexts.variants, (), generator=draw_from))", "variant = 0"),
    ),
    *_of(
        "training/objective.py", "training/test_objective.py",
        ("policy and reference at other noise", "theirs = _weighed(reference, items, draw,", "theirs = _weighed(reference, items, Draw(draw.t, draw.eps.flip(0)),"),
        ("the policy is its own reference", "theirs = _weighed(reference,", "theirs = _weighed(policy,"),
        ("the reference sees the policy's context", "theirs = _weighed(reference, items, draw, reference_context", "theirs = _weighed(reference, items, draw, policy_context"),
        ("times of pairs miss by one", "num_times - 1 - t]", "num_times - 2 - t]"),
        ("early times are seen too", "t = first + (strata * (num_times - first)).long()", "t = (strata * num_times).long()"),
        ("weights of losses on predictions", "root = weighing.sqrt()[..., None]", "root = weighing[..., None]"),
        ("losses are not weighed", "return weighing * per_sample_loss(", "return per_sample_loss("),
        ("one noise per group where each has its own", 'noises = 1 if objective.shares == "time_and_noise" else m', "noises = 1"),
    ),
    *_of(
        "training/guard.py", "training/test_preference.py::test_the_guard_says_why",
        ("the guard likes a fall", 'fallen = start["held_out"] - figures["held_out"]', 'fallen = figures["held_out"] - start["held_out"]'),
        ("any spread is enough", 'figures["spread"] < config.min_spread * start["spread"]', 'figures["spread"] < config.min_spread'),
    ),
    *_of(
        "training/preference.py", "training/test_preference.py::test_kept_contexts_and_a_trained_encoder_exclude_each_other "
        "training/test_preference.py::test_the_policy_moves_and_neither_the_reference_nor_the_encoder_does",
        ("the encoder is trained too", 'if config.trainable == "all" else policy.denoiser).requires_grad_(True)', 'if config.trainable else policy.denoiser).requires_grad_(True)'),
    ),
    *_of(
        "training/loop.py", "training/test_loop.py::test_the_loop_is_adamw_on_the_mean_of_the_terms "
        "training/test_loop.py::test_a_guard_stops_a_run_and_the_last_good_average_is_kept "
        "training/test_loop.py::test_a_batch_in_parts_is_the_batch "
        "training/test_preference.py::test_the_result_is_the_average_and_not_the_last_weights",
        ("the last weights instead of the last good ones", "if (keeps_best or self.progress.stopped is not None) and self.progress.good is not None:", "if False:"),
        ("the last weights instead of their average", "return self.ema.module.cpu()", "return self.model.cpu()"),
        ("gradients of all steps add up", "        self.optimizer.zero_grad()\n", ""),
        ("the rate stays", 'self.config.rate(self.progress.step, self._done())', 'self.config.rate(0, 0.0)'),
    ),
    *_of(
        "training/step.py", "training/test_loop.py::test_terms_are_averaged_weighed_and_added "
        "training/test_loop.py::test_a_batch_in_parts_is_the_batch",
        ("parts count alike", "return self.share * reduce(", "return reduce("),
        ("sums instead of means", "self.weights.get(name, 1.0) * x.mean()", "self.weights.get(name, 1.0) * x.sum()"),
    ),
    *_of(
        "training/base_batches.py", "training/test_base.py::test_a_batch_is_the_body_as_the_persons_virtual_camera_sees_it "
        "training/test_base.py::test_a_mirrored_batch_is_the_batch_of_the_mirrored_persons",
        ("mirrored input, plain target", "vector = torch.where(mirrored[:, None], mirror(vector), vector)", "vector = vector + 0"),
        ("joints of the camera instead of the person", "joints = example.annotation.joints @ frame.R_person_cam.mT", "joints = example.annotation.joints @ frame.R_person_cam"),
    ),
    *_of(
        "training/base_losses.py", "training/test_base.py::test_the_loss_is_that_of_v_and_stratifies_times",
        ("noise and sample exchanged in v", "target = velocity(x_0.expand_as(eps), eps, alpha_bar)", "target = velocity(eps, x_0.expand_as(eps), alpha_bar)"),
        ("shapes are not learnt", '{"betas_loss": betas_weight}', '{"betas_loss": 0 * betas_weight}'),
    ),
    *_of(
        "training/scorer_losses.py", "training/test_scorer_losses.py",
        ("RankNet prefers the worse", "torch.sign(errors[:, second] - errors[:, first])", "torch.sign(errors[:, first] - errors[:, second])"),
        ("listwise prefers the worse", "target = (-errors / spread).softmax(1)", "target = (errors / spread).softmax(1)"),
        ("shares over metrics instead of hypotheses", "(sharpness * outputs).log_softmax(1)", "(sharpness * outputs).log_softmax(-1)"),
        ("outputs rise with the error", "target = -(errors.clamp(min=1e-3) / ERROR_UNIT).log()", "target = (errors.clamp(min=1e-3) / ERROR_UNIT).log()"),
    ),
    *_of(
        "training/distillation_losses.py", "training/test_distillation_losses.py",
        ("distils the opposite order", "torch.sign(scores[:, first] - scores[:, second])", "torch.sign(scores[:, second] - scores[:, first])"),
        ("standard errors instead of their squares", "standard_errors.nan_to_num(0.0).square()", "standard_errors.nan_to_num(0.0)"),
        ("weights ignored", "target = (weights * centred / spread", "target = (centred / spread"),
    ),
    *_of(
        "training/scorer.py", "training/test_scorer_training.py",
        ("mirrored input for errors of others", "HypothesisSet(x, data.errors[index], None", "HypothesisSet(x, data.errors[index.flip(0)], None"),
        ("hidden keypoints keep their residuals", "landmarks[..., 2:4] *= keep[:, None, :, None]", "landmarks[..., 2:4] *= 1"),
    ),
)

_DIFFUSION = (
    *_of(
        "diffusion/ddim.py", "diffusion/test_ddim.py",
        ("x_0 clamped, eps of before", "        eps = (x_t - alpha_bar_t.sqrt() * x_0) / (1 - alpha_bar_t).sqrt()\n    # 2.", "    # 2."),
        ("direction of this time instead of the next", "(1 - alpha_bar_prev - sigma_t**2)", "(1 - alpha_bar_t - sigma_t**2)"),
        ("fresh noise too large", "(1 - alpha_bar_t / alpha_bar_prev)).sqrt()", "1).sqrt()"),
        ("fresh noise without room for it", "(1 - alpha_bar_prev - sigma_t**2)", "(1 - alpha_bar_prev)"),
        ("starts one step below pure noise", "round((k + 1) * schedule.num_steps / num_steps) - 1", "round((k + 1) * schedule.num_steps / num_steps) - 2"),
        ("ends above the data", "[*times[1:], -1]", "[*times[1:], 0]"),
        ("signal and noise not under roots", "x_prev = alpha_bar_prev.sqrt() * x_0", "x_prev = alpha_bar_prev * x_0"),
        ("guidance is forgotten in eps", "            eps = (x_t - alpha_bar_t.sqrt() * x_0) / (1 - alpha_bar_t).sqrt()\n        x_t", "        x_t"),
    ),
    *_of(
        "diffusion/parameterization.py", "diffusion",
        ("sign of v", "return ab.sqrt() * eps - (1 - ab).sqrt() * x_0", "return ab.sqrt() * eps + (1 - ab).sqrt() * x_0"),
        ("eps of v", "return ab.sqrt() * v + (1 - ab).sqrt() * x_t", "return ab.sqrt() * v - (1 - ab).sqrt() * x_t"),
        ("v of x_0", "return (ab.sqrt() * x_t - x_0)", "return (x_0 - ab.sqrt() * x_t)"),
        ("v of eps without its guard", "/ ab.sqrt().clamp(min=GUARD)", "/ ab.sqrt()"),
    ),
    *_of(
        "diffusion/loss_weights.py", "diffusion/test_loss_weights.py",
        ("v weighed by the noise", "return (1 / alpha_bar.clamp(min=1e-12)).clamp(max=limit)", "return (1 / (1 - alpha_bar).clamp(min=1e-12)).clamp(max=limit)"),
        ("min-SNR upside down", "(gamma / snr.clamp(min=1e-12)).clamp(max=1.0)", "(snr / gamma).clamp(max=1.0)"),
    ),
    *_of(
        "diffusion/schedule.py", "diffusion/test_ddim.py",
        ("no signal before the first step", "torch.ones(1, dtype=self.alpha_bar.dtype)", "torch.zeros(1, dtype=self.alpha_bar.dtype)"),
    ),
    *_of(
        "diffusion/ema.py", "diffusion/test_ddim.py",
        ("average of too much", "alpha=1 - decay", "alpha=decay"),
    ),
)

_HYPOTHESES = (
    *_of(
        "policies/lite_sampling.py", "policies/test_lite_sampling.py",
        ("mirrored half not mirrored back", "*(model.codec.mirror(half) for half in halves[1:])", "*halves[1:]"),
        ("both halves from the plain context", "[model.denoiser.prepare(context) for", "[model.denoiser.prepare(plain) for"),
        ("of an odd number the wrong ones are left out", "x_0[persons:, : noise[1].shape[-2]]", "x_0[persons:, -noise[1].shape[-2] :]"),
        ("the first is no mode", "    noise[0] = 0\n", ""),
        ("shape from one side", "return (plain.betas + mirrored.betas) / 2", "return plain.betas"),
    ),
    *_of(
        "policies/lite.py", "systems/align/test_run.py::test_a_variant_is_the_mirrored_person "
        "systems/align/test_run.py::test_a_policy_round_trips_bodies_of_known_cameras "
        "policies/test_lite_policy.py",
        ("samples mirrored in the plain variant", "return self.model.codec.mirror(x_0) if variant % 2 else x_0", "return x_0 if variant % 2 else self.model.codec.mirror(x_0)"),
        ("contexts of odd variants not mirrored", "return context.swapped if variant % 2 else context", "return context"),
        ("truth in the camera's axes", "R = person_frame(observation).R_person_cam[:, None]\n        joints = posed_joints(self.body, body) @ R.mT", "R = person_frame(observation).R_person_cam[:, None]\n        joints = posed_joints(self.body, body) @ R"),
        ("joints and twists exchanged", "[error[..., :_JOINT_DIMS].mean(-1), error[..., _JOINT_DIMS:].mean(-1)]", "[error[..., _JOINT_DIMS:].mean(-1), error[..., :_JOINT_DIMS].mean(-1)]"),
        ("losses of the mirrored person", "prepare(context.plain).per_hypothesis()", "prepare(context.mirrored).per_hypothesis()"),
        ("one loss for a whole group", "return self._squared_error(x_0, t, eps, context).mean(-1)", "return self._squared_error(x_0, t, eps, context).mean((-2, -1))[:, None].expand(t.shape)"),
    ),
    *_of(
        "hypotheses/fusion.py", "hypotheses/test_fusion.py",
        ("temperature upside down", "/ temperature).softmax(-1)", "* temperature).softmax(-1)"),
        ("worse fits weigh more", "return score_weights(-squared_residual / 2, temperature)", "return score_weights(squared_residual / 2, temperature)"),
        ("chi-square not halved", "-squared_residual / 2", "-squared_residual"),
        ("the outlier is typical", "_distances(joints).mean(-1).argmin(-1)", "_distances(joints).mean(-1).argmax(-1)"),
        ("weights do not count", "return mean_rotmat(rotmats.transpose(-4, -3), spread_weights)", "return mean_rotmat(rotmats.transpose(-4, -3), None)"),
        ("distances from the spine", "relative = joints - joints[..., :1, :]", "relative = joints - joints[..., 3:4, :]"),
    ),
    *_of(
        "hypotheses/spread.py", "hypotheses/test_spread.py",
        ("spread from the spine", "joints[..., :1, :]", "joints[..., 3:4, :]"),
        ("spread over joints instead of hypotheses", ".sum(-1).mean(-2).sqrt()", ".mean(-2).sum(-1).mean(-1, keepdim=True).expand(joints.shape[:-3] + joints.shape[-2:-1]).sqrt()"),
    ),
)

_TRACKING = _of(
    "tracking/linking.py", "tracking/test_linking.py",
    ("to disbelieve costs nothing", "cost = total[nearest, np.arange(len(readings))] + skipped * self._config.disbelief", "cost = total[nearest, np.arange(len(readings))]"),
    ("nothing is taken for as long as one likes", "if skipped and time - shown.time > self._config.disbelief_seconds + step:", "if False:"),
    ("skipped frames go one back only", "back[cheaper], from_hypothesis[cheaper] = skipped + 1, nearest[cheaper]", "back[cheaper], from_hypothesis[cheaper] = 1, nearest[cheaper]"),
    ("motion over a gap as over one frame", "motion = self._motion(shown.features, features, dt)", "motion = self._motion(shown.features, features, 1 / 30)"),
    ("evidence upside down", "cost[known] = np.where(p > config.offered_above, -ratio, np.inf)", "cost[known] = np.where(p > config.offered_above, ratio, np.inf)"),
)

_METRICS = (
    *_of(
        "metrics/joint_errors.py", "metrics/test_joint_errors.py",
        ("target not moved to its root", "        target = target - target[..., root, None, :]\n", ""),
        ("plane and depth exchanged", "return across.mean(-1), along.abs().mean(-1)", "return along.abs().mean(-1), across.mean(-1)"),
        ("depth along the optical axis", "sight = target[..., root, :]", "sight = target[..., root, :] * torch.tensor([0.0, 0.0, 1.0]).to(target)"),
        ("the target is aligned", "aligned, _ = procrustes(pred, target)\n    return mpjpe(aligned, target)", "aligned, _ = procrustes(target, pred)\n    return mpjpe(aligned, pred)"),
        ("root of the other mesh", "pred - pred_root[..., None, :], target - target_root", "pred - target_root[..., None, :], target - target_root"),
        ("root mean square instead of mean", "return (pred - target).norm(dim=-1).mean(dim=-1)", "return (pred - target).square().sum(-1).mean(-1).sqrt()"),
    ),
    *_of(
        "metrics/intervals.py", "metrics/test_intervals.py",
        ("interval of half the width", "[(1 - level) / 2, (1 + level) / 2]", "[1 - level, level]"),
        ("one person is drawn twice as often", "np.full(number, 1 / number)", "np.arange(1, number + 1) / (number * (number + 1) / 2)"),
        ("bootstrap along the wrong axis", "return replicate_interval(float(values.mean()), counts @ values / counts.sum(1))", "return replicate_interval(float(values.mean()), (counts * values).sum(0) / counts.sum(0))"),
        ("each cluster brings one group", "_drawn(int(clusters.max()) + 1, draws, seed)[:, clusters]", "_drawn(len(clusters), draws, seed)"),
        ("groups weigh the same, however many items they have", "(counts @ total)[drawn > 0] / drawn[drawn > 0]", "(counts @ (total / np.maximum(number, 1)))[drawn > 0] / (counts @ (number > 0))[drawn > 0]"),
        ("difference the wrong way round", "np.asarray(values, np.float64) - np.asarray(reference, np.float64)", "np.asarray(reference, np.float64) - np.asarray(values, np.float64)"),
        ("unpaired difference", "np.asarray(values, np.float64) - np.asarray(reference, np.float64)", "np.asarray(values, np.float64) - np.asarray(reference, np.float64)[::-1]"),
    ),
    *_of(
        "metrics/ranking.py", "metrics/test_ranking.py",
        ("high errors are good", "rankdata(-errors, axis=1))", "rankdata(errors, axis=1))"),
        ("ranks over groups", "return _correlation(rankdata(scores, axis=1)", "return _correlation(rankdata(scores, axis=0)"),
        ("regret against the mean", "first.sum(1) - errors.min(1)", "first.sum(1) - errors.mean(1)"),
        ("tau-a", "untied = np.sqrt(np.abs(s).sum(1) * np.abs(e).sum(1))", "untied = np.full(len(s), float(s.shape[1]))"),
        ("Kendall upside down", "e = np.sign(errors[:, second] - errors[:, first])", "e = np.sign(errors[:, first] - errors[:, second])"),
        ("silence counts as order", "np.where(silent, 0.0,", "np.where(silent, 1.0,"),
    ),
    *_of(
        "metrics/uncertainty.py", "metrics/test_uncertainty.py",
        ("covariance of a population", "/ (joints.shape[-3] - 1)", "/ joints.shape[-3]"),
        ("scale not squared", "self.scale[:, None, None].square() * predicted", "self.scale[:, None, None] * predicted"),
        ("quantiles of another share", "CHI2_3 = {0.5: 2.36597, 0.9: 6.25139}", "CHI2_3 = {0.5: 6.25139, 0.9: 2.36597}"),
        ("likelihood without its volume", "+ torch.logdet(predicted.covariance))", ")"),
        ("bins by error", "order = spread.argsort()", "order = error.argsort()"),
    ),
    *_of(
        "evaluation/person_errors.py", "evaluation/test_person_errors.py",
        ("mean instead of min of M", 'columns[f"min_of_{m}"] = each[:, :m].amin(1)', 'columns[f"min_of_{m}"] = each[:, :m].mean(1)'),
        ("min of one more", 'columns[f"min_of_{m}_pa"] = each_pa[:, :m].amin(1)', 'columns[f"min_of_{m}_pa"] = each_pa[:, : m + 1].amin(1)'),
        ("the mode is selected", '"selected": each[rows, selected]', '"selected": each[:, 0]'),
        ("fused measured from the spine", "name: mpjpe(body, target, root=0)", "name: mpjpe(body, target, root=3)"),
        ("group measured from the spine", "each = mpjpe(joints, target[:, None], root=0)", "each = mpjpe(joints, target[:, None], root=3)"),
        ("plane and depth exchanged", "plane, depth = plane_and_depth_errors(body, target)", "depth, plane = plane_and_depth_errors(body, target)"),
        ("failures cost nothing", "torch.where(bad, FAILURE_ERROR, values)", "torch.where(bad, 0.0, values)"),
        ("mesh from the wrong root", "pve(mesh, target, body[:, 0], joints[:, 0])", "pve(mesh, target, joints[:, 0], joints[:, 0])"),
        ("spread from the spine", "relative = joints - joints[..., :1, :]", "relative = joints - joints[..., 3:4, :]"),
        ("PA of nothing", '"single_pa": each_pa.mean(1)', '"single_pa": each.mean(1)'),
    ),
    *_of(
        "evaluation/markdown.py", "evaluation/test_summary.py",
        ("plane and depth exchanged", '"fused_plane": "fused, image plane",\n        "fused_depth": "fused, depth"', '"fused_depth": "fused, image plane",\n        "fused_plane": "fused, depth"'),
        ("PA figures under MPJPE", '(("MPJPE", ""), ("PA-MPJPE", "_pa"))', '(("MPJPE", "_pa"), ("PA-MPJPE", ""))'),
    ),
    *_of(
        "evaluation/summary.py", "evaluation/test_summary.py",
        ("differences the wrong way round", "paired_difference(evaluation.columns[n], reference.columns[n])", "paired_difference(reference.columns[n], evaluation.columns[n])"),
        ("slices of everybody", "bootstrap_mean(values[mask])", "bootstrap_mean(values)"),
        ("centimetres for millimetres", "in_mm = interval.scaled(1000.0)", "in_mm = interval.scaled(100.0)"),
    ),
    *_of(
        "evaluation/critic_audit.py", "evaluation/test_critic_audit.py",
        ("groups are drawn instead of clusters", "counts = cluster_counts(_numbered(clusters, len(scores)), draws, seed)", "counts = cluster_counts(np.arange(len(scores)), draws, seed)"),
        ("pairs in the wrong order are right", "right = ((1 + by_score * by_error) / 2", "right = ((1 - by_score * by_error) / 2"),
        ("regret in metres", '"regret_mm": 1000 * regret(scores, errors)', '"regret_mm": regret(scores, errors)'),
        ("difference the wrong way round", "cluster_interval(measured[n] - others[n], counts)", "cluster_interval(others[n] - measured[n], counts)"),
    ),
)

_GEOMETRY = (
    *_of(
        "geometry/cameras.py", "geometry/test_cameras.py",
        ("principal point with the wrong sign", "y = (pixels[..., 1] - K[..., 1, 2])", "y = (pixels[..., 1] + K[..., 1, 2])"),
        ("pixels by their corners", "return (pixels + 0.5) * factor - 0.5", "return pixels * factor"),
        ("horizontal for diagonal focal length", "equivalent_mm / FILM_DIAGONAL_MM * diagonal", "equivalent_mm / 36.0 * diagonal"),
        ("crop by the shorter side", "margin * (box[..., 2:] - box[..., :2]).amax(dim=-1)", "margin * (box[..., 2:] - box[..., :2]).amin(dim=-1)"),
        ("the virtual camera looks away", "return swing_between(ray / length, forward)", "return swing_between(forward, ray / length)"),
    ),
    *_of(
        "geometry/placement.py", "geometry/test_placement.py",
        ("sign of the depth equation", "bx, by = u * Z - X, v * Z - Y", "bx, by = X - u * Z, Y - v * Z"),
        ("weights not squared", "w = weights.square()", "w = weights"),
        ("the box is filled by its shorter side", "((least - most) / (high - low)).amax(-1, keepdim=True)", "((least - most) / (high - low)).amin(-1, keepdim=True)"),
        ("turned the wrong way", "R = rotvec_to_rotmat(delta[..., :3]) @ R", "R = rotvec_to_rotmat(-delta[..., :3]) @ R"),
    ),
    *_of(
        "geometry/frames.py", "geometry/test_frames.py",
        ("sides not exchanged", "rotmats[..., torch.tensor(table, device=rotmats.device), :, :] * flip", "rotmats * flip"),
        ("sides exchanged, turns not mirrored", "flip = rotmats.new_tensor([-1.0, 1.0, 1.0])", "flip = rotmats.new_tensor([1.0, 1.0, 1.0])"),
    ),
    *_of(
        "geometry/swing_twist.py", "geometry/test_swing_twist.py",
        ("sign of the twist", "sin = (torch.linalg.cross(bone, side) * turned).sum(-1)", "sin = (torch.linalg.cross(side, bone) * turned).sum(-1)"),
        ("twist before swing", "twist = swing.mT @ rotmat", "twist = rotmat @ swing.mT"),
        ("bones at their reversal stand still", "return torch.where(reversed_bone, _half_turn(perpendicular(a)), swing)", "return torch.where(reversed_bone, eye, swing)"),
        ("swing back", "cross = skew(torch.linalg.cross(a, b))", "cross = skew(torch.linalg.cross(b, a))"),
        ("root turned back", "return project_to_rotmat(target.mT @ rest)", "return project_to_rotmat(rest.mT @ target)"),
    ),
    *_of(
        "geometry/rotations.py", "hypotheses/test_fusion.py geometry",
        ("half the angle", "return 2 * torch.asin(", "return torch.asin("),
        ("degrees for radians", 'rotvec[..., "xyz".index(axis)] = angle', 'rotvec[..., "xyz".index(axis)] = angle.deg2rad()'),
        ("the mean is no rotation", "return project_to_rotmat(rotmats.mean(dim=-3))", "return rotmats.mean(dim=-3)"),
    ),
    *_of(
        "geometry/nearest_rotation.py", "geometry/test_nearest_rotation.py",
        ("reflections are allowed", "torch.linalg.det(U) * torch.linalg.det(Vh)).sign()", "torch.linalg.det(U) * torch.linalg.det(Vh)).abs()"),
        ("another root", "largest = _largest(minors.square().sum(0), det)", "largest = _largest(minors.square().sum(0), det.abs())"),
        ("never decomposed", "bool(ambiguous.any())", "False"),
        ("derivative turned back", "turned = _axial(R.mT @ gradients[0])", "turned = -_axial(R.mT @ gradients[0])"),
        ("derivative of a sphere", "C @ turned[..., None]", "turned[..., None]"),
    ),
    *_of(
        "geometry/procrustes.py", "geometry/test_procrustes.py metrics/test_joint_errors.py",
        ("turned back", "covariance = (share * y).mT @ x", "covariance = (share * x).mT @ y"),
        ("scale of the target", "variance = (share * x.square())", "variance = (share * y.square())"),
        ("centre without weights", "source_mean = (share * source).sum(dim=-2, keepdim=True)", "source_mean = source.mean(dim=-2, keepdim=True)"),
        ("reflections are allowed", "project_to_rotmat(_unit_norm(covariance))", "torch.linalg.svd(_unit_norm(covariance))[0] @ torch.linalg.svd(_unit_norm(covariance))[2]"),
    ),
)

_BODY = (
    *_of(
        "body/lbs.py", "body/test_lbs.py",
        ("rotations composed the wrong way round", "world.append(above @ rotmats[..., list(joints_here), :, :])", "world.append(rotmats[..., list(joints_here), :, :] @ above)"),
        ("bones turned by their own joint", "turned = (global_rotmats[..., above, :, :] @ bones[..., None])[..., 0]", "turned = (global_rotmats[..., [min(j, 23) for j in range(1, len(parents))], :, :] @ bones[..., None])[..., 0]"),
        ("transl forgotten in joints", "    return joints + body.transl[..., None, :]\n", "    return joints\n"),
        ("skin turned about the origin", "joints[..., :NUM_JOINTS, :] - (global_rotmats @ rest[..., None])[..., 0]", "joints[..., :NUM_JOINTS, :] - rest"),
        ("correctives of the rest pose", "feature = (body_pose - torch.eye(3, dtype=body_pose.dtype, device=body_pose.device)).flatten(-3)", "feature = body_pose.flatten(-3)"),
        ("joints of the mean shape", "return model.J_template + (betas @", "return model.J_template + 0 * (betas @"),
        ("keypoints without their joints' share", "return pairs.to_keypoint @ turned + pairs.share @ joints[..., :NUM_JOINTS, :]", "return pairs.to_keypoint @ turned + joints[..., :1, :]"),
    ),
    *_of(
        "body/inverse_kinematics.py", "body/test_inverse_kinematics.py",
        ("the spine points to a collar", "{9: 12}", "{9: 13}"),
        ("directions in the child's frame", "(parent_world.mT @ offset[..., None])", "(parent_world @ offset[..., None])"),
        ("world rotations of the parent alone", "world.append(parent_world @ own[-1])", "world.append(parent_world)"),
        ("twists of the next joint", "twist_about(bones, twist_cos_sin)", "twist_about(bones, twist_cos_sin.roll(1, -2))"),
        ("twist before swing", "swing_between(bone, unit_or(direction, bone)) @ twist[..., here, :, :]", "twist[..., here, :, :] @ swing_between(bone, unit_or(direction, bone))"),
    ),
    *_of(
        "body/joint_limits.py", "body/test_joint_limits.py",
        ("right sides have the left's ranges", 'if side == "right" and axis > 0:', 'if side == "right" and axis > 2:'),
        ("degrees for radians", "return axes, low.deg2rad(), high.deg2rad()", "return axes, low, high"),
        ("only upper limits", "(low - angles).clamp(min=0) + (angles - high).clamp(min=0)", "(angles - high).clamp(min=0)"),
    ),
    *_of(
        "body/support.py", "body/test_support.py",
        ("what carries is the highest", "height <= height.amin(-1, keepdim=True) + TOUCHING",
         "height >= height.amax(-1, keepdim=True) - TOUCHING"),
        ("seen from the side", "(level.mean(-2) * mass[:, None]).sum(-2)[..., [0, 2]]",
         "(level.mean(-2) * mass[:, None]).sum(-2)[..., [0, 1]]"),
    ),
    *_of(
        "body/capsules.py", "body/test_capsules.py",
        ("bodies apart are rewarded", "- _FLESH - distance).clamp(min=0).sum(-1)", "- _FLESH - distance).sum(-1)"),
        ("distance of infinite lines", "s = ((b * t - d) / a.clamp(min=tiny)).clamp(0, 1)", "s = ((b * t - d) / a.clamp(min=tiny))"),
        ("deepest instead of all overlaps", "- _FLESH - distance).clamp(min=0).sum(-1)", "- _FLESH - distance).clamp(min=0).amax(-1)"),
    ),
    *_of(
        "body/retarget.py", "body/test_retarget.py",
        ("shapes without their prior", "jacobian.mT @ jacobian + prior", "jacobian.mT @ jacobian + 1e-9 * prior"),
        ("placed by the pelvis alone", "return moved.with_transl(gap.mean(-2))", "return moved.with_transl(gap[..., 0, :])"),
    ),
)

_CRITICS = (
    *_of(
        "critics/learned_scorer.py", "critics/test_learned_scorer.py",
        ("seen from one side", "(self.scored.scorer(x) + self.scored.scorer(mirrored_input(x))) / 2", "self.scored.scorer(x)"),
        ("seen only in the mirror", "(self.scored.scorer(x) + self.scored.scorer(mirrored_input(x))) / 2", "self.scored.scorer(mirrored_input(x))"),
        ("persons nobody saw are ranked", "torch.where(self.can_judge(example)[:, None], scores, scores.mean(1, keepdim=True))", "scores"),
    ),
    *_of(
        "critics/critic.py", "critics/test_critics.py::test_the_annotation_is_removed_unless_it_is_needed "
        "critics/test_critics.py::test_ground_truth_is_not_seen",
        ("critics see the truth", "shown = example if critic.needs_truth else replace(example, annotation=None)", "shown = example"),
    ),
    *_of(
        "critics/reprojection.py", "critics/test_critics.py",
        ("far is good", "return -(weight * loss).sum(-1)", "return (weight * loss).sum(-1)"),
        ("shares of the shorter side", "(observation.box[..., 2:] - observation.box[..., :2]).amax(dim=-1)", "(observation.box[..., 2:] - observation.box[..., :2]).amin(dim=-1)"),
        ("bodies without their place", "landmark_points(body, params.betas, G, joints + params.transl[..., None, :], offsets)", "landmark_points(body, params.betas, G, joints, offsets)"),
        ("lower median", "for k in (0, 1))", "for k in (1, 1))"),
        ("unobserved keypoints count", "weight = observation.confidence[:, None]", "weight = torch.ones_like(observation.confidence[:, None])"),
    ),
    *_of(
        "critics/controls.py", "critics/test_oracle.py critics/test_critics.py::test_controls",
        ("oracle of the place", "mpjpe(joints, truth, root=0)", "mpjpe(joints, truth)"),
        ("oracle prefers the worst", "return -(mpjpe(joints, truth, root=0)", "return (mpjpe(joints, truth, root=0)"),
        ("vertices from the wrong root", "error = pve(mesh, target, root, truth.joints[person : person + 1, 0])", "error = pve(mesh, target, root, truth.joints[person : person + 1, 3])"),
    ),
    *_of(
        "critics/noisy_oracle.py", "critics/test_oracle.py",
        ("orders the wrong way round", "return signal * normal_scores(truth)", "return -signal * normal_scores(truth)"),
        ("correlation of scores, not of ranks", "signal, spread = signal_and_noise(self.correlation, truth.shape[1])", "signal, spread = self.correlation, (1 - self.correlation**2) ** 0.5"),
    ),
    *_of(
        "critics/mix.py", "critics/test_critics.py critics/test_catalogue.py",
        ("sum instead of mean", "return total / torch.where(weights > 0, weights, 1.0)", "return total"),
        ("parts that cannot judge still do", "share = weight * can_judge(critic, example).to(total)[:, None]", "share = weight * torch.ones_like(total[:, :1])"),
    ),
    *_of(
        "critics/plausibility.py", "critics/test_critics.py critics/test_plausibility_terms.py",
        ("penetration is rewarded", "excess / LIMIT_UNIT + overlap / PENETRATION_UNIT", "excess / LIMIT_UNIT - overlap / PENETRATION_UNIT"),
        ("limits are rewarded", "return -cost / (1 + cost)", "return cost / (1 + cost)"),
    ),
    *_of(
        "critics/consistency.py", "critics/test_consistency.py",
        ("agreement over persons", "relative.mean(1, keepdim=True)", "relative.mean(0, keepdim=True)"),
        ("the odd one out is best", "return -(relative", "return (relative"),
    ),
    *_of(
        "critics/landmarks3d.py", "critics/test_landmarks3d.py",
        ("weights do not count", "aligned, _ = procrustes(points, target, weight)", "aligned, _ = procrustes(points, target)"),
    ),
    *_of(
        "critics/vlm/merge.py", " ".join(
            f"critics/vlm/test_merge.py::test_{name}" for name in (
                "both_bounds_count", "the_p_value_is_uniform_where_nothing_differs_and_that_of_nested_regressions",
                "the_p_value_of_pairs_is_that_of_nested_regressions", "standard_errors_cover_the_truth",
                "levels_of_calls_and_a_planted_position_bias_are_found_and_removed",
                "strengths_are_the_most_probable_ones_by_another_optimiser",
                "a_side_that_always_wins_stays_finite_and_ties_give_equal_scores",
                "scores_and_errors_are_those_of_an_independent_regression",
            )
        ),
        ("noise is informative", "beyond_chance = np.isnan(p_value) or p_value <= options.alpha", "beyond_chance = True"),
        ("degrees of freedom exchanged", "f_distribution.sf(max(F, 0.0), items, freedom)", "f_distribution.sf(max(F, 0.0), freedom, items)"),
        ("places count as a difference", "        score = score - float(place @ score) / power * place\n", "        score = score + 0\n"),
        ("position bias added", "left = rows.score - known * rows.place", "left = rows.score + known * rows.place"),
        ("bias of pairs is a difference", "(left - left.mean(), X - X.mean(0)) if fitted else (left, X)", "(left, X)"),
        ("standard errors of items alone", "contrast[np.ix_(members, members)] -= 1 / len(members)", "contrast[np.ix_(members, members)] -= 0"),
        ("the loser of a pair wins", "X[np.arange(len(wins)), first] += 1\n    X[np.arange(len(wins)), second] -= 1", "X[np.arange(len(wins)), first] -= 1\n    X[np.arange(len(wins)), second] += 1"),
    ),
)

_PREFERENCES = (
    *_of(
        "preferences/published_pool.py", "preferences/test_published_pool_files.py",
        ("millimetres for metres", "self.joints[..., 2] / 1000", "self.joints[..., 2]"),
        ("the crop's affine the other way round", "apply_affine(self.A_image_crop[:, None], uv)",
         "apply_affine(self.A_crop_image[:, None], uv)"),
    ),
    *_of(
        "preferences/published_pool_files.py", "preferences/test_published_pool_files.py",
        ("the worse one first", "torch.stack([better, worse], 1)", "torch.stack([worse, better], 1)"),
        ("twists of the other one", "torch.stack([better_twist, worse_twist], 1)", "torch.stack([worse_twist, better_twist], 1)"),
    ),
    *_of(
        "preferences/pairs.py", "preferences/test_pairs.py",
        ("top and bottom exchanged", "return order[:, :k], order[:, -k:]", "return order[:, -k:], order[:, :k]"),
        ("ties are pairs", "real: Bool[Tensor, \"group n\"] = scores.gather(1, chosen) > scores.gather(1, rejected)", "real: Bool[Tensor, \"group n\"] = scores.gather(1, chosen) >= scores.gather(1, rejected)"),
        ("i-th best against i-th of the bottom", "chosen, rejected = top, bottom.flip(-1)", "chosen, rejected = top, bottom"),
    ),
    *_of(
        "preferences/statistics.py", "preferences/test_statistics.py",
        ("equals do not share their rank", "parts.append(below + (_equals(part).double() + 1) / 2)", "parts.append(below + 1.0)"),
        ("spread over groups", "scores.std(1, correction=0).mean()", "scores.std(0, correction=0).mean()"),
    ),
)

_MODELS = (
    *_of(
        "models/published/conversion.py", "models/published/test_conversion.py",
        ("averages are never taken", "number = numbers.get(slot.name)", "number = None"),
        ("averages in the order of all tensors", "{slot.name: n for n, slot in enumerate(part.averaged)}",
         "{slot.name: min(n, len(averages) - 1) for n, slot in enumerate(part.slots) if slot.is_parameter}"),
        ("weights need not be finite", "if not bool(torch.isfinite(tensor).all()):", "if False:"),
    ),
    *_of(
        "models/published/snapshot.py", "models/published/test_snapshot.py",
        ("a tensor may reach beyond its numbers", "last >= storage.numel", "last > storage.numel"),
    ),
    *_of(
        "models/context.py", "models/test_context.py",
        ("mirrored without exchanging sides", "per_keypoint[..., list(MIRROR_KEYPOINTS), :] * flip", "per_keypoint * flip"),
        ("sides exchanged, x not mirrored", "flip = torch.tensor([-1.0, 1.0, 1.0, 1.0]", "flip = torch.tensor([1.0, 1.0, 1.0, 1.0]"),
        ("mask not mirrored", "features.mask.flip(-1)", "features.mask"),
        ("unseen keypoints are seen", ".clamp(-_PLANE_LIMIT, _PLANE_LIMIT) * seen[..., None]", ".clamp(-_PLANE_LIMIT, _PLANE_LIMIT)"),
        ("unknown cameras are known", "known * torch.log(frame.tan_half_size / 0.2)", "torch.log(frame.tan_half_size / 0.2) + 1"),
    ),
    *_of(
        "models/pose_vector.py", "models/test_pose_vector.py",
        ("twists not mirrored", "twist = twist[..., swap, :] * torch.tensor([1.0, -1.0], device=vector.device)", "twist = twist[..., swap, :]"),
        ("joints mirrored without exchanging sides", "joints[..., list(MIRROR_JOINTS), :] * torch", "joints * torch"),
        ("twists of the other side kept", "twist = twist[..., swap, :] *", "twist = twist *"),
        ("one-sided statistics", "both = torch.cat([vectors, mirror(vectors)])", "both = vectors"),
        ("joints from the spine", "relative = joints[..., 1:, :] - joints[..., :1, :]", "relative = joints[..., 1:, :] - joints[..., 3:4, :]"),
    ),
    *_of(
        "models/person_frame.py", "models/test_person_frame.py",
        ("size without its cosine", "tan_half = longest / focal * cosine", "tan_half = longest / focal"),
        ("keypoints turned back", "turned = rays(observation.keypoints, observation.K) @ R.mT", "turned = rays(observation.keypoints, observation.K) @ R"),
        ("guessed cameras are believed", "torch.where(observation.knows_camera[..., None, None], tangent / tan_half[..., None, None], crop)", "tangent / tan_half[..., None, None]"),
    ),
    *_of(
        "models/lite.py", "models/test_lite.py",
        ("v for eps", "return eps_from_v(self.predict_v(x_t, t, prepared), x_t, alpha_bar)", "return self.predict_v(x_t, t, prepared)"),
        ("time does not matter", "prepared.modulation + self.time_modulation(", "prepared.modulation + 0 * self.time_modulation("),
    ),
    *_of(
        "models/scorer_features.py", "models/test_scorer.py",
        ("depth upside down", "return ((depth - pelvis) / DEPTH_UNIT)", "return ((pelvis - depth) / DEPTH_UNIT)"),
        ("residuals not mirrored", "marks = torch.tensor([-1.0, 1.0, -1.0, 1.0, 1.0, 1.0]", "marks = torch.tensor([-1.0, 1.0, 1.0, 1.0, 1.0, 1.0]"),
        ("rotations not mirrored", "columns = torch.tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0]", "columns = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]"),
        ("twists of the wrong sides", "x.twists[..., [j - 1 for j in joints[1:NUM_JOINTS]], :]", "x.twists"),
        ("unseen keypoints have residuals", "/ _RESIDUAL_UNIT / 2) * seen", "/ _RESIDUAL_UNIT / 2)"),
    ),
    *_of(
        "models/scorer.py", "models/test_scorer.py",
        ("groups of all persons", "away = x.uvd - x.uvd.mean(1, keepdim=True)", "away = x.uvd - x.uvd.mean(0, keepdim=True)"),
        ("the first member decides", "torch.stack([member(x) for member in self.members]).mean(0)", "torch.stack([member(x) for member in self.members])[0]"),
    ),
    *_of(
        "models/scorer_calibration.py", "models/test_scorer_calibration.py",
        ("quality rises with the error", "return torch.exp(-mpjpe / QUALITY_UNIT)", "return torch.exp(mpjpe / QUALITY_UNIT)"),
        ("falls beyond the last knot", "above = 1 - (1 - y[-1]) * torch.exp((x[-1] - output).clamp(max=0))", "above = y[-1] * torch.exp((x[-1] - output).clamp(max=0))"),
        ("between the wrong knots", "x_low, x_high, y_low, y_high = x[slot - 1], x[slot], y[slot - 1], y[slot]", "x_low, x_high, y_low, y_high = x[slot - 1], x[slot], y[slot], y[slot - 1]"),
    ),
    *_of(
        "models/pshuman/view_block.py", "models/pshuman/test_view_block.py",
        ("the front's share of the face", "(1 - share) * place + share * small", "share * place + (1 - share) * small"),
        ("the face's gradient through the front", "pictures[:, -1].detach() if", "pictures[:, -1] if"),
        ("columns over the views", "x.unflatten(2, (side, side)).transpose(1, 2)", "x.unflatten(2, (side, side)).movedim(3, 1)"),
        ("the face in rows", "sides = groups if self.switches.face_in_rows else groups[:, :-1]", "sides = groups"),
        ("domains for themselves", "torch.cat(x.chunk(2, dim=0), dim=1)", "torch.cat([x[: len(x) // 2]] * 2, dim=1)"),
        ("tokens that are not normed", "x = x + self._own(self.norm1(x))  # 1", "x = x + self._own(x)  # 1"),
    ),
)

_DATA = (
    *_of(
        "data/synthetic/observation_noise.py", "data/synthetic/test_observation_noise.py",
        ("mirrored layout, plain residual", "residual = torch.where(flip[:, None, None], _mirrored(residual), residual)", "residual = residual + 0"),
        ("noise in pixels of no body", "keypoints + residual * body_height(keypoints)[:, None, None], confidence", "keypoints + residual, confidence"),
        ("sides exchanged, confidence kept", "confidence[:, part] = torch.where(swapped[:, None], confidence[:, other], confidence[:, part])", "confidence[:, part] = confidence[:, part] + 0"),
        ("the farthest layout", "(self.layouts[pick] - wanted[:, None]).abs().sum(-1).argmin(1)", "(self.layouts[pick] - wanted[:, None]).abs().sum(-1).argmax(1)"),
        ("errors are handed up the limb", "noise[:, child] = noise[:, child] + self.along_limb * noise[:, parent]", "noise[:, parent] = noise[:, parent] + self.along_limb * noise[:, child]"),
        ("what is above the occluder is hidden", "below = keypoints[..., 1] > level[:, None]", "below = keypoints[..., 1] < level[:, None]"),
        ("limbs without feet instead of feet", "((FEET, self.no_feet), (KNUCKLES, self.no_knuckles))", "((KNUCKLES, self.no_feet), (FEET, self.no_knuckles))"),
    ),
    *_of(
        "data/synthetic/label_noise.py", "data/synthetic/test_label_noise.py",
        ("degrees for radians", "turn = math.radians(noise.degrees) / math.sqrt(3)", "turn = noise.degrees / math.sqrt(3)"),
        ("angles per axis", "math.radians(noise.degrees) / math.sqrt(3)", "math.radians(noise.degrees)"),
        ("limbs flattened instead of flipped", "flipped[:, list(limb)] -= 2 * depth", "flipped[:, list(limb)] -= depth"),
        ("all labels are bad", "index = bad.nonzero()[:, 0]", "index = torch.arange(len(bad))"),
        ("everybody keeps their label", "other[order] = order.roll(1)", "other[order] = order"),
        ("wrong persons at their own place", "return replace(body[other], transl=body.transl)", "return body[other]"),
    ),
    *_of(
        "data/synthetic/poses.py", "data/synthetic/test_poses.py",
        ("up is not mirrored", "* flip[:, None] * flip, up * flip", "* flip[:, None] * flip, up"),
        ("degrees for radians", "scale = math.radians(mix.perturb_deg)", "scale = mix.perturb_deg"),
        ("right collars like left ones", '(("left", 1.0), ("right", -1.0))', '(("left", 1.0), ("right", 1.0))'),
        ("arms move with their collars", "out[:, shoulder] = turn.mT @ out[:, collar] @ out[:, shoulder]", "out[:, shoulder] = out[:, collar] @ out[:, shoulder]"),
    ),
    *_of(
        "data/synthetic/views.py", "data/synthetic/test_views.py",
        ("world upside down", "torch.diag(torch.tensor([1.0, -1.0, -1.0]))", "torch.diag(torch.tensor([-1.0, 1.0, -1.0]))"),
        ("distance of another lens", "depth = (1.7 * K[:, 1, 1] / (size * height))", "depth = (1.7 * 1000 / (size * height))"),
        ("people lean with the camera", "swing_between(up_in_pelvis, y_axis)", "swing_between(y_axis, up_in_pelvis)"),
    ),
    *_of(
        "data/synthetic/generator.py", "data/synthetic/test_generator.py",
        ("truth is of a larger body", "Annotation(body, posed_joints(self.model, body))", "Annotation(body, 1.02 * posed_joints(self.model, body))"),
        ("people outside the image are seen", "confidence = reported.confidence * _inside(reported.keypoints, views)", "confidence = reported.confidence * 1"),
        ("the detector's landmarks are ours", "landmark_points(self.model, body.betas, global_rotmats, joints, self.noise.offsets)", "landmark_points(self.model, body.betas, global_rotmats, joints, None)"),
    ),
    *_of(
        "data/twist_annotation.py", "data/test_twist_annotation.py",
        ("sine for cosine", "torch.atan2(cos_sin[..., 1], cos_sin[..., 0])", "torch.atan2(cos_sin[..., 0], cos_sin[..., 1])"),
        ("one bone for all frames", "rest.expand(len(parameters), -1, -1)[some]", "rest[:1].expand(len(rotmats), -1, -1)"),
    ),
    *_of(
        "data/pose_parameters.py", "data/test_twist_annotation.py",
        ("fingers for hands", "rotvecs[:, :NUM_BODY_JOINTS]", "rotvecs[:, 2 : NUM_BODY_JOINTS + 2]"),
        ("mirrored matrices are rotations", "(torch.linalg.det(rotmats) < 0)", "(torch.linalg.det(rotmats) < -2)"),
    ),
    *_of(
        "data/synthetic/proportions.py", "data/synthetic/test_proportions.py",
        ("each side stretched on its own bones", "stretched.append(stretched[PARENTS[joint]] + per_bone", "stretched.append(rest_joints[:, PARENTS[joint]] + per_bone"),
        ("thighs for shanks", '{"thighs": self.thigh_mean, "shanks": self.shank_mean}', '{"thighs": self.shank_mean, "shanks": self.thigh_mean}'),
    ),
)

_PAPER = (
    *_of(
        "models/paper/joint_graph.py", "models/paper/test_joint_graph.py",
        ("twists of the joint before", "joints[:, 1 : NUM_TWISTS + 1]", "joints[:, :NUM_TWISTS]"),
    ),
    *_of(
        "models/paper/hyponet.py", "models/paper/test_hyponet.py",
        ("no residual", "return x_t + torch.cat([joints, twists], dim=-1)", "return torch.cat([joints, twists], dim=-1)"),
        ("values carry positions", "values = context.global_tokens\n", "values = context.global_tokens + self.cell_positions\n"),
        ("no swish at the end", "x = nn.functional.silu(layer(x))", "x = layer(nn.functional.silu(x))"),
    ),
    *_of(
        "models/paper/decoder_block.py", "models/paper/test_hyponet.py",
        ("values of self-attention are placed", "self.self_attn(placed, placed, normed,", "self.self_attn(placed, placed, placed,"),
        ("cross-attention asks without positions", "asked = (self.norm2(x) + positions)", "asked = (self.norm2(x) + 0 * positions)"),
    ),
    *_of(
        "models/paper/positions.py", "models/paper/test_positions.py",
        ("rows before columns", "torch.cat([column, row], -1)", "torch.cat([row, column], -1)"),
    ),
    *_of(
        "models/paper/local_features.py", "models/paper/test_local_features.py",
        ("y before x", "_mean_cell(share.sum(-2), columns, corner), _mean_cell(share.sum(-1), rows, corner)",
         "_mean_cell(share.sum(-1), rows, corner), _mean_cell(share.sum(-2), columns, corner)"),
        ("centres of cells half a cell off", "align_corners=True", "align_corners=False"),
    ),
    *_of(
        "models/paper/fast_hyponet.py", "models/paper/test_fast_hyponet.py",
        ("masks forgotten", "attn_mask=self.seen", "attn_mask=None"),
        ("keys of the first block for all", "prepared.keys[:, number], prepared", "prepared.keys[:, 0], prepared"),
    ),
    *_of(
        "models/paper/vit.py", "models/paper/test_hmr_scorer.py",
        ("no class position", " + self.pos_embed[:, :1]", ""),
    ),
    *_of(
        "body/naive_inverse_kinematics.py", "body/test_naive_inverse_kinematics.py",
        ("the pelvis follows the spine alone", "_across(joints[..., _HIPS, :].mean(-2), axis)) @ upright", "_across(turned, axis)) @ upright"),
        ("twist after swing", "_turn_onto(bone, target) @ _turn(bone / _length(bone), cos, sin)", "_turn(bone / _length(bone), cos, sin) @ _turn_onto(bone, target)"),
    ),
    *_of(
        "fitting/uvd_lifting.py", "fitting/test_uvd_lifting.py",
        ("depth counted twice", "z = (depth + root[..., None])[..., None]", "z = (2 * depth + root[..., None])[..., None]"),
        ("the closed start is the answer", "_STEPS = 10", "_STEPS = 0"),
    ),
    *_of(
        "policies/hyponet.py", "policies/test_hyponet_policy.py",
        ("norms learn while aligning", "        self.model.encoder.eval()\n", ""),
        ("rotations stay in the axes of the lifting", "turn = (frame.R_person_cam @ lifted_axes(frame).mT)[:, None]", "turn = torch.eye(3).expand(len(betas), 1, 3, 3)"),
        ("old weights are sampled from", "if self._fast is None or self._fast[0] != state:", "if self._fast is None:"),
    ),
    *_of(
        "models/paper/uvd.py", "policies/test_hyponet_policy.py",
        ("u is not mirrored", "size - 1 - uv[..., 0]", "uv[..., 0]"),
    ),
    *_of(
        "training/crop_augmentation.py", "training/test_crop_augmentation.py",
        ("labels stay where pixels are moved", "pack_uvd(apply_affine(A, uv), depth", "pack_uvd(uv, depth"),
    ),
)

_RIG = (
    *_of(
        "fitting/rig_fit.py", "fitting/test_rig_fit.py",
        ("the guess is averaged in its own views", "turned[:, :, 0] = T_view_first[..., :3, :3].mT @ rotmats[:, :, 0]", "pass"),
        ("disagreeing views keep their say", "weight = geman_mcclure(error.norm(dim=-1) / sigma, cutoff) * self.observed * in_front", "weight = self.observed * in_front.float()"),
        ("only the first view counts", "d_view = self.R[:, :, None] @ d_point[:, None]", "d_view = d_point[:, None].expand(-1, self.R.shape[1], -1, -1, -1)"),
    ),
    *_of(
        "data/synthetic/rig.py", "data/synthetic/test_rig.py",
        ("cameras see another pose turned", "T[:, :3, :3] = view.global_orient @ first.global_orient.mT", "T[:, :3, :3] = first.global_orient @ view.global_orient.mT"),
        ("each view its own length of limbs", "source.observed(BodyParams(v.global_orient, body_pose, betas, v.transl), stretched, v, nobody, generator)[0]", "source.observed(BodyParams(v.global_orient, body_pose, betas + torch.rand(()), v.transl), stretched, v, nobody, generator)[0]"),
        ("the first view errs too", "turn[:, 0], shift[:, 0] = 0.0, 0.0", "pass"),
    ),
)

MUTANTS: tuple[Mutant, ...] = (
    *_ALIGNMENT, *_TRAINING, *_DIFFUSION, *_HYPOTHESES, *_TRACKING, *_METRICS, *_GEOMETRY, *_BODY, *_CRITICS, *_PREFERENCES, *_MODELS,
    *_PAPER, *_DATA, *_RIG,
)
