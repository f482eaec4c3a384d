"""Servers that are not there, that send elsewhere, and proxies: one sentence, soon, and no picture goes astray."""

import asyncio
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.structures import HmralignError, InputError
from hmralign.vlm.asking import Answered, Failed, Limits, Question, ask_all
from hmralign.vlm.errors import ServerError
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from support.chat_server import ChatServer, judge_request, read_scores, true_scores
from support.raw_server import RawServer, good_answer, http

PROXIES = [name for base in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (base, base.lower())]


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "calls.sqlite") as journal:
        yield journal


@pytest.fixture
def no_proxy(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def ask(address, journal, count=1, *, server=(), **limits):
    backend = OpenAIChat(OpenAIServer(address, "stub", **{"timeout": 20.0, **dict(server)}))
    questions = [Question(judge_request(10 * n), read_scores()) for n in range(count)]
    return asyncio.run(ask_all(backend, journal, questions, Limits(**{"first_wait": 0.001, **limits})))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.mark.parametrize("concurrency", [1, 2, 16])
@pytest.mark.parametrize("count", [1, 12, 60])
def test_a_run_that_reaches_nobody_stops_after_the_first_refusals(journal, concurrency, count):
    limits = Limits(concurrency=concurrency)
    with pytest.raises(ServerError, match=r"no connection to http://127\.0\.0\.1:\d+/v1: Connection refused") as caught:
        ask(f"http://127.0.0.1:{closed_port()}/v1", journal, count, concurrency=concurrency)
    assert caught.value.trouble == "unreachable"
    assert journal.spent().calls < limits.refusals_in_a_row + concurrency
    assert {a[0] for a in journal._connection.execute("SELECT status FROM call")} == {"error"}


def test_it_does_not_wait_longer_each_time(journal):
    begun = time.monotonic()
    with pytest.raises(ServerError):
        ask(f"http://127.0.0.1:{closed_port()}/v1", journal, 3, concurrency=1, first_wait=0.05)
    assert time.monotonic() - begun < 10


def test_a_name_that_nobody_has_is_nobody(journal, no_proxy, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServerError, match=r"no connection to http://judge\.invalid:8000/v1: .*not known") as caught:
        ask("http://judge.invalid:8000/v1", journal, 9, server={"allow_remote": True})
    assert caught.value.trouble == "unreachable"


def test_a_server_that_speaks_no_tls_is_nobody_and_the_reason_is_that(journal):
    with ChatServer() as server:
        with pytest.raises(ServerError, match=r"no connection to https://127\.0\.0\.1:\d+/v1: .*SSL"):
            ask(server.address.replace("http:", "https:"), journal, 9)


def test_a_server_that_never_accepts_is_nobody(journal):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        with pytest.raises(ServerError, match=r"no connection to .*: none within 0\.2 s") as caught:
            server = {"connect_timeout": 0.2}
            ask(f"http://127.0.0.1:{full.getsockname()[1]}/v1", journal, 9, server=server, concurrency=6)
        assert caught.value.trouble == "unreachable"
        for filler in fillers:
            filler.close()


def test_few_attempts_do_not_hide_that_nobody_is_there(journal):
    with pytest.raises(ServerError, match="no connection"):
        ask(f"http://127.0.0.1:{closed_port()}/v1", journal, 1, server_attempts=1)
    assert journal.spent().calls == 1


def test_answers_of_the_journal_are_kept_by_a_run_that_reaches_nobody(journal):
    with ChatServer() as server:
        (first,) = ask(server.address, journal)
        address = server.address
    (again,) = ask(address, journal)
    assert isinstance(again, Answered) and again.value == first.value and again.calls == 0
    with pytest.raises(ServerError, match="no connection"):
        ask(address, journal, 2)


def test_a_server_that_starts_anew_is_waited_for(journal):
    """It is busy, goes away, and is back before the attempts of the question are used up."""
    back = RawServer(lambda _: [good_answer()])

    def restart(_):
        server.stop_listening()
        back._wanted = server.port
        threading.Timer(0.3, back.__enter__).start()
        return [http(b"", status="503 Starting")]

    with RawServer(restart) as server:
        (result,) = ask(server.address, journal, first_wait=0.1)
    back.__exit__()
    assert isinstance(result, Answered) and result.value == true_scores()
    reasons = [a.reason for a in journal.attempts(result.key)]
    assert "503" in reasons[0] and any("no connection" in reason for reason in reasons) and reasons[-1] == ""


def test_a_server_that_goes_away_for_good_stops_the_run(journal):
    def last(_):
        server.stop_listening()
        return [http(b"", status="503 Bye")]

    with RawServer(last) as server:
        with pytest.raises(ServerError, match="no connection"):
            ask(server.address, journal, 30, server_attempts=3, concurrency=1)
    assert journal.spent().calls <= 4


# -- elsewhere ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nothing_is_sent_after_a_redirect(journal, status, host):
    with RawServer(lambda _: [http(b"{}")]) as elsewhere:
        target = f"Location: http://{host}:{elsewhere.port}/v1/chat/completions"
        with RawServer(lambda _: [http(b"", target, status=f"{status} There")]) as server:
            with pytest.raises(ServerError, match="sends to another address, and nothing is sent after it") as caught:
                ask(server.address, journal, 5, concurrency=1)
            assert len(server.requests) == 1
        assert not elsewhere.requests
    assert caught.value.trouble == "account" and caught.value.status == status


def test_a_redirect_within_the_server_is_not_followed_either(journal):
    with RawServer(lambda _: [http(b"", "Location: /v2", status="307 There")]) as server:
        with pytest.raises(ServerError, match="give the final address"):
            ask(server.address, journal, 2, concurrency=1)
        assert len(server.requests) == 1


def test_a_proxy_is_used_for_other_machines_and_named_where_it_fails(journal, no_proxy, monkeypatch):
    with RawServer(lambda _: [http(b"no", status="502 Bad")]) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:secret-word@127.0.0.1:{proxy.port}")
        with ChatServer() as here:
            assert isinstance(ask(here.address, journal)[0], Answered) and not proxy.requests
        assert isinstance(_ask_other(journal), Failed) and len(proxy.requests) == 1
    with pytest.raises(ServerError, match=r"the environment names a proxy, HTTP_PROXY.*used for other mach") as caught:
        _ask_other(journal)
    assert "secret-word" not in str(caught.value)


def _ask_other(journal):
    backend = OpenAIChat(OpenAIServer("http://judge.invalid/v1", "stub", allow_remote=True, timeout=20.0))
    limits = Limits(first_wait=0.001, server_attempts=1)
    return asyncio.run(ask_all(backend, journal, [Question(judge_request(50), read_scores())], limits))[0]


@pytest.mark.parametrize("proxy", ["socks5://u:secret-word@h:1", "ftp://u:secret-word@h:1", "http://u:secret-word@h:x"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(journal, no_proxy, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(HmralignError, match=r"proxy|connection") as caught:
        _ask_other(journal)
    assert "secret-word" not in str(caught.value)
    with ChatServer() as here:
        assert isinstance(ask(here.address, journal)[0], Answered), "no proxy is used for this machine"


@settings(max_examples=60, deadline=None)
@given(
    address=st.one_of(
        st.text(max_size=30),
        st.builds("http://{}/v1".format, st.text(max_size=15)),
        st.builds("http://127.0.0.1:{}/{}".format, st.sampled_from([-1, 0, 1, 9, 65536, 10**6]), st.text(max_size=10)),
        st.builds("https://[{}]:1/v1".format, st.text("0123456789abcdef:.%", max_size=12)),
    )
)
def test_every_address_is_refused_or_asked_in_vain(tmp_path_factory, address):
    """Nobody listens on ports 1 and 9; names are not looked up, since other machines are refused."""
    try:
        server = OpenAIServer(address, "m", timeout=5.0)
    except InputError as error:
        assert "\n" not in str(error)
        return
    with Journal.open(tmp_path_factory.mktemp("address") / "j") as journal, pytest.raises((ServerError, InputError)):
        limits = Limits(first_wait=0.001, server_attempts=1)
        asyncio.run(ask_all(OpenAIChat(server), journal, [Question(judge_request(), read_scores())], limits))
