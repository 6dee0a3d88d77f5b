"""How the page is served: to this machine only, with bounded requests, and without anything from the internet."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from glow_tf.serving.demo.page import CSS
from glow_tf.serving.demo.web import gr

HOST = "127.0.0.1"
MAX_UPLOAD = 16 * 2**20  # bytes of a file
_MAX_REQUEST = MAX_UPLOAD + 2**16  # with what an upload has around the file
_SESSIONS = 64  # visitors whose latents are kept
_WAITING = 64  # requests that wait for the model
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; form-action 'self'"


class PortError(OSError):
    """The port cannot be had."""


@contextmanager
def serving(make_page: Callable[[], Any], port: int) -> Iterator[str]:
    """Serves the page while the context lasts; gives its address.

    Args:
      make_page: makes it, when there is a folder for the files that it shows and is sent.
      port: 0 for any.

    Raises:
      PortError: the port is taken, or not allowed.
    """
    with tempfile.TemporaryDirectory(prefix="glow_tf-demo-") as cache:
        os.environ["GRADIO_TEMP_DIR"] = cache  # gone at the end
        page = make_page()
        page.queue(max_size=_WAITING, api_open=False)
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=free_port(port),
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                max_file_size=MAX_UPLOAD,
                state_session_capacity=_SESSIONS,
                footer_links=[],
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                enable_monitoring=False,
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=CSS,
                app_kwargs={
                    "middleware": [
                        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
                        Middleware(Bounded),
                    ],
                },
            )
            yield address.rstrip("/")
        finally:
            page.close(verbose=False)


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
            raise PortError(f"port {port} cannot be had ({error.strerror}); give another --port") from None
        return probe.getsockname()[1]


class Bounded:
    """Refuses requests of more than _MAX_REQUEST bytes, whatever their header says; forbids the page the internet."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > _MAX_REQUEST:
            return await self._refuse(send)
        read = 0

        async def bounded_receive() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return {"type": "http.disconnect"} if read > _MAX_REQUEST else message

        async def policed_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"content-security-policy", _POLICY.encode())]}
            await send(message)

        return await self.app(scope, bounded_receive, policed_send)

    async def _refuse(self, send: Any) -> None:
        body = f'{{"detail": "requests have at most {_MAX_REQUEST} bytes"}}'.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
