"""Pictures stay on this machine: what is let through without leave is connected to nothing else."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hmralign.structures.errors import InputError
from hmralign.vlm.errors import RemoteRefused
from hmralign.vlm.openai_chat import OpenAIServer
from hmralign.vlm.server_address import host_of, is_loopback

httpx2 = pytest.importorskip("httpx2")

PIECES = st.sampled_from(
    [
        "http://", "https://", "HTTP://", "127.0.0.1", "localhost", "LOCALHOST", "[::1]", "::1", "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]", "[::127.0.0.1]", "evil.example", ".evil.example", "8.8.8.8", "0.0.0.0", "2130706433",
        "0x7f000001", "0177.0.0.1", "127.1", "[::1%25eth0]", "[", "]", "@", "@@", ":", ":80", ":8000", ":99999", "/",
        "//", "\\", "/v1", "?", "#", ".", "..", ";", ",", "%00", "%2e", "%40", "\t", "\n", " ", "\x00", "\u3002",
        "\u2460", "\u24dbocalhost", "user", "user:pass@",
    ]
)  # fmt: skip
ADDRESSES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=6).map(lambda pieces: "http://" + "".join(pieces)),
    st.lists(PIECES, min_size=1, max_size=6).map("".join),
    st.text(max_size=12).map(lambda text: f"http://127.0.0.1{text}"),
    st.text(max_size=12).map(lambda text: f"http://{text}localhost"),
)


def is_here(host: str) -> bool:
    """Whether a connection to the host that the client reads in an address ends on this machine."""
    if host.lower() in ("localhost", "localhost."):
        return True
    address = ipaddress.ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@given(ADDRESSES)
@example("http://[::1].evil.example:8000/v1")
@example("http://[::1]evil.example/v1")
@example("http://localhost@evil.example/v1")
@example("http://evil.example\\@127.0.0.1/v1")
@example("http://127.0.0.1\t.evil.example/v1")
@example("http://localhost..evil.example/v1")
def test_what_needs_no_leave_ends_on_this_machine(address):
    try:
        server = OpenAIServer(address, "m")
    except RemoteRefused as refused:
        assert not OpenAIServer(address, "m", allow_remote=True).is_here and "\n" not in str(refused)
    except InputError as error:
        assert "user:pass" not in str(error) and "\n" not in str(error)
    else:
        assert server.is_here and is_here(httpx2.URL(address).host)


@given(
    st.one_of(
        st.sampled_from(["localhost", "localhost.", "LocalHost", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]"]),
        st.integers(0x7F000000, 0x7FFFFFFF).map(lambda n: str(ipaddress.IPv4Address(n))),
    ),
    st.sampled_from(["", ":8000", ":65535"]),
    st.sampled_from(["", "/", "/v1", "/a/b-c_d.e~f/v1"]),
)
def test_this_machine_needs_no_leave_however_it_is_written(host, port, path):
    assert OpenAIServer(f"http://{host}{port}{path}", "m").is_here and is_here(httpx2.URL(f"http://{host}").host)


@given(
    st.one_of(
        st.ip_addresses(),
        st.from_regex(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z0-9]{1,5}){0,3}\.?", fullmatch=True),
    )
)
def test_an_address_is_local_exactly_where_it_is_loopback(host):
    shown = f"[{host}]" if getattr(host, "version", 4) == 6 else str(host)
    try:
        expected = is_here(str(host))
    except ValueError:
        expected = False
    assert is_loopback(host_of(f"http://{shown}:8000/v1")) is expected


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "localhost.evil.example", "localhost..",
     "my_server", "::1%eth0", "::ffff:8.8.8.8", "::127.0.0.1", "0.0.0.0", "::"],
)  # fmt: skip
def test_what_resolvers_may_read_otherwise_is_elsewhere(host):
    assert not is_loopback(host)
