"""Programs of this folder run by `accelerate launch` in several processes that meet on a processor (gloo)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
"""Several processes on a CPU go by the name of GPUs, with ACCELERATE_USE_CPU; `--cpu` starts one."""


def launched(program: ModuleType, number: int, folder: Path, *words: object) -> list[dict[str, Any]]:
    """What each process has written of itself into the folder."""
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [*LAUNCH, "--num_processes", str(number), "--main_process_port", "0", str(program.__file__)]
    done = subprocess.run(
        [*command, str(folder), *map(str, words)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"said_{k}_of_{number}.json").read_text()) for k in range(number)]
