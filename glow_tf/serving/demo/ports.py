"""Where the page can be served. No web framework here, so that a port in use is reported at once."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


class PortError(OSError):
    """The port is in use, or not allowed."""


def free_port(port: int) -> int:
    """`port` if it can be had, or any for 0.

    Raises:
      PortError: it cannot.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortError(f"port {port} is not available ({error.strerror}); give another --port") from None
        return probe.getsockname()[1]
