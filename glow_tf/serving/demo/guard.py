"""Which requests reach Gradio: bounded ones, of the page itself, that name no place on the internet."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from glow_tf.serving.demo.storage import tidy

MAX_FILE = 16 * 2**20  # bytes of an upload
_MAX_UPLOAD = MAX_FILE + 2**16  # with what a request has around the file
_MAX_BODY = 2**16  # of all other requests, which are a few numbers and names
_MOST_STORED = 2**31  # bytes of all uploads that are kept or under way
_UPLOAD = "/gradio_api/upload"
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; form-action 'self'"

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Guard:
    """ASGI middleware that refuses what the page never sends.

    With 4xx or 507 it answers itself to

    - what another web page has a visitor's browser send: browsers tell whose page it is;
    - URLs in the path, or where a file is named: Gradio would download them;
    - bodies that are too large, whatever the header says, or neither an upload nor JSON;
    - uploads that there is no room for.

    All other responses forbid the page the internet.

    Args:
      app: the application.
      folder: of the uploads.
    """

    def __init__(self, app: Callable[[Any, Receive, Send], Awaitable[None]], folder: str):
        self.app, self._folder = app, folder
        self._coming = 0  # bytes that uploads under way may still bring

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        reserved = _MAX_UPLOAD if scope["path"].rstrip("/") == _UPLOAD else 0
        self._coming += reserved
        try:
            try:
                receive = await self._checked(scope, receive, is_upload=reserved > 0)
            except HTTPException as error:
                return await JSONResponse({"detail": error.detail}, error.status_code)(scope, receive, send)
            await self.app(scope, receive, _policed(send))
        finally:
            self._coming -= reserved

    async def _checked(self, scope: Any, receive: Receive, *, is_upload: bool) -> Receive:
        """The request's body, or an HTTPException."""
        headers, most = Headers(scope=scope), _MAX_UPLOAD if is_upload else _MAX_BODY
        if "://" in scope["path"]:
            raise HTTPException(403, "nothing is fetched from elsewhere")
        if scope["method"] in ("GET", "HEAD"):
            return receive
        if _is_of_another_page(headers):
            raise HTTPException(403, "this is of another page")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise _too_large(most)
        if not is_upload:
            try:
                body = await Request(scope, _bounded(receive, most)).body()
            except ClientDisconnect:
                raise HTTPException(400, "the request broke off") from None
            _check_json(body)
            return _again(body, receive)
        if await run_in_threadpool(tidy, self._folder) + self._coming > _MOST_STORED:
            raise HTTPException(507, "there is no room for more files; they are deleted after an hour")
        return _bounded(receive, most)


def _is_of_another_page(headers: Headers) -> bool:
    origin = headers.get("origin")  # browsers always say it where something is sent; others need not
    elsewhere = origin is not None and origin != f"http://{headers.get('host')}"
    return elsewhere or headers.get("sec-fetch-site") == "cross-site"


def _check_json(body: bytes) -> None:
    """Raises an HTTPException for what is no JSON, or has a URL as the path of a file."""
    if not body:
        return
    try:
        parts = [json.loads(body)]
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body must be JSON") from None
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if "://" in str(part.get("path")):
                raise HTTPException(403, "nothing is fetched from elsewhere")
            parts += part.values()
        elif isinstance(part, list):
            parts += part


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"this request may have at most {most} bytes")


def _bounded(receive: Receive, most: int) -> Receive:
    """`receive`, which raises an HTTPException when the body is too large: frameworks answer with it."""
    read = 0

    async def bounded() -> Any:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise _too_large(most)
        return message

    return bounded


def _again(body: bytes, receive: Receive) -> Receive:
    """As `receive` was before `body` was read from it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return messages.pop() if messages else await receive()

    return again


def _policed(send: Send) -> Send:
    async def policed(message: Any) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["content-security-policy"] = _POLICY
        await send(message)

    return policed
