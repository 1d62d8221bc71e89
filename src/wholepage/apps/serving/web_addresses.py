"""An address on the web from a stranger, read strictly and once: what is checked is what is called.

Two readers of one address that disagree about its host are how checks are walked around, so there is one reader here,
and whatever has more than one reading is refused: numbers that some systems take for IP addresses, names in percent
codes, backslashes, users before an @.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

import idna
import msgspec

from wholepage.apps.serving.addresses_allowed import Address
from wholepage.pages.errors import ImageError, shorten

MAX_LENGTH = 8192
DEFAULT_PORTS = {"http": 80, "https": 443}

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)")
# Controls, spaces of every kind, signs without width, halves of characters, and the backslash.
_NOT_ALLOWED = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\udfff\ufeff\ufff0-\uffff]"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_KEPT = "!$%&'()*+,-./:;=?@_~[]"
# Names that only mean something inside a network or a machine.
_LOCAL = {
    "localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "arpa", "onion",
    "invalid", "test", "alt",
}  # fmt: skip


class FetchRefused(ImageError):
    """An address on the web is not fetched, because of what it is, or of where it leads.

    The message says no more of the network than the address that was asked for.

    Attributes:
        reason: ``refused``.
        why: one word of ``form``, ``scheme``, ``user``, ``port``, ``host``, ``unlisted``, ``address``, ``redirect``.
    """

    def __init__(self, uri: str, why: str, detail: str, *, at: str = "") -> None:
        super().__init__(uri, "refused", detail, at=at)
        self.why = why

    def __reduce__(self) -> tuple[Callable[..., FetchRefused], tuple[str, str, str, str]]:
        return _fetch_refused, (self.uri, self.why, self._detail, self.at)


def _fetch_refused(uri: str, why: str, detail: str, at: str) -> FetchRefused:
    return FetchRefused(uri, why, detail, at=at)


class WebAddress(msgspec.Struct, frozen=True):
    """The parts of an http(s) address.

    Attributes:
        host: in ASCII and lower case; an IP address in its one usual form, without brackets.
        target: path and query as they are sent.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def literal(self) -> Address | None:
        """The host, where it is an IP address itself."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if _NUMBER.fullmatch(self.host.rpartition(".")[2]) else None

    @property
    def authority(self) -> str:
        """Host and port as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.authority}{self.target}"


def web_address(url: str, *, at: str = "") -> WebAddress:
    """Read an address of a picture on the web.

    Args:
        at: whose picture it is; begins the message.
    Raises:
        FetchRefused: not http or https, a user or password in it, a host that is no public name and no IP address in
            its usual form, or characters that readers disagree about.
    """
    try:
        return _read(url)
    except _Odd as error:
        raise FetchRefused(url, *error.args, at=at) from error


def host_name(name: str) -> str:
    """A host's name in ASCII and lower case; empty when it is none that is public, or an IP address.

    Names of one label, of networks and machines (``.local``, ``.internal`` and the like), and with a dot at the end are
    none.
    """
    if len(name) > 253:
        return ""
    if name.isascii():
        host = name.lower()
    else:
        try:
            host = idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return ""
    labels = host.split(".")
    right = len(host) <= 253 and len(labels) > 1 and all(_LABEL.fullmatch(label) for label in labels)
    return host if right and labels[-1] not in _LOCAL and not _NUMBER.fullmatch(labels[-1]) else ""


class _Odd(ValueError):
    """What is wrong with an address: a word of ``FetchRefused.why``, and the message."""

    def __init__(self, why: str, got: str, allowed: str, do: str) -> None:
        super().__init__(why, f"got {got}; allowed: {allowed}; {do}")


def _read(url: str) -> WebAddress:
    if len(url) > MAX_LENGTH:
        raise _Odd("form", f"{len(url)} characters", f"{MAX_LENGTH}", "shorten it")
    odd = _NOT_ALLOWED.search(url)
    if odd:
        raise _Odd("form", f"the character {odd[0]!a}", "none such", "write it as % and its two digits")
    parts = _PARTS.match(url)
    if parts is None:
        raise _Odd("form", "no whole address", "http(s)://host/path", "write it out")
    scheme = parts[1].lower()
    if scheme not in DEFAULT_PORTS:
        raise _Odd("scheme", f"{scheme}:", "http:, https:", "send the picture itself, as data:")
    if "@" in parts[2]:
        raise _Odd("user", "a user before the host", "none", "leave it out")
    host, port = _host_and_port(parts[2])
    rest = parts[3] if parts[3].startswith("/") else f"/{parts[3]}"
    return WebAddress(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, quote(rest, safe=_KEPT))


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        inner, bracket, rest = authority[1:].partition("]")
        host, colon, port = _ip(inner, IPv6Address) if bracket else "", rest[:1], rest[1:]
        if rest and colon != ":":
            host = ""
    else:
        name, colon, port = authority.partition(":")
        host = host_name(name) or _ip(name, IPv4Address)
    if not host:
        allowed = "a public name with a dot in it, or an IP address in its usual form"
        raise _Odd("host", f"the host {shorten(authority)!r}", allowed, "check the address")
    if not colon:
        return host, None
    if not _PORT.fullmatch(port):
        raise _Odd("port", f"the port {shorten(port)!r}", "a number", "check the address")
    return host, int(port)


def _ip(text: str, kind: type[IPv4Address] | type[IPv6Address]) -> str:
    """An IP address in its one usual form; empty for anything else. Other forms of numbers are read by no two alike."""
    try:
        found = kind(text)
    except AddressValueError:
        return ""
    plain = text.isascii() and "%" not in text
    return str(found) if plain and (kind is IPv6Address or str(found) == text) else ""
