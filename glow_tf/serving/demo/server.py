"""How the page is served: to this machine only, behind a guard, and without anything from the internet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from glow_tf.serving.demo.guard import MAX_FILE, Guard
from glow_tf.serving.demo.page import CSS
from glow_tf.serving.demo.ports import HOST, free_port
from glow_tf.serving.demo.web import gr

_SESSIONS = 64  # visitors whose latents are kept
_WAITING = 64  # requests that wait for the model


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
                max_file_size=MAX_FILE,
                state_session_capacity=_SESSIONS,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                enable_monitoring=False,
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=CSS,
                app_kwargs={
                    "middleware": [
                        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
                        Middleware(Guard, folder=cache),
                    ],
                },
            )
            yield address.rstrip("/")
        finally:
            page.close(verbose=False)
