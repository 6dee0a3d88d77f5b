"""What the demo's server lets through, without the server: requests as ASGI has them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import pytest

from glow_tf.serving.demo import guard
from glow_tf.serving.demo.guard import Guard
from glow_tf.serving.demo.storage import FORGET_AFTER, tidy

HOST = "127.0.0.1:7860"
JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
FILE = {"path": "/tmp/a.png", "url": f"http://{HOST}/gradio_api/file=/tmp/a.png", "meta": {"_type": "gradio.FileData"}}


async def application(scope, receive, send):
    """Answers 200 with what it has read, after which it must hear of the end as every application does."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    assert (await receive())["type"] == "http.disconnect"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def answer(folder, method: str, path: str, *chunks: bytes, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """(status, body, headers) of a request; `_` in a header's name means -."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages += [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": given}
    sent: list[Any] = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    guarded = Guard(application, str(folder))
    asyncio.run(guarded(scope, receive, send))
    assert guarded._coming == 0
    return sent[0]["status"], sent[1]["body"], {key.decode(): value.decode() for key, value in sent[0]["headers"]}


def test_what_the_page_sends_goes_through(tmp_path):
    call = json.dumps({"data": [FILE, True], "fn_index": 3}).encode()
    status, body, headers = answer(
        tmp_path, "POST", JOIN, call[:9], call[9:], origin=f"http://{HOST}", sec_fetch_site="same-origin"
    )
    assert (status, body) == (200, call)
    assert "default-src 'self'" in headers["content-security-policy"]
    assert answer(tmp_path, "POST", UPLOAD, *[b"." * 2**20] * 16, content_length=str(2**24))[0] == 200
    assert answer(tmp_path, "GET", "/", origin="http://other.example", sec_fetch_site="cross-site")[0] == 200
    assert answer(tmp_path, "POST", "/gradio_api/reset")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://other.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8888"},
        {"origin": f"https://{HOST}"},
        {"sec_fetch_site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", [JOIN, UPLOAD])
def test_what_other_pages_send(tmp_path, path, headers):
    status, body, _ = answer(tmp_path, "POST", path, b"{}", **headers)
    assert (status, b"another page" in body) == (403, True)


def test_urls_where_a_file_is_named(tmp_path):
    for address in ("https://other.example/a.png", "http://10.0.0.1/", "HTTPS://other.example", "ftp://other.example"):
        for data in ([{**FILE, "path": address}], [0, {"a": [[{**FILE, "path": address}]]}]):
            text = json.dumps({"data": data}).replace("://", ":\\/\\/")  # as JSON may also spell it
            status, body, _ = answer(tmp_path, "POST", JOIN, text.encode())
            assert (status, b"nothing is fetched" in body) == (403, True)
        assert answer(tmp_path, "GET", f"/gradio_api/file={address}")[0] == 403


@pytest.mark.parametrize(
    ("path", "chunks", "headers", "wanted"),
    [
        (JOIN, [b"{}" + b" " * 2**16], {}, 413),
        (JOIN, [b"{}"], {"content_length": str(2**17)}, 413),
        (JOIN, [b"{}"], {"content_length": "many"}, 413),
        (JOIN, [b"a=1"], {}, 400),
        (JOIN, [b"[" * 60_000], {}, 400),
        (UPLOAD, [b"."], {"content_length": str(17 * 2**20)}, 413),
    ],
)
def test_bodies_that_are_not_taken(tmp_path, path, chunks, headers, wanted):
    assert answer(tmp_path, "POST", path, *chunks, **headers)[0] == wanted


def test_an_upload_that_is_larger_than_it_says(tmp_path):
    """The application is told by an exception which it answers with."""
    with pytest.raises(guard.HTTPException) as raised:
        answer(tmp_path, "POST", UPLOAD, *[b"." * 2**20] * 17)
    assert raised.value.status_code == 413


def test_uploads_that_there_is_no_room_for(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.png").write_bytes(bytes(2**20))
    monkeypatch.setattr(guard, "_MOST_STORED", guard._MAX_UPLOAD + 2**20)
    assert answer(tmp_path, "POST", UPLOAD, b".")[0] == 200
    (tmp_path / "kept" / "b.png").write_bytes(b"")
    assert answer(tmp_path, "POST", UPLOAD, b".")[0] == 507
    assert answer(tmp_path, "POST", JOIN, b"{}")[0] == 200


def test_what_broken_uploads_leave_is_removed(tmp_path):
    """But neither what is under way nor what Gradio looks after."""
    (tmp_path / "whole").mkdir()
    long_ago = time.time() - FORGET_AFTER - 60
    for name, when in (("whole/a.png", long_ago), ("tmpold", long_ago), ("tmpnew", time.time())):
        (tmp_path / name).write_bytes(bytes(2**15))
        os.utime(tmp_path / name, (when, when))
    assert tidy(str(tmp_path)) == 2 * 2**15
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "tmpnew", "whole"]
