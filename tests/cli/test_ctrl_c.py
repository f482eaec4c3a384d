"""Ctrl-C at any moment, also while modules are imported: one word, exit code 130, no traceback."""

import os
import signal
import subprocess
import sys

import pytest

from hmralign.cli.exit_codes import STOPPED

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs signals")

WHERE = """
import importlib.abc, os, signal, sys
class Pressed(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Pressed())
from hmralign.cli.main import main
sys.argv = ["hmralign", *{arguments!r}]
sys.exit(main())
"""
RECOVER = ["recover", "missing.jpg", "--detector", "none", "--boxes", "missing.json"]


def run(code):
    # A shell makes its background jobs deaf to Ctrl-C, and so would be what this test starts from one.
    listening = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", listening + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def ends_as_stopped(code):
    """Python may also end itself by the signal, which a shell tells as the same number."""
    return code in (STOPPED, -signal.SIGINT)


@pytest.mark.parametrize(
    "module",
    ["hmralign.cli.commands", "tyro", "hmralign.data.images", "numpy", "numpy._core._multiarray_umath", "PIL._imaging",
     "torch"],
)  # fmt: skip
def test_while_modules_are_imported(module):
    """Also inside those that turn it into an ImportError."""
    code, out, err = run(WHERE.format(module=module, arguments=RECOVER))
    assert ends_as_stopped(code) and (out, err) == ("", "hmralign: stopped\n")


def test_what_is_not_interrupted_ends_as_ever():
    code, out, err = run(WHERE.format(module="nobody.imports.this", arguments=["recver"]))
    assert code == 2 and out == "" and err.startswith("hmralign: 'recver' is no command")


@pytest.mark.parametrize("where", ["run", "__del__", "twice", "another error", "no error"])
def test_while_a_command_runs(where):
    """Once, where Python cannot raise it, twice, and where the command makes something else of it."""
    code, out, err = run(f"""
import os, signal, sys
from hmralign.cli import commands
from hmralign.cli.main import main
press = lambda: os.kill(os.getpid(), signal.SIGINT)
class Last:
    def __del__(self):
        press()
        for _ in range(100): pass
def command(options, terminal):
    where = {where!r}
    if where == "run": press()
    if where == "__del__":
        Last()
        raise RuntimeError("half done")
    try:
        press()
    except KeyboardInterrupt:
        if where == "twice": press()
        if where == "another error": raise ValueError("half done")
        return 3
commands.COMMANDS["demo"] = commands.COMMANDS["demo"]._replace(run=command)
sys.argv = ["hmralign", "demo", "--out", "nowhere"]
sys.exit(main())
""")
    assert ends_as_stopped(code) and (out, err) == ("", "hmralign: stopped\n")


def test_where_it_is_ignored_it_stays_ignored():
    """As under `nohup` or in the background of a script."""
    code, out, err = run("""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from hmralign.cli.main import main
sys.argv = ["hmralign", "--version"]
code = main()
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
sys.exit(code)
""")
    assert code == 0 and out.startswith("hmralign ") and err == ""
