"""Every command of README, documents and model cards, with the package installed from a wheel outside the repository.

All are read by the command line, so no option is shown that does not exist; those that need nothing beyond the package
are run in their document's order (`slow`), and a short chain of them on a few persons in the default suite.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from support.documented_commands import NEEDS, Documented, documented_commands
from support.installed_wheel import install_wheel, run_installed
from support.recover_example import example_photo, write_keypoints
from support.toy_policy import shard_folder

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/recipes").glob("*.md")),
    *sorted((ROOT / "src/hmralign/models/weights").glob("*.md")),
]
OTHERS = ("ACCELERATE_USE_CPU=true", "accelerate", "cat", "cd", "git", "ollama", "OLLAMA_NUM_PARALLEL=2", "pip", "vllm")
"""Programs that are no part of the project: their lines are shown, and neither read nor run here."""

PARSE = """
import json, sys
from hmralign.cli.commands import COMMANDS
from hmralign.cli.options import parse_options
import hmralign
print(hmralign.__file__)
for words in json.load(sys.stdin):
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    said = "" if name else "no command"
    try:
        if name:
            parse_options(COMMANDS[name].options, words[len(name.split()):], prog=name)
    except SystemExit as end:
        said = "" if not end.code else f"exit {end.code}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    print("\\n" + json.dumps([words, said]))
"""

RUN = """
import json, sys
import hmralign
from hmralign.cli.main import main
print(hmralign.__file__, flush=True)
for words in json.load(sys.stdin):
    if code := main(words):
        sys.exit(f"hmralign {' '.join(words)} ended with {code}")
"""

FEW = {
    "groups": ["--persons", "12", "--group-size", "8"],
    "align": ["--steps", "2", "--config", "few.yaml"],
    "recover": ["--num-hypotheses", "4"],
}
"""What makes commands of the short chain fast; few.yaml lets twelve persons be enough."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_wheel(tmp_path_factory.mktemp("wheel"))


def commands() -> list[Documented]:
    return [c for path in DOCUMENTS for c in documented_commands(path, str(path.relative_to(ROOT)))]


def ours(document: str) -> list[Documented]:
    """What runs everywhere of one document."""
    found = [c for c in commands() if c.document == document and c.program == "hmralign" and c.needs is None]
    assert found
    return found


def inputs(folder: Path) -> None:
    """The photo and the keypoints that README speaks of."""
    rgb, keypoints = example_photo()
    Image.fromarray(rgb).save(folder / "photo.jpg")
    write_keypoints(folder / "people.json", {"photo.jpg": [keypoints]})


def test_every_command_is_one_we_know_and_needs_what_we_know():
    found = commands()
    assert len(found) > 80
    for command in found:
        known = command.program in ("hmralign", "make", "python", *OTHERS)
        assert known, f"{command.document}: unknown program in {command.words}"
        assert command.needs in (None, *NEEDS), f"{command.document}: {command.needs!r} is no need"
        assert command.program == "hmralign" or command.needs, f"{command.document}: who runs {command.words}?"
    count = Counter(c.needs or "nothing" for c in found)
    print("not run:", {need: count[need] for need in NEEDS}, "run:", count["nothing"])
    assert count["nothing"] >= 8


def test_the_command_line_of_a_wheel_reads_every_command(installed, tmp_path):
    words = [c.words[1:] for c in commands() if c.program == "hmralign" and c.words[1:2] != ("--help",)]
    done = run_installed(installed, ["-c", PARSE], tmp_path, json.dumps(words))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed)), "another installation was imported"
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(answers) == len(words)
    wrong = [f"hmralign {' '.join(given)}: {said}" for given, said in answers if said]
    assert not wrong, "\n".join(wrong) + done.stderr


def test_a_wrong_option_would_be_seen(installed, tmp_path):
    words = [["align", "--groups", "g", "--out", "o", "--gruops", "g"], ["aling"], ["evaluate", "lite"]]
    done = run_installed(installed, ["-c", PARSE], tmp_path, json.dumps(words))
    answers = [json.loads(line)[1] for line in done.stdout.splitlines() if line.startswith("[[")]
    assert answers == ["exit 2", "no command", "exit 2"]


def test_scripts_and_targets_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in commands():
        if command.program == "make":
            assert command.words[1] in targets
        if command.program == "python" and command.words[1] != "-m":
            text = (ROOT / command.words[1]).read_text()
            for option in (w for w in command.words if w.startswith("--")):
                assert f'"{option}"' in text, f"{command.document}: {command.words[1]} has no {option}"


def run(installed: Path, commands: list[list[str]], folder: Path) -> None:
    """The commands one after the other, in one process: most of a short one is its start."""
    done = run_installed(installed, ["-c", RUN], folder, json.dumps(commands))
    assert done.returncode == 0 and done.stdout.startswith(str(installed)), f"{done.stdout}\n{done.stderr}"


def test_a_short_chain_of_shown_commands_runs_from_a_wheel(installed, tmp_path):
    inputs(tmp_path)
    shard_folder(tmp_path / "bench/wild_train", 12)
    (tmp_path / "few.yaml").write_text("min_persons: 1\ncritic: scorer-lab\n")
    shown = [*ours("docs/alignment.md"), *ours("README.md")]
    starts = (
        "groups bench/wild_train --out groups",
        "align --groups groups --out aligned",
        "recover photo.jpg --key",
    )
    chain = [next(c for c in shown if " ".join(c.words[1:]).startswith(start)) for start in starts]
    run(installed, [[*c.words[1:], *FEW[c.words[1]]] for c in chain], tmp_path)
    assert (tmp_path / "aligned/model.safetensors").is_file()
    assert list(tmp_path.glob("runs/recover/**/hypotheses.npz"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("document", sorted({c.document for c in commands() if c.needs is None}))
def test_every_command_that_needs_nothing_else_runs_from_a_wheel(document, installed, tmp_path):
    inputs(tmp_path)
    for command in ours(document):
        run(installed, [list(command.words[1:])], tmp_path)
