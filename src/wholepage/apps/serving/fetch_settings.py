"""What a server may fetch from the web for its clients, and how much of it."""

from __future__ import annotations

import re

import msgspec

from wholepage.apps.serving.addresses_allowed import read_networks
from wholepage.apps.serving.web_addresses import DEFAULT_PORTS, host_name
from wholepage.pages.errors import InputError

_WORDS = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be fetched, and how much of it.

    Attributes:
        schemes: of ``http`` and ``https``.  ports: that may be called.
        hosts: names that may be called, ``.example.org`` for all below one; empty = every public host.
        refused_networks: refused besides what is not public, such as one's own public addresses, or the prefix under
            which one's network translates to IPv4.
        max_redirects: that are followed.  total_s: until the last byte, waiting and redirects included.
        connect_s: to one address.
        max_bytes: of the picture as it is sent.  max_pixels: width x height; 4096 x 4096 takes at most some 280 MB to
            open.
        content_types: that an answer may claim; one that ends in ``/`` stands for all that begin so.
        at_once, per_host: fetches at the same time; others wait, within their ``total_s``.
        user_agent: as which the server makes itself known.
    Raises:
        InputError: a value that cannot be.
    """

    schemes: tuple[str, ...] = ("https", "http")
    ports: tuple[int, ...] = (80, 443)
    hosts: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()
    max_redirects: int = 3
    total_s: float = 10.0
    connect_s: float = 3.0
    max_bytes: int = 10 * 2**20
    max_pixels: int = 4096 * 4096
    content_types: tuple[str, ...] = ("image/",)
    at_once: int = 12
    per_host: int = 4
    user_agent: str = "wholepage"

    def __post_init__(self) -> None:
        names = [host.removeprefix(".") for host in self.hosts]
        checks = (
            ("schemes", self.schemes, bool(self.schemes) and set(self.schemes) <= set(DEFAULT_PORTS), "http, https"),
            ("ports", self.ports, bool(self.ports) and all(0 < p < 65536 for p in self.ports), "1 to 65535"),
            ("hosts", self.hosts, all(host_name(name) for name in names), "public names, with a dot in them"),
            ("max_redirects", self.max_redirects, self.max_redirects >= 0, "0 and up"),
            ("total_s", self.total_s, 0 < self.total_s < 3600, "seconds, above 0"),
            ("connect_s", self.connect_s, 0 < self.connect_s < 3600, "seconds, above 0"),
            ("max_bytes", self.max_bytes, self.max_bytes > 0, "1 and up"),
            ("max_pixels", self.max_pixels, self.max_pixels > 0, "1 and up"),
            ("at_once", self.at_once, self.at_once > 0, "1 and up"),
            ("per_host", self.per_host, self.per_host > 0, "1 and up"),
            ("user_agent", self.user_agent, _WORDS.fullmatch(self.user_agent), "words of ASCII"),
        )
        for name, got, right, allowed in checks:
            if not right:
                raise InputError(f"{name}: got {got!r}; allowed: {allowed}; change the setting")
        read_networks(self.refused_networks)

    def lists(self, host: str) -> bool:
        """Whether a host's name is one that may be called."""
        return not self.hosts or any(
            host.endswith(f".{host_name(name[1:])}") if name.startswith(".") else host == host_name(name)
            for name in self.hosts
        )
