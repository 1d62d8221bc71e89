"""The socket that a server listens at, when it goes: nobody new begins to come in, whoever stands in line still does.

Closing a listening socket resets connections that the system made and the server has not taken yet; their clients
believe that they are in, and may have sent a request. So new ones are kept out first, those in line are taken, and
only then is the socket closed.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys

_SO_ATTACH_FILTER = 26  # of Linux, on all processors that Python's wheels are built for; the module has no name for it
_FLAGS_AT, _SYN = 13, 0x02  # of a TCP header
_LOAD_BYTE, _JUMP_IF_SET, _RETURN, _WHOLE = 0x30, 0x45, 0x06, 0xFFFF_FFFF
# (operation, lines to skip when true, when false, operand), as the kernel's networking/filter document has them.
_DROP_SYN = (
    (_LOAD_BYTE, 0, 0, _FLAGS_AT),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _WHOLE),
)
_LOG = logging.getLogger("wholepage.serving")


def keep_new_out(door: socket.socket) -> bool:
    """Let the system drop attempts to connect, without a word, while connections that were begun before are completed.

    A client tries again after a second, and is refused then by the closed socket.

    Args:
        door: a TCP socket that listens.
    Returns:
        Whether the system does; only Linux is asked, and a sandbox may say no.
    """
    if sys.platform != "linux":
        return False
    lines = b"".join(struct.pack("=HBBI", *line) for line in _DROP_SYN)
    program = ctypes.create_string_buffer(lines, len(lines))
    try:
        door.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(program))
        )
    except OSError as error:
        _LOG.info("new connections cannot be kept out before the door closes: %s", error)
        return False
    return True
