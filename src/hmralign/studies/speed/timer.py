"""A process that times stages when it is asked, so that two versions can be timed in turns.

    python -m hmralign.studies.speed.timer THREADS [KIND ...]

It says the names of its stages, then CPU seconds for every name that it reads: a line of JSON each.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from hmralign.storage.json_file import HEADER, parse_json
from hmralign.studies.speed.stages import opened_setting, stage_names, stages


def main(arguments: list[str]) -> None:
    """Serve until there is no more input."""
    torch.set_num_threads(int(arguments[0]))
    with opened_setting() as setting:
        named = {stage.name: stage for stage in stages(setting, tuple(arguments[1:]) or stage_names())}
        _say(list(named))
        for line in sys.stdin:
            stage = named[str(parse_json(line, HEADER))]
            started = time.process_time()
            stage.work()
            _say(time.process_time() - started)


def _say(value: object) -> None:
    sys.stdout.write(json.dumps({"said": value}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
