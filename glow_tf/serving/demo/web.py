"""Gradio, set before its import to call no server of its own; import it from here."""

from __future__ import annotations

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
# Gradio asks its own server whether it is up; a proxy would not know.
os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"]))

import gradio as gr

__all__ = ["gr"]
