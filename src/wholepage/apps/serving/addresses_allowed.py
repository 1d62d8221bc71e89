"""Which IP addresses a server may call for a stranger: public unicast, and nothing else.

What is not public follows the special-purpose registries of IANA for IPv4 and IPv6, written out here, for what a
library calls global has changed between its versions. IPv6 is refused unless it lies in 2000::/3, the one block from
which public addresses are given out. Addresses that carry an IPv4 address (6to4, Teredo, ISATAP, mapped) are refused
whatever they carry: none is how a public host is reached today, and each is a way around a check. Only the translation
prefix 64:ff9b::/96, which resolvers of IPv6-only networks put before a public IPv4 address, is judged by what it
carries.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from wholepage.pages.errors import InputError

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"

_V4 = {
    "169.254.169.254/32": "cloud metadata",
    "100.100.100.200/32": "cloud metadata",
    "168.63.129.16/32": "cloud metadata",
    "192.0.0.192/32": "cloud metadata",
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "anycast of AS112",
    "192.52.193.0/24": "multicast tunnels",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "anycast of AS112",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "255.255.255.255/32": "broadcast",
    "240.0.0.0/4": "reserved",
}
_V6 = {
    "fd00:ec2::/32": "cloud metadata",
    "fd20:ce::/32": "cloud metadata",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "mapped IPv4",
    "::/96": "compatible IPv4",
    "64:ff9b:1::/48": "local translation to IPv4",
    "100::/64": "discard",
    "2001::/32": "Teredo",
    "2001::/23": "protocol assignments",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "anycast of AS112",
    "3fff::/20": "documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
_REFUSED_V4 = tuple((IPv4Network(network), kind) for network, kind in _V4.items())
_REFUSED_V6 = tuple((IPv6Network(network), kind) for network, kind in _V6.items())
_PUBLIC_V6 = IPv6Network("2000::/3")
_TRANSLATED = IPv6Network("64:ff9b::/96")
_ISATAP = {0x0000_5EFE, 0x0200_5EFE, 0x0100_5EFE, 0x0300_5EFE}  # the upper half of the interface identifier


def why_refused(address: Address, also: Iterable[Network] = ()) -> str:
    """What kind of address this is that may not be called; empty when it may.

    Args:
        also: further networks that are refused.
    Source: the IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6052 for 64:ff9b::/96.
    """
    further = tuple(also)
    if isinstance(address, IPv4Address):
        return _first(address, _REFUSED_V4) or _listed(address, further)
    if address.scope_id is not None:
        return "of one interface"
    if address in _TRANSLATED:
        inner = why_refused(IPv4Address(int(address) & 0xFFFF_FFFF), further)
        return f"translation to {inner}" if inner else _listed(address, further)
    refused = _first(address, _REFUSED_V6)
    if refused:
        return refused
    if address not in _PUBLIC_V6:
        return "not given out"
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "ISATAP"
    return _listed(address, further)


def read_address(text: str) -> Address | None:
    """An IP address as a resolver writes it; None for anything else."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as ``198.41.0.0/16``.

    Raises:
        InputError: something else, or a network with bits set behind its prefix.
    """
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise InputError(f"network: got {text!r} ({error}); allowed: such as 198.41.0.0/16; mend it") from error
    return tuple(found)


def _first(address: Address, table: Iterable[tuple[Network, str]]) -> str:
    return next((kind for network, kind in table if address in network), "")


def _listed(address: Address, networks: Iterable[Network]) -> str:
    return "listed" if any(address in network for network in networks) else ""
