"""A door that lets nobody new in: who was in line is taken, who comes later is told nothing, and refused at last."""

from __future__ import annotations

import socket
import sys

import pytest

from wholepage.apps.serving.door import keep_new_out


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to")


@linux
@pytest.mark.parametrize(
    ("family", "host"),
    [
        (socket.AF_INET, "127.0.0.1"),
        pytest.param(
            socket.AF_INET6, "::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine")
        ),
    ],
)
def test_those_in_line_are_taken_and_nobody_new(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as door, socket.socket(family) as early:
        address = door.getsockname()
        early.connect(address)
        assert keep_new_out(door)
        with socket.socket(family) as late:
            late.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.connect(address)
        taken, _ = door.accept()
        with taken:
            early.sendall(b"what was said after the door was shut")
            assert taken.recv(100) == b"what was said after the door was shut"
        door.settimeout(0.1)
        with pytest.raises(TimeoutError):
            door.accept()
        door.close()
        with socket.socket(family) as later, pytest.raises(ConnectionRefusedError):
            later.connect(address)


def test_where_the_system_says_no_the_answer_is_no() -> None:
    with socket.socket() as closed:
        closed.close()
        assert not keep_new_out(closed)
    if sys.platform != "linux":
        with socket.create_server(("127.0.0.1", 0)) as door:
            assert not keep_new_out(door)
