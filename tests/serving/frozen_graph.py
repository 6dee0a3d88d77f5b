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


def write_graph(path: Path, glow: Glow, without: Sequence[str] = ()) -> None:
    """Writes the graph, or what is left of it `without` some of its nodes. The small image and the label are fed."""
    config, model = glow.config, unrolled(glow)
    height, width, channels = config.image_shape

    def encode(image: tf.Tensor) -> list[tf.Tensor]:
        x = model.continuous(image, quantization.middle_of_bins(config, image, tf.float32))
        return model.to_latents(x).eps

    def decode(*eps: tf.Tensor) -> tf.Tensor:
        return quantization.to_uint8(config, model.from_latents(eps)[0])

    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder
        image = placeholder(tf.uint8, [None, height, width, channels], "input/image")
        small = placeholder(tf.uint8, [None, height // 2, width // 2, channels], "input/downsampled_image")
        label = placeholder(tf.int32, [None], "input/label")
        nothing = 0 * (tf.reduce_sum(tf.cast(small, tf.float32)) + tf.reduce_sum(tf.cast(label, tf.float32)))
        latents = [placeholder(tf.float32, [None, *shape]) for shape in config.latent_shapes()]
        encoded = _imported(encode, [image], "encoder")
        for i, latent in enumerate(encoded[:-1]):
            tf.add(latent, nothing, name=f"model/pool{i}/truediv_1")
        tf.add(encoded[-1], nothing, name="model/truediv_4")
        decoded = _imported(decode, [latents[0] + nothing, *latents[1:]], "decoder")
        tf.identity(decoded[0], name="model_1/Cast_1")
    frozen = graph.as_graph_def()
    kept = [node for node in frozen.node if node.name not in without]
    del frozen.node[:]
    frozen.node.extend(kept)
    path.write_bytes(frozen.SerializeToString())


def _imported(function: Any, inputs: Sequence[tf.Tensor], name: str) -> list[tf.Tensor]:
    """The outputs of a function, frozen in a graph of its own and imported into the current one."""
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs]
    with tf.init_scope():
        frozen = convert_variables_to_constants_v2(tf.function(function, autograph=False).get_concrete_function(*specs))
    mapped = {theirs.name: ours for theirs, ours in zip(frozen.inputs, inputs, strict=True)}
    wanted = [tensor.name for tensor in frozen.outputs]
    return tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), mapped, wanted, name)
