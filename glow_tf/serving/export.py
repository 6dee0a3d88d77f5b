"""A model as a SavedModel: what runs it needs TensorFlow and nothing of this project."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import tensorflow as tf

from glow_tf.model import Glow
from glow_tf.serving.frozen import FrozenGlow
from glow_tf.serving.signatures import Signatures
from glow_tf.serving.versions import CONFIG_FILE, ORIGIN_FILE, versions


def export_saved_model(glow: Glow, folder: str | Path, *, weights: str = "") -> Path:
    """Writes the model as a SavedModel to folder/1, or to the next version if there are some.

    That is the layout of TensorFlow Serving, which watches `folder` and serves its highest version. The version appears
    when it is whole, and none that is there is touched. Its signatures, each for any number of images, are

        bits_per_dim  images, label, seed -> bits_per_dim [N]: bits per subpixel, with dequantisation noise of the seed
        log_prob      images, label, seed -> log_prob [N]: the same in nats per image
        encode        images, label -> latents [N, H*W*C], standard normal under the model
        decode        latents, label -> images, finite [N]: false where an image left float32 and is wrong
        sample        n, label, temperature, seed -> images [n, H, W, C], finite [n]

    with images uint8 [N, H, W, C]; latents in the order of `flatten_latents`; label int32 [N], which models without
    classes ignore (it may be empty); n and seed int32 numbers; temperature a number. A model that is given a context
    takes `context` [N, H, W, C'] everywhere, and where it is made of images there is `context`: images -> context [N,
    H, W, C']. Latents, contexts, temperature and likelihoods are float32, or float64 where the model's `precision` is.
    The values are those of `glow` itself, to rounding: of `encode`, of `sample` with the same seed, and of `log_prob`
    with the noise
    `glow.draw_noise(x.shape, [seed, 0])`.

    All weights are constants, folded once, with the inverses of the 1x1 convolutions (see frozen.py). config.json is
    among the assets.

    Args:
      glow: the model.
      folder: made if it is not there.
      weights: for people: which weights these are.

    Returns:
      The version's folder.

    Raises:
      ValueError: `folder` is itself a run, a model or a version.
      OSError: it cannot be written to.
    """
    folder = Path(folder)
    check_export_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # A folder beside the versions, which TensorFlow Serving overlooks; it is gone at the end.
    aside = tempfile.TemporaryDirectory(dir=folder, prefix=".writing-", ignore_cleanup_errors=True)
    with aside as parent, tempfile.TemporaryDirectory() as assets:
        temporary = Path(parent, "version")
        frozen = FrozenGlow(glow)
        module = Signatures(frozen, frozen.constants)
        origin = {"fingerprint": glow.fingerprint(), "weights": weights}
        for name, content in ((CONFIG_FILE, glow.config.to_dict()), (ORIGIN_FILE, origin)):
            path = Path(assets, name)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            setattr(module, path.stem, tf.saved_model.Asset(str(path)))
        tf.saved_model.save(module, str(temporary), module.served())
        return _publish(temporary, folder)


def check_export_folder(folder: Path) -> None:
    """Raises ValueError unless versions of an export can be put into `folder`."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: this is a file; an export needs a folder")
    for name in (CONFIG_FILE, "weights.npz", "saved_model.pb"):
        if (folder / name).exists():
            raise ValueError(f"{folder} holds something else (there is a {name}); an export needs a folder of its own")


def _publish(temporary: Path, folder: Path) -> Path:
    """Renames `temporary` to the next version of `folder`."""
    for path in temporary.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    while True:
        version = folder / str(max(versions(folder), default=0) + 1)
        try:
            temporary.rename(version)
        except OSError:
            if not version.exists():  # else another export was quicker, and has this number
                raise
        else:
            return version
