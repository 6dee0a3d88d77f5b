"""A frozen graph with the tensor names of OpenAI's demo, made of a small model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from glow_tf.flow import quantization
from glow_tf.model import Glow
from glow_tf.serving.litert import unrolled


def write_graph(path: Path, glow: Glow) -> None:
    """Writes the graph. The small image and the label are fed."""
    config, model = glow.config, unrolled(glow)
    height, width, channels = config.image_shape

    def encode(image: tf.Tensor) -> list[tf.Tensor]:
        x = model.continuous(image, quantization.middle_of_bins(config, image, tf.float32))
        return model.to_latents(x).eps

    def decode(*eps: tf.Tensor) -> tf.Tensor:
        return quantization.to_uint8(config, model.from_latents(eps)[0])

    latents = [tf.TensorSpec([None, *shape]) for shape in config.latent_shapes()]
    encoder = _frozen(encode, [tf.TensorSpec([None, height, width, channels], tf.uint8)])
    decoder = _frozen(decode, latents)
    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder
        image = placeholder(tf.uint8, [None, height, width, channels], "input/image")
        small = placeholder(tf.uint8, [None, height // 2, width // 2, channels], "input/downsampled_image")
        label = placeholder(tf.int32, [None], "input/label")
        nothing = 0 * (tf.reduce_sum(tf.cast(small, tf.float32)) + tf.reduce_sum(tf.cast(label, tf.float32)))
        eps = [placeholder(tf.float32, spec.shape) for spec in latents]
        encoded = _imported(encoder, [image], "encoder")
        for i, latent in enumerate(encoded[:-1]):
            tf.add(latent, nothing, name=f"model/pool{i}/truediv_1")
        tf.add(encoded[-1], nothing, name="model/truediv_4")
        decoded = _imported(decoder, [eps[0] + nothing, *eps[1:]], "decoder")
        tf.identity(decoded[0], name="model_1/Cast_1")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def write_part(path: Path, whole: Path, without: Sequence[str]) -> None:
    """Writes what is left of the graph `whole` without these nodes."""
    nodes = tf.compat.v1.GraphDef.FromString(whole.read_bytes()).node
    left = tf.compat.v1.GraphDef(node=[node for node in nodes if node.name not in without])
    path.write_bytes(left.SerializeToString())


def _frozen(function: Any, specs: Sequence[tf.TensorSpec]) -> Any:
    """The function of such tensors, its variables constants."""
    return convert_variables_to_constants_v2(tf.function(function, autograph=False).get_concrete_function(*specs))


def _imported(frozen: Any, inputs: Sequence[tf.Tensor], name: str) -> list[tf.Tensor]:
    """The outputs of a frozen function that is imported into the current graph."""
    mapped = {theirs.name: ours for theirs, ours in zip(frozen.inputs, inputs, strict=True)}
    wanted = [tensor.name for tensor in frozen.outputs]
    return tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), mapped, wanted, name)
