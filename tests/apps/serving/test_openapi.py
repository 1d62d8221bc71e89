"""The interface as it is written down: kept, true of every answer, and proof against what schemathesis makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema_rs import validator_for
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from wholepage.apps.serving.http import create_app
from wholepage.apps.serving.openapi import document, openapi
from wholepage.apps.serving.operations import OPERATIONS

from .fakes import FakeEngine

GOLDEN = Path(__file__).parents[2] / "golden" / "openapi.json"
APP = create_app(FakeEngine())
CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance, unsupported_method,
)  # fmt: skip

schema = schemathesis.openapi.from_asgi("/openapi.json", APP).exclude(path="/v1/score")  # which is /score again


def test_the_interface_is_as_it_is_kept() -> None:
    written = "python -m wholepage.apps.serving.openapi > tests/golden/openapi.json"
    assert openapi().decode() == GOLDEN.read_text(encoding="utf-8"), f"the interface changed; if it should: {written}"


@pytest.mark.parametrize(
    ("path", "example"),
    [(one.path, value) for one in OPERATIONS for value in one.examples.values()],
)
def test_examples_are_answered_as_the_schema_says(path: str, example: dict[str, Any]) -> None:
    whole = document()
    answer = TestClient(APP).post(path, json=example)
    assert answer.status_code == 200
    promised = whole["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator_for({**promised, "components": whole["components"]}).validate(answer.json())
    asked = whole["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator_for({**asked, "components": whole["components"]}).validate(example)


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert b"http:" not in openapi()
    assert b"https:" not in openapi()


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    deadline=None,
    derandomize=True,
)
def test_schemathesis_finds_no_server_error(case: Any) -> None:
    asked = (case.headers or {}).get("X-Request-Timeout-Ms", "")
    if asked.isdigit() and 0 < int(asked) < 10_000:  # a time so short rightly ends in a 504
        case.headers["X-Request-Timeout-Ms"] = "10000"
    case.call_and_validate(checks=CHECKS)
