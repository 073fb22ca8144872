"""Starts the page's server on this machine and says how to reach it.

viser serves a page and a websocket on one port, without a password. Relief binds it to 127.0.0.1, and there refuses
websockets that a foreign web page opens in the user's own browser: the browser names that page in the Origin header.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import ipaddress
import os
import socket
import sys
import threading
from urllib.parse import urlsplit

import viser
from viser.infra import WebsockClientConnection

from recon.errors import UserError

PORTS_TRIED = 50


class LocalServer(viser.ViserServer):
    """viser's server without its tunnel to a public host; on a loopback address, for this machine's own pages alone."""

    def __init__(self, host: str, port: int):
        self._refused: set[str] = set()
        with _silenced():
            super().__init__(host, port, label="Relief", verbose=False)
        if is_loopback(host):
            self._websock_server.on_client_connect(self._refuse_foreign_page)

    def stop(self) -> None:
        """Ends the server, in a second at most; viser waits longer where a browser holds an unused connection."""
        stopping = threading.Thread(target=super().stop, daemon=True)
        with _silenced():
            stopping.start()
            stopping.join(timeout=1.0)

    def request_share_url(self, verbose: bool = True) -> None:
        """Opens no tunnel, whatever a client asks for."""

    async def _refuse_foreign_page(self, client: WebsockClientConnection) -> None:
        connection = self._websock_server._live_connections[client.client_id]
        request = connection.request
        origin = None if request is None else request.headers.get("Origin")
        if origin is not None and not is_loopback(urlsplit(origin).hostname or ""):
            if origin not in self._refused:  # a page tries again and again
                remedy = "if that is a proxy of yours, use --host 0.0.0.0"
                print(f"The viewer refused a connection from the page {origin!r}; {remedy}.", file=sys.stderr)
            self._refused.add(origin)
            await connection.close(1008, "foreign page")


def start_server(host: str, port: int) -> LocalServer:
    """Starts a server on the port, or on the next free one; port 0 lets the system choose.

    Raises:
        UserError: the host is not an address of this machine, or no port can be had there.
    """
    return LocalServer(host, _free_port(host, port))


def _silenced() -> contextlib.redirect_stdout[io.StringIO]:
    """Keeps what viser says at its start and end off standard output, which belongs to results."""
    return contextlib.redirect_stdout(io.StringIO())


def _free_port(host: str, port: int) -> int:
    reason = "ports end at 65535"
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        try:
            address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            with socket.socket(address[0], socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address[4])
        except (socket.gaierror, UnicodeError) as error:
            raise UserError(f"--host {host}: is not a known host name or address; 127.0.0.1 is this machine") from error
        except OSError as error:
            reason = error.strerror
        else:
            return candidate
    raise UserError(
        f"--host {host} --port {port}: no port could be opened there ({reason}); 127.0.0.1 with 8080 is usual"
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address means the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def directions(host: str, port: int) -> str:
    """How to reach the viewer at this address: its URL, and from another machine the ssh tunnel's command."""
    exposed = not is_loopback(host)
    shown_host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    lines = [f"Viewer: http://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{port}"]
    if exposed:
        lines.append(f"Warning: there is no password; whoever reaches port {port} of this machine sees this page.")
    if exposed or "SSH_CONNECTION" in os.environ:
        safer = "Safer, without --host: " if exposed else ""
        lines.append(f"{safer}on your own machine run   {_tunnel(port)}   and open http://localhost:{port}")
    return "\n".join(lines)


def _tunnel(port: int) -> str:
    """The ssh command that brings the port to the user's own machine. SSH_CONNECTION is "client port server port"."""
    _, _, server, server_port = os.environ.get("SSH_CONNECTION", f"- - {socket.gethostname()} 22").split()
    login = "" if server_port == "22" else f"-p {server_port} "
    return f"ssh -N -L {port}:127.0.0.1:{port} {login}{getpass.getuser()}@{server}"
