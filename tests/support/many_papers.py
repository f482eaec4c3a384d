"""HypoNet and ScoreNet at tiny size, trained by several processes that `accelerate launch` starts.

    python -m support.many_papers FOLDER STEPS...

For every number of steps the runs in FOLDER go on to it. Every process writes what came out, and what was refused.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path


def main(folder: Path, until: list[int]) -> None:
    import torch

    from hmralign.data.dataset import DatasetFacts, DatasetPersons
    from hmralign.structures import InputError
    from hmralign.training.crop_augmentation import NO_AUGMENTATION
    from hmralign.training.loop import Loop, LoopConfig
    from hmralign.training.paper import pictured_persons, train_hyponet
    from hmralign.training.paper_configuration import PaperTrainingConfig
    from hmralign.training.processes import number_of_processes, own_number, own_parts
    from hmralign.training.published_scorers import RankingConfig, ranked_persons, train_ranking
    from hmralign.training.shared_norms import share_norms
    from hmralign.training.step import Part
    from support.synthetic_persons import BODY, seeded
    from support.tiny_paper import TINY_PAPER, seen_persons

    torch.set_num_threads(1)
    model = replace(TINY_PAPER, dropout=0.0, start_dropout=0.0)
    facts = DatasetFacts("mine/train", "a test", "CC0", "cam, metres")
    persons = DatasetPersons(facts, seen_persons(8, known=1.0), "0" * 64)
    # Adam divides a gradient by its size: with its eps a number that is zero but for rounding moves as far as any.
    hyponet = PaperTrainingConfig(
        model=model, batch_size=8, augmentation=NO_AUGMENTATION, ema_decay=0.5, log_every=1,
        denoiser_eps=1e-3,
    )  # fmt: skip
    scorenet = RankingConfig(model=model, hypotheses=(4,), batch_size=8, ema_decay=0.5, log_every=1)
    pictured, ranked = [pictured_persons(persons, BODY)], ranked_persons(persons, BODY, scorenet)
    for steps in until:
        made = {
            "hyponet": train_hyponet(hyponet, pictured, BODY, folder / "hyponet", steps=steps),
            "parts": train_hyponet(replace(hyponet, accumulate=2), pictured, BODY, folder / "parts", steps=steps),
            "scorenet": train_ranking(scorenet, ranked, BODY, folder / "scorenet", steps=steps),
        }
    refused = ""
    try:
        train_hyponet(replace(hyponet, accumulate=5), pictured, BODY, folder / "refused", steps=1)
    except InputError as error:
        refused = str(error)

    # A norm against the one that sees the whole batch, forwards, backwards and in what it has measured.
    pictures, weights = (torch.randn(6, 3, 4, 5, generator=seeded(k)) + 2 for k in range(2))
    whole = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    shared = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    share_norms(shared)
    (own,) = own_parts(torch.arange(6), 1)
    gaps, found = {}, []
    for norm, which in ((whole, torch.arange(6)), (shared, own)):
        seen = pictures[which].requires_grad_()
        out = norm(seen)
        (out * weights[which]).sum().backward()
        found.append((out.detach(), seen.grad))
    for name, theirs, ours in zip(("out", "grad"), *found, strict=True):
        gaps[name] = float((ours - theirs[own]).abs().max())
    for name, value in whole[0].named_buffers():
        gaps[name] = float((getattr(shared[0], name) - value).abs().max())
    gaps["eval"] = float((shared.eval()(pictures) - whole.eval()(pictures)).detach().abs().max())

    def poisoned(net, step):
        net.train()
        for number, part in enumerate(own_parts(torch.arange(8), 2)):
            loss = net(pictures[part % 6]).square().mean((1, 2, 3))
            wrong = step == 1 and number == 0 and own_number() == number_of_processes() - 1
            yield Part({"a": loss * (float("inf") if wrong else 1.0)}, share=len(part) / 8)

    diverged = ""
    try:
        Loop(shared, poisoned, LoopConfig(rate=lambda *_: 0.1, steps=3)).run()
    except RuntimeError as error:
        diverged = str(error)
    state = {f"{n}/{k}": v for n, m in made.items() for k, v in m.state_dict().items() if v.is_floating_point()}
    name = f"said_{own_number()}_of_{number_of_processes()}"
    torch.save(state, folder / f"{name}.pt")
    (folder / f"{name}.json").write_text(json.dumps({"refused": refused, "gaps": gaps, "diverged": diverged}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
