"""The listening socket."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

BACKLOG: Final = 2048
_KERNEL_UNSENT_BYTES: Final = 128 * 1024
"""Unsent bytes that the kernel buffers for each connection. A small buffer reveals how fast the client reads."""


class ListenError(Exception):
    """The server cannot listen on its address. The message is one line, for the operator."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ListenError: The port is in use, the address is not local, or the user lacks permission.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise ListenError(f"HOST: {host!r} is not an address of this machine") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # accepted connections inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_UNSENT_BYTES)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reasons = {
            errno.EADDRINUSE: "another program is already listening there",
            errno.EACCES: "permission denied",
            errno.EADDRNOTAVAIL: "not an address of this machine",
        }
        number = error.errno or 0
        raise ListenError(f"cannot listen on {host} port {port}: {reasons.get(number, os.strerror(number))}") from None
    listener.set_inheritable(True)
    return listener
