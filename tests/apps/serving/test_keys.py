"""Keys: read, kept as digests, asked for, and counted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wholepage.apps.serving.keys import (
    Bucket,
    KeyRefused,
    Keys,
    TooManyRequests,
    digest_of,
    keys_from_environment,
    keys_from_file,
)
from wholepage.apps.serving.limits import ServingSettings
from wholepage.pages.errors import InputError, RecordError

KEY = "a-key-of-enough-letters"
DIGEST = hashlib.sha256(KEY.encode()).digest()


def test_a_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\nteam {KEY}\nsha256:{hashlib.sha256(b'another').hexdigest().upper()}\n")
    assert keys_from_file(path) == [DIGEST, hashlib.sha256(b"another").digest()]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("short", 1, "a word of 5 characters"),
        (f"{KEY}\na b c", 2, "3 words"),
        (f"{KEY}\nname {KEY}", 2, "the key of line 1 again"),
        ("sha256:abc", 1, "no key"),
        ("sha256:" + "g" * 64, 1, "no key"),
        ("ключ-из-многих-букв", 1, "no key"),
    ],
)
def test_lines_that_are_no_keys_are_named_and_not_shown(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=said) as caught:
        keys_from_file(path)
    assert caught.value.line == line
    assert KEY not in str(caught.value)


def test_keys_in_the_environment() -> None:
    other = "another-key-of-some-length"
    assert keys_from_environment("KEYS", {}) == []
    assert keys_from_environment("KEYS", {"KEYS": f"{KEY}, {other} {KEY}"}) == [digest_of(KEY), digest_of(other)]
    with pytest.raises(InputError, match="KEYS: got a word of 5"):
        keys_from_environment("KEYS", {"KEYS": f"{KEY},short"})


def test_no_keys_let_everybody_in() -> None:
    Keys((), ServingSettings(requests_per_s=0.001, burst=1)).admit(None)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer   {KEY} ", f"BEARER {KEY}"])
def test_a_key_that_is_known(header: str) -> None:
    Keys([DIGEST], ServingSettings()).admit(header)


@pytest.mark.parametrize(
    "header",
    [None, "", KEY, f"Basic {KEY}", "Bearer", "Bearer ", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}",
     f"Bearer {DIGEST.hex()}", f"Bearer sha256:{DIGEST.hex()}", "Bearer é€", f"Bearer {KEY} {KEY}"],
)  # fmt: skip
def test_a_key_that_is_not_known(header: str | None) -> None:
    with pytest.raises(KeyRefused) as caught:
        Keys([DIGEST], ServingSettings()).admit(header)
    assert KEY not in str(caught.value)


@given(st.text())
def test_any_header_is_refused_or_let_in(header: str) -> None:
    with pytest.raises(KeyRefused):
        Keys([DIGEST], ServingSettings()).admit(header)


def test_each_key_has_a_rate_of_its_own() -> None:
    now = [100.0]
    other = "another-key-of-some-length"
    keys = Keys([DIGEST, digest_of(other)], ServingSettings(requests_per_s=2.0, burst=3), clock=lambda: now[0])
    for _ in range(3):
        keys.admit(f"Bearer {KEY}")
    with pytest.raises(TooManyRequests, match="3 requests at once, or 2 a second") as caught:
        keys.admit(f"Bearer {KEY}")
    assert caught.value.retry_after_s == pytest.approx(0.5)
    keys.admit(f"Bearer {other}")
    now[0] += 0.5
    keys.admit(f"Bearer {KEY}")
    with pytest.raises(TooManyRequests):
        keys.admit(f"Bearer {KEY}")


@given(st.lists(st.floats(0, 3), max_size=40), st.floats(0.1, 5), st.integers(1, 5))
def test_a_bucket_gives_no_more_than_it_holds_and_gets(gaps: list[float], rate: float, size: int) -> None:
    now, bucket, given = 0.0, Bucket(rate, size, 0.0), 0
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        given += wait == 0
        assert given <= size + rate * now + 1e-6
        if wait:
            assert 0 < wait <= 1 / rate + 1e-9
            assert Bucket.take(bucket, now + wait + 1e-6) == 0
            now, given = now + wait + 1e-6, given + 1
