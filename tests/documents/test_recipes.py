"""The Slurm script and the Kubernetes Jobs of docs/recipes: read, linted, and run as an array of processes."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from hmralign.cli.groups_options import GroupsOptions, check_options
from hmralign.cli.options import parse_options

RECIPES = Path(__file__).parents[2] / "docs/recipes"
SCRIPT, JOBS = RECIPES / "slurm_array.sbatch", RECIPES / "kubernetes_job.yaml"


@pytest.fixture
def said(tmp_path):
    """Runs a shell with an `hmralign` that says its arguments."""
    program = tmp_path / "bin/hmralign"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    program.chmod(0o755)

    def run(*command, **variables):
        environment = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def shard_of(done) -> str:
    """The share that a command line asks for, which our parser takes."""
    assert done.returncode == 0, done.stderr
    name, *words = done.stdout.splitlines()
    assert name == "groups"
    options = parse_options(GroupsOptions, words, "groups")
    check_options(options)
    return options.shard


def test_the_slurm_script_is_whole_and_each_task_makes_its_share(said):
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    text = SCRIPT.read_text()
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)", text, re.MULTILINE).groups())
    assert (first, last) == (1, int(re.search(r"^N=(\d+)", text, re.MULTILINE)[1]))
    for task in (1, 17, last):
        assert shard_of(said("bash", str(SCRIPT), SLURM_ARRAY_TASK_ID=str(task))) == f"{task}/{last}"
    assert said("bash", str(SCRIPT)).returncode != 0  # outside of an array


def test_slurm_reads_its_options_before_the_first_command():
    lines = SCRIPT.read_text().splitlines()
    begins = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[begins:])
    given = {line.split()[1].split("=")[0] for line in lines[:begins] if line.startswith("#SBATCH")}
    assert {"--array", "--time", "--mem", "--cpus-per-task", "--requeue"} <= given


def test_the_kubernetes_job_is_indexed_and_each_pod_makes_its_share(said):
    work, collect = yaml.safe_load_all(JOBS.read_text())
    spec = work["spec"]
    assert spec["completionMode"] == "Indexed" and 0 < spec["parallelism"] <= spec["completions"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # which backoffLimitPerIndex needs
    (container,) = spec["template"]["spec"]["containers"]
    for index in (0, 100, spec["completions"] - 1):
        done = said(*container["command"], *container["args"], JOB_COMPLETION_INDEX=str(index))
        assert shard_of(done) == f"{index + 1}/{spec['completions']}"
    (container,) = collect["spec"]["template"]["spec"]["containers"]
    assert shard_of(done := said(*container["command"], *container["args"])) is None and "--collect" in done.stdout


@pytest.mark.parametrize("job", yaml.safe_load_all(JOBS.read_text()), ids=lambda job: job["metadata"]["name"])
def test_fields_of_a_job(job):
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", job["metadata"]["name"])
    pod = job["spec"]["template"]["spec"]
    assert set(job["spec"]) <= {
        "completionMode", "completions", "parallelism", "backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes",
        "ttlSecondsAfterFinished", "template",
    }  # fmt: skip
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert set(container) <= {"name", "image", "command", "args", "env", "resources", "volumeMounts"}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert all(isinstance(variable["value"], str) for variable in container.get("env", []))
        assert shlex.split(container["args"][0])


def test_the_page_leads_to_both():
    page = (RECIPES / "many_machines.md").read_text()
    assert f"]({SCRIPT.name})" in page and f"]({JOBS.name})" in page


def test_accelerate_takes_the_configuration_for_gpus():
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    path = RECIPES / "accelerate_gpus.yaml"
    config = load_config_from_file(str(path))  # refuses keys that it does not know
    assert isinstance(config, ClusterConfig) and config.distributed_type == "MULTI_GPU"
    assert (config.num_machines, config.num_processes, config.mixed_precision, config.use_cpu) == (1, 8, "no", False)
    assert not config.fsdp_config and not config.deepspeed_config  # trainings refuse both
    command = " ".join(re.findall(r"^#   (.*)$", path.read_text(), re.MULTILINE))
    assert "-m hmralign train paper" in command and f"--config_file docs/recipes/{path.name}" in command
