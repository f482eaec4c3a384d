"""A pool of real processes: a killed worker, a wrong unit, a killed driver end in the same parts or in one sentence."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from hmralign.engines.local_pool import run_local_pool
from hmralign.engines.share import Share
from hmralign.engines.work import make_share
from hmralign.structures import InputError
from support.numbered_units import NumberedUnits, log_of, opened, said

SQUARES = [str(n**2) for n in range(6)]


@pytest.fixture(autouse=True)
def tests_are_there(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_shares_of_any_cut_in_any_order_make_all(tmp_path):
    units = NumberedUnits(tmp_path)
    assert make_share(units, Share(2, 2)) == 3 and units.missing() == [0, 2, 4]
    assert make_share(units, Share(1, 3)) == 1 and make_share(units, Share(1, 3)) == 0
    assert make_share(units) == 2 and units.missing() == [] and said(tmp_path) == SQUARES
    assert sorted(log_of(tmp_path)) == sorted(map(str, range(6)))


def test_a_pool_makes_all_and_a_killed_worker_is_replaced(tmp_path, caplog):
    started = []
    run_local_pool(partial(opened, tmp_path, kill=3), 2, started=started.append)
    assert said(tmp_path) == SQUARES and len(started) == 3
    assert "share 2/2: its worker was ended by signal 9" in caplog.text
    assert log_of(tmp_path).count("3") == 2 and log_of(tmp_path).count("1") == 1  # what it had made stays
    assert log_of(tmp_path).count("opened") == 3


def test_a_worker_that_always_dies_ends_the_run(tmp_path):
    with pytest.raises(InputError, match="share 1/1: its worker was ended by signal 9, 2 times in a row"):
        run_local_pool(partial(opened, tmp_path, kill=2, always=True), 1, restarts=1)
    assert said(tmp_path) == SQUARES[:2]


def test_a_wrong_unit_is_said_in_its_own_sentence(tmp_path):
    with pytest.raises(InputError, match="share 1/1: unit 1 is wrong"):
        run_local_pool(partial(opened, tmp_path, wrong=1), 1)
    with pytest.raises(InputError, match="0 workers"):
        run_local_pool(partial(opened, tmp_path), 0)


DRIVER = """
import sys
from functools import partial
from pathlib import Path
from hmralign.engines.local_pool import run_local_pool
from support.numbered_units import opened
if __name__ == "__main__":
    tell = lambda pid: print(pid, flush=True)
    run_local_pool(partial(opened, Path(sys.argv[1]), count=400, slow=0.05), 1, started=tell)
"""


def test_workers_end_when_their_driver_is_killed_and_another_goes_on(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    driver = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    wait_until(lambda: len(said(tmp_path)) >= 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_until(lambda: not runs(worker))
    there = len(said(tmp_path))
    assert 2 <= there < 400
    make_share(NumberedUnits(tmp_path, count=there + 1))
    assert said(tmp_path) == [str(n**2) for n in range(there + 1)]


def wait_until(holds, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
