"""The node's door: what the API server asks a kubelet for on behalf of people, logs and port-forwards.

The pods are only made to run by a script (``kubelet.py``), so their logs are what a test says, and a forwarded port
leads to a server of the test.
"""

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from apiserver.certificates import Certificates
from apiserver.client import Client
from apiserver.kubelet import NODE

_CHANNELS = Subprotocol("v4.channel.k8s.io")
_DATA, _ERROR = b"\x00", b"\x01"
_CHUNK = 65536


class NodeDoor:
    """Answers the API server in the place of a kubelet.

    Args:
        certificates: of the test session.
        logs: by the name of a pod; of those that are missing the log is empty.
    """

    def __init__(self, certificates: Certificates, logs: Mapping[str, str]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.server, certificates.server_key)
        self._logs = logs
        self._server: Server | None = None
        self.forwarded_to: tuple[str, int] | None = None

    def __enter__(self) -> Self:
        self._server = serve(
            self._forward, "127.0.0.1", 0, ssl=self._context, subprotocols=[_CHANNELS], process_request=self._answer
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="node-door", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._thread.join()

    def announce(self, client: Client) -> None:
        """Tell the API server where the door is: in the status of the node that all pods run on."""
        assert self._server is not None
        port = self._server.socket.getsockname()[1]
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
        client.request("POST", "/api/v1/nodes", body)
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        client.request("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, "application/merge-patch+json")

    def retire(self, client: Client) -> None:
        """The node has no door any more, as before."""
        client.request("DELETE", f"/api/v1/nodes/{NODE}")

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path).path.strip("/").split("/")
        if parts[0] == "portForward":
            return None
        if parts[0] != "containerLogs":
            return connection.respond(HTTPStatus.NOT_FOUND, "a kubelet would know this path\n")
        lines = int(parse_qs(urlsplit(request.path).query).get("tailLines", ["1000"])[0])
        body = "".join(f"{line}\n" for line in self._logs.get(parts[2], "").splitlines()[-lines:]).encode()
        headers = Headers({"Content-Type": "text/plain", "Content-Length": str(len(body)), "Connection": "close"})
        return Response(HTTPStatus.OK, "OK", headers, body)

    def _forward(self, connection: ServerConnection) -> None:
        """Carry bytes between the data channel and the server of the test."""
        assert connection.request is not None
        port = int(parse_qs(urlsplit(connection.request.path).query)["port"][0])
        for channel in (_DATA, _ERROR):
            connection.send(channel + port.to_bytes(2, "little"))
        try:
            upstream = socket.create_connection(self.forwarded_to or ("127.0.0.1", port))
        except OSError as error:
            connection.send(_ERROR + str(error).encode())
            return
        with upstream:
            back = threading.Thread(target=_carry_back, args=(upstream, connection), daemon=True)
            back.start()
            for message in connection:
                assert isinstance(message, bytes)
                if message[:1] == _DATA:
                    upstream.sendall(message[1:])


def _carry_back(upstream: socket.socket, connection: ServerConnection) -> None:
    try:
        while chunk := upstream.recv(_CHUNK):
            connection.send(_DATA + chunk)
    except OSError:
        # The other side has closed: the test has its answer.
        return


@contextmanager
def autoscaling_api(runnable: Mapping[str, int], token: str) -> Iterator[tuple[str, int]]:
    """Serves runnable work as the api does, to who has the token; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Bearer {token}"
            pool = urlsplit(self.path).path.rpartition("/")[2]
            body = json.dumps({"runnable": runnable[pool]} if known else {}).encode()
            self.send_response(HTTPStatus.OK if known else HTTPStatus.UNAUTHORIZED)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[0], server.server_address[1]  # type: ignore[misc]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
