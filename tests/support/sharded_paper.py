"""HypoNet without the published quirks, its weights in shards (torch's FSDP2) where several processes train it.

python -m support.sharded_paper FOLDER STEPS
"""

import json
import sys
from dataclasses import replace
from pathlib import Path


def main(folder: Path, steps: int) -> None:
    import torch
    from torch import distributed

    from hmralign.data.dataset import DatasetFacts, DatasetPersons
    from hmralign.training.crop_augmentation import NO_AUGMENTATION
    from hmralign.training.paper import HypoNetLosses, hyponet_step, pictured_persons, starting_hyponet
    from hmralign.training.paper_configuration import PaperTrainingConfig
    from hmralign.training.processes import number_of_processes, own_number
    from hmralign.training.shared_norms import share_norms
    from support.synthetic_persons import BODY
    from support.tiny_paper import own_config, seen_persons

    torch.set_num_threads(1)
    count = number_of_processes()
    config = PaperTrainingConfig(
        model=replace(own_config(), dropout=0.0, start_dropout=0.0), batch_size=8, augmentation=NO_AUGMENTATION
    )
    persons = DatasetPersons(DatasetFacts("mine", "a test", "CC0", "cam, metres"), seen_persons(8, known=1.0), "0" * 64)
    losses = HypoNetLosses(starting_hyponet(config, BODY))
    if count > 1:
        distributed.init_process_group("gloo")
        share_norms(losses)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (count,))
        for module in (losses.model.denoiser, losses.model.encoder, losses):
            fully_shard(module, mesh=mesh)
    optimizer = torch.optim.AdamW(losses.parameters(), lr=5e-4, eps=1e-3, weight_decay=0.0)
    step, found = hyponet_step(config, [pictured_persons(persons, BODY)]), []
    for number in range(steps):
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for part in step(losses, number):
            loss = part.loss()
            (count * loss).backward()  # gradients of shards are means over processes
            total += loss.detach()
        optimizer.step()
        if count > 1:
            distributed.all_reduce(total)
        found.append(float(total))
    held = sum((p.to_local() if count > 1 else p).numel() for p in losses.parameters())
    (folder / f"said_{own_number()}_of_{count}.json").write_text(json.dumps({"losses": found, "held": held}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
