"""OpenAI's frozen demo graph (`graph_unoptimized.pb`), read by its tensor names.

Tried on graphs of the same form only: OpenAI's own file could not be had for the tests.

Source: `inputs`, `outputs` and `update_feed` in demo/model.py of OpenAI's code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from glow_tf.config import ConfigError, GlowConfig
from glow_tf.interface import ImageModel
from glow_tf.latents.flatten import flatten_latents, unflatten_latents

_IMAGE, _SMALL, _LABEL = "input/image", "input/downsampled_image", "input/label"
_DECODED = "model_1/Cast_1"
_SPLIT, _TOP = "model/pool{}/truediv_1", "model/truediv_4"
_OPTIMIZED = "input/enc_x"  # of graph_optimized.pb
_GREY = 128  # of the small image, which the model takes and ignores


class OpenAIGraph(ImageModel):
    """Encodes and decodes; the graph has no likelihood.

    Args:
      path: of the file.

    Raises:
      ValueError: it is no frozen graph, or lacks tensors; the message names them.
      OSError: it cannot be read.
    """

    dtype = tf.float32

    def __init__(self, path: Path):
        content = path.read_bytes()
        self._fingerprint = hashlib.sha256(content).hexdigest()[:16]
        graph = tf.compat.v1.GraphDef()
        try:
            graph.ParseFromString(content)
        except Exception as error:  # DecodeError of protobuf, which is not a dependency of ours
            raise ValueError(f"{path}: not a frozen TensorFlow graph ({error})") from None
        nodes = {node.name: node for node in graph.node}
        latents, encoded = _latent_names(nodes)
        wanted = [_IMAGE, _SMALL, _LABEL, *latents, *encoded, _DECODED]
        missing = [name for name in wanted if name not in nodes]
        if _OPTIMIZED in nodes:
            raise ValueError(f"{path}: graph_optimized.pb needs OpenAI's blocksparse; take graph_unoptimized.pb")
        if missing:
            raise ValueError(f"{path}: not the graph of OpenAI's demo: it lacks {', '.join(missing)}")
        self._small = [side if side > 0 else 1 for side in _shape(nodes[_SMALL])[1:]]
        self.config = _config(path, nodes, latents)
        try:
            used = _sub_graph(graph, nodes, [*encoded, _DECODED])
            imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(used, name=""), [])
            kept = {node.name for node in used.node}
            self._encoder = _Function(imported, kept, [_IMAGE, _SMALL, _LABEL], encoded)
            self._decoder = _Function(imported, kept, [*latents, _SMALL, _LABEL], [_DECODED])
            self.config = GlowConfig.from_dict({**self.config.to_dict(), "n_bits_x": self._bits()})
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception as error:  # TensorFlow has a dozen kinds
            raise ValueError(f"{path}: this graph does not run ({str(error).splitlines()[0]})") from None

    def fingerprint(self) -> str:
        """16 hexadecimal digits of the file."""
        return self._fingerprint

    def _log_prob(self, *given: Any) -> tf.Tensor:
        raise ValueError("OpenAI's demo graph encodes and decodes; it has no likelihood")

    def _encode(
        self, images: tf.Tensor, label: tf.Tensor, noise: tf.Tensor | None, context: tf.Tensor | None
    ) -> tf.Tensor:
        if noise is not None:
            raise ValueError("noise: OpenAI's demo graph takes none")
        return flatten_latents(self._encoder({_IMAGE: images, **self._ignored(len(images))}))

    def _decode(self, flat: tf.Tensor, label: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        eps = unflatten_latents(self.config, flat)
        given = {_placeholder(i): latent for i, latent in enumerate(eps)}
        images = self._decoder({**given, **self._ignored(len(flat))})[0]
        return images, tf.ones([len(flat)], tf.bool)  # the graph does not tell

    def _ignored(self, n: int) -> dict[str, Any]:
        """What the demo feeds besides, always the same."""
        return {_SMALL: np.full([n, *self._small], _GREY), _LABEL: np.zeros([n])}

    def _bits(self) -> int:
        """How many upper bits of a pixel the model's images use."""
        images = np.asarray(self.sample(1, temperature=0.7, seed=0))
        used = int(np.bitwise_or.reduce(images[images < 255], initial=0))  # 255: clipped
        lowest = (used & -used).bit_length() if used else 1
        return 9 - lowest


class _Function:
    """Part of a graph, from some of its tensors to others; what it does not depend on need not be there."""

    def __init__(self, graph: Any, kept: set[str], inputs: list[str], outputs: list[str]):
        self._inputs = [graph.graph.get_tensor_by_name(f"{name}:0") for name in inputs if name in kept]
        self._names = [name for name in inputs if name in kept]
        self._call = graph.prune(self._inputs, [graph.graph.get_tensor_by_name(f"{name}:0") for name in outputs])

    def __call__(self, values: Mapping[str, Any]) -> list[tf.Tensor]:
        tensors = zip(self._names, self._inputs, strict=True)
        return self._call(*(tf.cast(values[name], tensor.dtype) for name, tensor in tensors))


def _sub_graph(graph: Any, nodes: Mapping[str, Any], outputs: list[str]) -> Any:
    """The part of a graph that some nodes depend on. TensorFlow has this too, and warns users that it is deprecated."""
    kept, pending = set[str](), list(outputs)
    while pending:
        name = pending.pop()
        if name not in kept:
            kept.add(name)
            pending += [source.lstrip("^").partition(":")[0] for source in nodes[name].input]
    used = tf.compat.v1.GraphDef(library=graph.library, versions=graph.versions)
    used.node.extend(node for node in graph.node if node.name in kept)
    return used


def _placeholder(i: int) -> str:
    return "Placeholder" if i == 0 else f"Placeholder_{i}"


def _latent_names(nodes: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of the L latents that go into the decoder, and of those that come out of the encoder."""
    splits = 0
    while _SPLIT.format(splits) in nodes:
        splits += 1
    splits = splits or 5  # the demo's: for the error that names them
    return [_placeholder(i) for i in range(splits + 1)], [*map(_SPLIT.format, range(splits)), _TOP]


def _shape(node: Any) -> list[int]:
    """Of a placeholder; -1 for a size that is not fixed."""
    return [dim.size for dim in node.attr["shape"].shape.dim]


def _config(path: Path, nodes: Mapping[str, Any], latents: list[str]) -> GlowConfig:
    """The images and levels of the model; what else a configuration says is not known."""
    image, first = _shape(nodes[_IMAGE])[1:], _shape(nodes[latents[0]])[1:]
    if len(image) != 3 or min(image) < 1:
        image = [2 * first[0], 2 * first[1], first[2] // 2] if len(first) == 3 and min(first) > 0 else []
    if not image:
        raise ValueError(f"{path}: neither {_IMAGE} nor {latents[0]} says how large the images are")
    try:
        return GlowConfig((image[0], image[1]), n_levels=len(latents), channels=image[2])
    except ConfigError as error:
        raise ValueError(f"{path}: {error}") from None
