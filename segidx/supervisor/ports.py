"""One port for several processes, and for no second server: standard library and errors only.

Processes share a port by SO_REUSEPORT, which by itself would let a second server of the same user join unasked and
take half of the calls. So the supervisor takes the port exclusively, and holds it, without listening, in a way that
lets its workers in and keeps exclusive binds out.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from segidx.model.errors import ServerUnavailable

_WILDCARDS = ("", "0.0.0.0", "::")
_TRIES = 20


class HeldPort:
    """A port of `host` that is ours until `close`. `address` is what to show and to bind: `host:port`."""

    def __init__(self, host: str, port: int, sockets: Sequence[socket.socket]) -> None:
        self.host = host
        self.port = port
        self._sockets = sockets

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def hold(host: str, port: int) -> HeldPort:
    """Takes `port` of `host`, or a free one for 0. Raises ServerUnavailable when it is in use or no address of ours."""
    host = host.removeprefix("[").removesuffix("]")
    for attempt in range(_TRIES):
        sockets: list[socket.socket] = []
        wanted = port
        try:
            for family, address in _addresses(host):
                held = _bind(family, address, wanted)
                if held is not None:
                    sockets.append(held)
                    wanted = held.getsockname()[1]
            if sockets:
                return HeldPort(host, wanted, sockets)
            reason = "it is not an address of this machine"
        except OSError as error:
            reason = error.strerror or str(error)
            for each in sockets:
                each.close()
            # A port that was free on the first address of a name may be taken on its second.
            if port == 0 and error.errno == errno.EADDRINUSE and attempt + 1 < _TRIES:
                continue
        break
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    raise ServerUnavailable(f"cannot listen on {shown}: {reason}; name another --port or --host", address=shown)


def _addresses(host: str) -> list[tuple[int, str]]:
    """(family, address) of a host, each once. grpc listens on both families for either wildcard."""
    if host in _WILDCARDS:
        return [(socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "0.0.0.0")]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def _bind(family: int, address: str, port: int) -> socket.socket | None:
    """A bound socket; None where the machine lacks the address (localhost often names an IPv6 one that is away)."""
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        # Exclusively: fails while anybody else holds the port. SO_REUSEADDR only lets us past connections of a server
        # that has ended; taken off again, it keeps the next server out even before a worker listens.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        held.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    return held
