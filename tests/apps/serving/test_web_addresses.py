"""Addresses on the web are read one way or not at all."""

from __future__ import annotations

import copy
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.apps.serving.web_addresses import FetchRefused, WebAddress, host_name, web_address
from wholepage.pages.errors import ImageError

PIECES = st.lists(
    st.sampled_from(
        ["http", "https", "HTTP", ":", "//", "/", "\\", "@", "#", "?", "[", "]", "::1", "127.0.0.1", "0x7f", "1", ".",
         "good.example", "localhost", "%", "%40", "%2e", "80", "443", "\uff0f", "\uff20", "\u3002", "\u2460", "\u00df",
         "xn--", "-", "_", "a", "\r\n", "\t", " ", "\0", "fe80::1%25eth0", "..", "\u200b", "\ud800", "+", "\u0660"]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)  # fmt: skip
ADDRESSES = PIECES | st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), PIECES, PIECES) | st.text()


@given(ADDRESSES)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        found = web_address(text, at="documents[0]")
    except FetchRefused as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert str(refused).startswith("documents[0]: image ")
        assert re.search(" is refused: got .+; allowed: .+; .+", str(refused), re.DOTALL)
        assert len(str(refused)) < 500
        return
    assert found.scheme in ("http", "https")
    assert 0 <= found.port <= 99999
    assert re.fullmatch(r"/[\x21-\x7e]*", found.target)
    assert re.fullmatch(r"[a-z0-9_.:-]+", found.host)
    assert not found.host.endswith(".")
    if found.literal is None:
        assert "." in found.host
        assert re.search("[a-z_-]", found.host.rpartition(".")[2])
    else:
        assert found.host == str(found.literal)


@given(ADDRESSES)
def test_others_read_the_same_host_in_what_is_sent(text: str) -> None:
    try:
        found = web_address(text)
    except FetchRefused:
        return
    seen, split = httpx.URL(found.url), urlsplit(found.url)
    assert (seen.scheme, split.scheme) == (found.scheme, found.scheme)
    assert seen.raw_host.decode().strip("[]") == found.host
    assert split.hostname == found.host
    if found.port <= 65535:
        assert split.port in (found.port, None)
    assert seen.raw_path.decode() == found.target
    assert web_address(found.url) == found


@pytest.mark.parametrize(
    ("url", "same", "host", "port", "target"),
    [
        ("http://Good.Example", "http://good.example/", "good.example", 80, "/"),
        ("https://a_b.c-d.example:443/x", "https://a_b.c-d.example/x", "a_b.c-d.example", 443, "/x"),
        ("http://a.example:8080?q=1#f", "http://a.example:8080/?q=1", "a.example", 8080, "/?q=1"),
        ("http://[2606:4700:0:0::1111]:80/", "http://[2606:4700::1111]/", "2606:4700::1111", 80, "/"),
        ("http://stra\u00dfe.example/", "http://xn--strae-oqa.example/", "xn--strae-oqa.example", 80, "/"),
        ("http://a.example/%41%zz/\u00e9|", "http://a.example/%41%zz/%C3%A9%7C", "a.example", 80, "/%41%zz/%C3%A9%7C"),
    ],
)
def test_addresses_are_written_one_way(url: str, same: str, host: str, port: int, target: str) -> None:
    assert web_address(url) == WebAddress(url.partition(":")[0], host, port, target)
    assert web_address(url).url == same


@given(st.ip_addresses())
def test_numbers_in_their_usual_form_are_hosts(address: object) -> None:
    text = str(address)
    if "%" in text:
        return
    found = web_address(f"http://[{text}]/" if ":" in text else f"http://{text}/")
    assert found.literal == ip_address(text)
    assert found.authority == (f"[{text}]" if ":" in text else text)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{:d}", "0x{:x}", "0{:o}", "{0:d}.", "0x{:x}.1"]))
def test_numbers_in_other_forms_are_none(number: int, form: str) -> None:
    with pytest.raises(FetchRefused) as caught:
        web_address(f"http://{form.format(number)}/")
    assert caught.value.why == "host"


@given(st.text(max_size=70) | PIECES)
def test_a_name_is_its_own_name(text: str) -> None:
    name = host_name(text)
    assert host_name(name) == name
    assert len(name) <= 253


def test_a_refusal_is_an_error_of_pictures_and_copies_whole() -> None:
    with pytest.raises(ImageError) as caught:
        web_address("http://a b/", at="query")
    twin = copy.copy(caught.value)
    assert type(twin) is FetchRefused
    assert (str(twin), twin.why, twin.reason, twin.at) == (str(caught.value), "form", "refused", "query")
