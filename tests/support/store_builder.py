"""Processes that build stores and can be killed: `Builder` starts one that has all loaded, and forks for each job.

Loading takes seconds and a job a fraction of one, so that a test can kill many. A job is a dict:

| key | meaning |
| --- | --- |
| `shards`, `out`, `config`, `critics` | what `build_groups` gets; the policy is `support.group_stores.tiny_policy` |
| `log` | file that gets a line for every shard about to be sampled |
| `kill` | `[function of the store, its n-th call, when]`: SIGKILL itself `before`, `halfway` or `after` |
| `hang` | stop for ever before that shard is sampled |
| `file_limit` | bytes that a file may have, as on a disk that is full |
| `share` | make that share of the units, as `3/8`, beside the store |
| `collect` | put together what shares have made, and make nothing |
| `describe` | build nothing; write what `out` holds to that file |
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path


class Builder:
    """Starts jobs, one after the other. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), *sys.path]))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}  # the package that the test imports
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self._process.communicate()

    def start(self, **job) -> int:
        """Process id of the job; it stays the job's until `wait`, so that it can be killed at any time."""
        return int(self._ask(job))

    def wait(self) -> tuple[int, str]:
        """Exit code of the job (negative: the signal that ended it), and what it said about an error."""
        code, error = json.loads(self._ask("wait"))
        return code, error

    def run(self, **job) -> tuple[int, str]:
        self.start(**job)
        return self.wait()

    def _ask(self, message) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the builder ended"
        return line


def serve() -> None:
    import torch

    from support.group_stores import shard_folder, tiny_policy  # all that jobs need, loaded and used once

    torch.set_num_threads(1)
    policy = tiny_policy()
    with tempfile.TemporaryDirectory() as folder:
        shards = shard_folder(Path(folder) / "shards", 2)
        config = {"group_size": 2, "num_steps": policy.num_steps, "with_truth": True}
        build({"shards": shards, "out": Path(folder) / "out", "config": config, "critics": ["oracle-noisy"]}, policy)
    while line := sys.stdin.readline():
        job = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            code = 0
            try:
                describe(job) if "describe" in job else build(job, policy)
            except Exception as error:
                if type(error).__name__ not in ("InputError", "StoreFullError"):
                    traceback.print_exc()
                os.write(write, f"{type(error).__name__}: {error}".encode())
                code = 1
            os._exit(code)
        os.close(write)
        print(child, flush=True)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        sys.stdin.readline()  # "wait"
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), said]), flush=True)


def describe(job) -> None:
    from hmralign.preferences.store import GroupStore

    store = GroupStore.open(job["out"])
    found = {"ids": store.ids, "hash": store.content_hash(), "skipped": dict(store.skipped), "shards": store.num_shards}
    Path(job["describe"]).write_text(json.dumps(found))


def build(job, policy) -> None:
    import resource

    from hmralign.engines.share import Share
    from hmralign.engines.work import make_share
    from hmralign.preferences import build as module
    from hmralign.preferences.person_source import ShardSource
    from hmralign.preferences.workers import GroupUnits
    from support.synthetic_persons import BODY

    source = ShardSource.open(Path(job["shards"]))
    sample = module.sample_batch

    def logged(policy, batch, config):
        shard = int(batch.ids[0].rpartition("/")[2]) // config.shard_size
        with open(job["log"], "a") as log:
            log.write(f"{shard} {batch.ids[0]}\n")
        if job.get("hang") == shard:
            signal.pause()
        return sample(policy, batch, config)

    if "log" in job:
        module.sample_batch = logged
    if "kill" in job:
        die_at(*job["kill"])
    if "file_limit" in job:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], resource.RLIM_INFINITY))
    config = module.GroupStoreConfig(**job.get("config", {}))
    what = (policy, BODY, "c" * 64, ("lab/train",), source, Path(job["out"]), config, job["critics"])
    if "share" in job:
        make_share(GroupUnits.begin(*what), Share.of_text(job["share"]))
    else:
        module.build_groups(*what, only_collect=job.get("collect", False))


def die_at(name: str, call: int, when: str) -> None:
    """Let the n-th call of a function that writes, such as `save_whole` or `_append_lines`, be the last."""
    from hmralign.preferences import store

    real, calls = getattr(store, name), []

    def fatal(*arguments, **how):
        calls.append(None)
        if len(calls) != call:
            return real(*arguments, **how)
        if when == "after":
            real(*arguments, **how)
        elif when == "halfway" and name == "_append_lines":
            path, records = arguments
            content = "".join(json.dumps(r) + "\n" for r in records).encode()
            with path.open("ab") as index:
                index.write(content[: len(content) * 2 // 3])
        elif when == "halfway" and name == "write_json":
            arguments[0].parent.mkdir(parents=True, exist_ok=True)
            arguments[0].with_name(f".{arguments[0].name}.0123abcd.part").write_text("half")
        elif when == "halfway":
            path = next(a for a in arguments if isinstance(a, Path))
            path.with_name(f".{path.name}.0123abcd.part").write_bytes(b"half")
            path.with_suffix(".part").write_bytes(b"half")  # as earlier versions had it
            path.with_name(".tmpkJZIpa").write_bytes(b"half")  # as safetensors has it
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(store, name, fatal)


if __name__ == "__main__":
    serve()
