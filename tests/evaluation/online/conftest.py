"""What tests here measure is recorded as text: a test process can send no numpy numbers to the one that reports."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def record_property(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """As pytest's own, with the value as text."""

    def record(name: str, value: object) -> None:
        record_property(name, str(value))

    return record
