"""Where a server is: an address is read in one way alone, so that what is checked is what is connected to.

URL parsers disagree about addresses that are none: one takes `http://[::1].evil.example` for this machine, another for
a name elsewhere. Only what all of them read alike is an address here.
"""

from __future__ import annotations

import ipaddress
import re

from hmralign.structures.errors import InputError
from hmralign.vlm.errors import RemoteRefused, shortened

_ADDRESS = re.compile(
    r"https?://"
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[!$&-;=@-Z_a-z~%]*)?",
    re.IGNORECASE,
)
"""Scheme, host, port and path; no user, no query, no fragment, nothing but ASCII."""


def check_address(base_url: str, *, allow_remote: bool) -> None:
    """Raise InputError for an address that is none, `RemoteRefused` for another machine without leave."""
    host = host_of(base_url)
    if not allow_remote and not is_loopback(host):
        raise RemoteRefused(
            f"{host} is not this machine, and photos of people would be sent to it; say --allow-remote if they may"
        )


def host_of(base_url: str) -> str:
    """The host of an address, an IPv6 one without its brackets. Raises InputError for an address that is none.

    >>> host_of("http://127.0.0.1:8000/v1"), host_of("https://[::1]/v1")
    ('127.0.0.1', '::1')
    """
    found = _ADDRESS.fullmatch(base_url)
    if found is None or int(found["port"] or 0) > 65535 or not _is_v6(found["v6"]):
        raise InputError(_what_is_wrong(base_url))
    return found["v6"] or found["name"]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. Names other than `localhost` are taken to be elsewhere: they are not resolved.

    So are numbers that are no address in the usual form, such as 2130706433, which some resolvers take for 127.0.0.1.
    """
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # of ::ffff:127.0.0.1
    return (mapped or address).is_loopback and "%" not in host


def _is_v6(text: str | None) -> bool:
    try:
        return text is None or bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def _what_is_wrong(base_url: str) -> str:
    if set("@?#") & set(base_url):  # not shown: it may hold a password
        return "the address of the server holds a user, a key or a query; keys come from the environment"
    return f"{shortened(base_url)!r} is no address of a server; expected http://host:port/v1"
