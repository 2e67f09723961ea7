"""A server that is not a vendor. It records calls and always replies with the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Elsewhere:
    """A running server, with its URL, its recorded calls and its reply."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[str] = []
        self.answer = b""


@contextmanager
def listening() -> Iterator[Elsewhere]:
    """Runs the server until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            elsewhere.calls.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(elsewhere.answer)))
            self.end_headers()
            self.wfile.write(elsewhere.answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    elsewhere = Elsewhere(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield elsewhere
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
