"""Which IP addresses may be called, checked against the standard library's idea of a public one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wholepage.apps.serving import addresses_allowed
from wholepage.apps.serving.addresses_allowed import read_address, read_networks, why_refused
from wholepage.pages.errors import InputError

from .ssrf_corpus import NOT_PUBLIC

# Global in the registries, and still refused: not how a picture's host is reached, or a cloud's own service.
STRICTER = [
    ip_network(text)
    for text in (
        "168.63.129.16/32", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24", "192.0.0.0/24",
        "2001::/23", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "64:ff9b:1::/48", "224.0.0.0/4",
    )
]  # fmt: skip
EDGES = [
    int(address) + step
    for table in (addresses_allowed._V4, addresses_allowed._V6)
    for network in map(ip_network, table)
    for address in (network.network_address, network.broadcast_address)
    for step in (-1, 0, 1)
]


def public(address: IPv4Address | IPv6Address) -> bool:
    """As the standard library and RFC 4291 have it."""
    if isinstance(address, IPv6Address):
        if address in IPv6Network("64:ff9b::/96"):
            return public(IPv4Address(int(address) & 0xFFFFFFFF))
        if int(address) >> 125 != 1:
            return False
        if int(address) >> 32 & 0xFCFFFFFF == 0x5EFE:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in STRICTER)


@given(st.integers(0, 2**32 - 1) | st.sampled_from([edge for edge in EDGES if 0 <= edge < 2**32]))
def test_v4_is_allowed_where_it_is_public(number: int) -> None:
    address = IPv4Address(number)
    assert (why_refused(address) == "") == public(address)


@given(
    st.integers(0, 2**128 - 1)
    | st.sampled_from([edge for edge in EDGES if 2**32 <= edge < 2**128])
    | st.integers(1 << 125, (2 << 125) - 1)
    | st.integers(0, 2**32 - 1).map(lambda inner: (0x64FF9B << 96) + inner)
    | st.tuples(st.integers(1 << 61, (2 << 61) - 1), st.integers(0, 3), st.integers(0, 2**32 - 1)).map(
        lambda parts: (parts[0] << 64) | (parts[1] << 56) | (0x5EFE << 32) | parts[2]
    )
)
@example((0x64FF9B << 96) + 0x08080808)
def test_v6_is_allowed_where_it_is_public(number: int) -> None:
    address = IPv6Address(number)
    assert (why_refused(address) == "") == public(address)


def test_every_network_of_the_table_is_refused_at_both_ends_and_none_hides_another() -> None:
    for table in (addresses_allowed._V4, addresses_allowed._V6):
        for text, kind in table.items():
            network = ip_network(text)
            assert why_refused(network.network_address)
            assert why_refused(network.broadcast_address)
            assert kind in {why_refused(address) for address in (network.network_address, network.broadcast_address)}


@pytest.mark.parametrize(("name", "text"), NOT_PUBLIC.items(), ids=NOT_PUBLIC)
def test_what_is_not_public_is_refused_with_a_word_for_it(name: str, text: str) -> None:
    assert why_refused(ip_address(text)) not in ("", "listed")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("169.254.169.254", "cloud metadata"),
        ("fd00:ec2::254", "cloud metadata"),
        ("64:ff9b::a9fe:a9fe", "translation to cloud metadata"),
        ("::ffff:8.8.8.8", "mapped IPv4"),
        ("2002:808:808::1", "6to4"),
        ("2001:0:808:808::1", "Teredo"),
        ("2a00::5efe:808:808", "ISATAP"),
        ("2606:4700::1111%eth0", "of one interface"),
        ("8.8.8.8", ""),
        ("64:ff9b::8.8.8.8", ""),
        ("2606:4700::1111", ""),
        ("223.255.255.255", ""),
    ],
)
def test_kinds_are_named(text: str, why: str) -> None:
    assert why_refused(ip_address(text)) == why


def test_further_networks_are_refused_in_every_dress() -> None:
    also = read_networks(["8.8.8.0/24", "2606:4700::/32"])
    assert why_refused(ip_address("8.8.8.8"), also) == "listed"
    assert why_refused(ip_address("64:ff9b::8.8.8.8"), also) == "translation to listed"
    assert why_refused(ip_address("2606:4700::1"), also) == "listed"
    assert why_refused(ip_address("8.8.9.8"), also) == ""
    assert why_refused(ip_address("2606:4701::1"), also) == ""


@given(st.text(max_size=20) | st.ip_addresses().map(str))
def test_addresses_are_read_as_they_are_written(text: str) -> None:
    address = read_address(text)
    assert address is None or int(address) == int(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8/24", "8.8.8.0/33", "8.8.8", "", "example.org", "::1/129"])
def test_what_is_no_network_says_so(text: str) -> None:
    with pytest.raises(InputError, match=r"^network: got .*; allowed: such as 198\.41\.0\.0/16; mend it$"):
        read_networks([text])
