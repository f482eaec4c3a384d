"""One detector, or one recoverer, in several threads and processes: the answers are those of one after the other."""

import contextlib
import copy
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign import Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.detection.mediapipe_client import DetectorError, MediapipeClient
from hmralign.detection.mediapipe_detector import MediapipeDetector
from support import recoverer_pools
from support.fake_detector_environment import LAST_TAG, WORKER, make_fake_environment, photo_of_person
from support.recover_example import tiny_checkpoint

THREADS = 6
LIMIT = 120.0
"""Seconds after which something hangs."""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return make_fake_environment(tmp_path_factory.mktemp("detector") / "env")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def recoverer(checkpoint, environment, monkeypatch):
    monkeypatch.setenv("HMRALIGN_DETECTOR_ENV", str(environment))
    with Recoverer.load(checkpoint, body=load_free_body("3k5"), num_hypotheses=1, refine=False) as recoverer:
        recoverer_pools.share(recoverer, 1)
        yield recoverer


@pytest.fixture
def client(tmp_path):
    worker = Path(shutil.copy(WORKER, tmp_path / "worker.py"))
    with MediapipeClient(Path(sys.executable), worker=worker, timeout=LIMIT) as client:
        yield client


def image(mode, tag=0):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0, 0, 0], pixels[0, 1, 0] = mode, tag
    return pixels


def asked(client, tag, left):
    """What the process answers to a question: it tells the image and the place."""
    return float(client.detect(image(0, tag), [(float(left), 0.0, 4.0, 4.0)]).tile[0])


def end_process(client):
    if (process := client.process_id) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def at_once(work, items):
    """`work` of every item, begun by all threads together."""
    with ThreadPoolExecutor(THREADS, initializer=threading.Barrier(THREADS).wait) as pool:
        futures = [pool.submit(work, item) for item in items]
        return [future.result(LIMIT) for future in futures]


def test_every_thread_gets_the_reply_to_its_own_question(client):
    draw = random.Random(0)
    questions = [(draw.randrange(250), draw.randrange(1000)) for _ in range(150)]
    assert at_once(lambda q: asked(client, *q), questions) == [float(tag + left) for tag, left in questions]


def test_a_process_that_dies_under_several_threads_costs_no_answer(client):
    questions = [(tag, 3) for tag in range(40)]

    def ask(question):
        if question[0] % 10 == 5:
            end_process(client)
        return asked(client, *question)

    assert at_once(ask, questions) == [float(tag + left) for tag, left in questions]


def test_painting_over_an_image_that_was_sent_shows_the_new_one(client):
    pixels = image(0, 1)
    assert client.detect(pixels, [(0.0, 0.0, 4.0, 4.0)]).tile[0] == 1
    pixels[0, 1, 0] = 9
    assert client.detect(pixels, [(0.0, 0.0, 4.0, 4.0)]).tile[0] == 9


@pytest.fixture
def hears_ctrl_c():
    """Ctrl-C raises KeyboardInterrupt: a shell makes its background jobs deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_after_an_interruption_the_late_reply_is_not_taken_for_the_next(client, hears_ctrl_c):
    assert asked(client, 5, 0) == 5
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        client.detect(image(3), [(0.0, 0.0, 4.0, 4.0)])
    assert asked(client, 8, 0) == 8


def test_a_detector_shared_by_threads_finds_whom_it_finds_alone(environment):
    tags = [random.Random(1).randrange(LAST_TAG) for _ in range(30)]
    with MediapipeDetector(environment) as detector:
        alone = [detector(photo_of_person(tag)) for tag in tags]
        assert [len(people) for people in alone] == [1] * len(tags)
        together = at_once(lambda tag: detector(photo_of_person(tag)), tags)
        box = np.array([20.0, 80.0, 160.0, 320.0])
        boxed = at_once(lambda tag: detector.detect_in_box(photo_of_person(tag), box), [10, 12] * 6)
    for (one,), (other,) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    assert {float(found.keypoints[0, 0]) for found in boxed if found is not None} == {80.0, 82.0}


def test_threads_share_a_recoverer(recoverer):
    tags = [0, 50, 100, 150]
    alone = [recoverer_pools.whole_answer(tag) for tag in tags]
    assert len(set(alone)) == len(tags)
    recoverer.close()  # so that the threads also race for who starts the detector
    together = at_once(recoverer_pools.whole_answer, tags * 4)
    assert [digest for digest, _ in together] == [digest for digest, _ in alone] * 4
    assert len({process for _, process in together}) == 1


class ForgetfulDetector:
    """Somebody's detector that is not made for threads: it keeps the photo in a field while it looks at it."""

    def __init__(self, within):
        self.within, self.photo, self.pause = within, None, threading.Event()

    def __call__(self, image):
        self.photo = image
        self.pause.wait(0.002)
        return self.within(self.photo)

    def detect_in_box(self, image, box):
        raise NotImplementedError


def test_a_detector_of_the_users_is_asked_by_one_thread_at_a_time(checkpoint, environment):
    with MediapipeDetector(environment) as inner:
        detector = ForgetfulDetector(inner)
        recoverer = Recoverer.load(
            checkpoint, body=load_free_body("3k5"), detector=detector, num_hypotheses=1, refine=False
        )
        tags = [0, 40, 80, 120] * 3
        seen = at_once(lambda tag: float(recoverer(photo_of_person(tag))[0].keypoints[0, 0]), tags)
    assert seen == [float(tag + 70) for tag in tags]


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_processes_answer_like_their_parent_with_detectors_of_their_own(recoverer, threads):
    """Also where torch has used several threads, which do not survive a fork."""
    torch.set_num_threads(threads)
    try:
        tags = [0, 100]
        alone = [recoverer_pools.whole_answer(tag) for tag in tags]
        places = [recoverer_pools.mean_place(tag) for tag in tags]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            together = pool.map_async(recoverer_pools.whole_answer, tags).get(LIMIT)
            np.testing.assert_allclose(pool.map_async(recoverer_pools.mean_place, tags).get(LIMIT), places, atol=1e-4)
        assert recoverer_pools.whole_answer(tags[0]) == alone[0]  # the parent's process is the one it had
        assert alone[0][1] not in {process for _, process in together}
        if threads == 1:  # with more the sums are rounded otherwise
            assert [digest for digest, _ in together] == [digest for digest, _ in alone]
    finally:
        torch.set_num_threads(1)


@needs_fork
def test_a_fork_while_another_thread_waits_for_the_detector(client):
    """The lock is held at that moment by a thread that the child does not have."""
    assert asked(client, 1, 0) == 1

    def hang():
        with pytest.raises(DetectorError):
            client.detect(image(3), [(0.0, 0.0, 4.0, 4.0)])

    waiting = threading.Thread(target=hang, daemon=True)
    waiting.start()
    while client._sent_image is None or client._sent_image[0, 0, 0] != 3:
        pass
    child = multiprocessing.get_context("fork").Process(target=lambda: os._exit(int(asked(client, 7, 2))), daemon=True)
    child.start()
    child.join(LIMIT)
    assert child.exitcode == 9
    while waiting.is_alive():
        end_process(client)
        waiting.join(0.05)


def test_spawned_processes_get_a_copy(recoverer):
    tags = [0, 50]
    alone = [recoverer_pools.whole_answer(tag) for tag in tags]
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, recoverer_pools.share, (recoverer, 1)) as pool:
        together = pool.map_async(recoverer_pools.whole_answer, tags).get(LIMIT)
    assert [digest for digest, _ in together] == [digest for digest, _ in alone]
    assert {process for _, process in together}.isdisjoint({process for _, process in alone})


def test_a_copy_is_free_though_the_original_is_busy(environment):
    with MediapipeDetector(environment) as detector, detector._lock.held():
        assert len(detector(photo_of_person(10))) == 1
        other = copy.deepcopy(detector)
        with other:
            found = at_once(lambda tag: len(other(photo_of_person(tag))), [10] * THREADS)
            assert found == [1] * THREADS
            assert other._client.process_id != detector._client.process_id
