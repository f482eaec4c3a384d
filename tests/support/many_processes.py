"""A training that several processes share, run by `accelerate launch`: a toy policy aligned by DPO, a line fitted.

    python -m support.many_processes FOLDER STEPS...

For every number of steps the run in FOLDER goes on to it. The first process writes what came out of it; what is refused
is written too.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path


def main(folder: Path, until: list[int]) -> None:
    import torch
    from torch import nn

    from hmralign.alignment.methods.dpo import DpoConfig, dpo_objective
    from hmralign.alignment.methods.kto import KtoConfig, kto_objective
    from hmralign.structures import InputError
    from hmralign.training.contexts import cache_contexts
    from hmralign.training.curve import Curve
    from hmralign.training.loop import Loop, LoopConfig
    from hmralign.training.offline import OfflineStep
    from hmralign.training.preference import choose_trainable, train_policy
    from hmralign.training.preference_configuration import PreferenceTrainingConfig
    from hmralign.training.processes import number_of_processes, own_number
    from hmralign.training.step import Part
    from support.toy_policy import ToyPolicy, observation, toy_items

    torch.set_num_threads(1)
    config = PreferenceTrainingConfig(
        steps=max(until),
        schedule="constant",
        batch_size=24,
        learning_rate=0.01,
        warmup=2,
        context_variants=1,
        save_every=1,
        check_every=2,
    )
    seen = []

    def step_of(objective, members):
        reference = ToyPolicy().eval().requires_grad_(False)
        contexts = cache_contexts(reference, observation(), 1, trains_encoder=False)
        step = OfflineStep(toy_items(members), contexts, objective, reference, config)
        plain = OfflineStep.__call__

        class Noted(OfflineStep):
            def __call__(self, policy, number):
                policy.asked.clear()
                for part in plain(self, policy, number):
                    seen.append([number, *[float(eps.double().sum()) for _, eps in policy.asked]])
                    policy.asked.clear()
                    yield part

        return Noted(step.items, step.contexts, step.objective, step.reference, config)

    for steps in until:
        policy = ToyPolicy()
        now = replace(config, steps=steps)
        choose_trainable(policy, now)
        done = train_policy(policy, step_of(dpo_objective(DpoConfig(anchor=0.1)), 2), now, folder / "dpo")
    weights = torch.cat([p.detach().flatten() for p in done.policy.parameters()])

    refused = {}
    model = nn.Linear(3, 1)
    for name, begin in {
        "whole": lambda: Loop(
            model,
            lambda net, step: [Part({"a": net(torch.ones(4, 3)).square()})],
            LoopConfig(rate=lambda *_: 0.1, steps=1),
            curve=Curve(folder / "whole.jsonl"),
        ).run(),
        "other start": lambda: Loop(
            nn.Linear(3, 1).requires_grad_(True) if own_number() else model,
            lambda net, step: [],
            LoopConfig(rate=lambda *_: 0.1, steps=1),
        ).run(),
        "batch": lambda: step_of(kto_objective(KtoConfig()), 1),
    }.items():
        torch.manual_seed(own_number())
        if name == "whole":
            nn.init.ones_(model.weight)
            nn.init.zeros_(model.bias)
        try:
            begin()
        except InputError as error:
            refused[name] = str(error)
    out = folder / f"said_{own_number()}_of_{number_of_processes()}.json"
    out.write_text(json.dumps({"weights": weights.tolist(), "refused": refused, "seen": seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
