"""Where files and requests from unknown hands come in: for each entrance, good inputs, and the function that reads one.

A reader gets bytes, writes them to the file that its function wants, and calls it. It may return, or raise one of the
entrance's own errors with a message; anything else is a failure.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_loaders import DataError
from glow_tf.config import ConfigError

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/invconv_affine_learntop"
MODEL = {"image_size": 8, "n_levels": 1, "depth": 1, "width": 4, "channels": 1, "learntop": True}
CANARY = "fuzz_canary"  # a file that code in an input would make in the folder of the fuzzing


class Entrance(NamedTuple):
    """One entrance.

    Attributes:
      seeds: inputs to corrupt, good ones and hostile ones.
      read: reads one input.
      errors: what it may raise.
    """

    seeds: list[bytes]
    read: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]


class Evil:
    """What runs a command where somebody unpickles it."""

    def __init__(self, folder: Path) -> None:
        self._command = f"touch {folder / CANARY}"

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (self._command,)


def _npz(arrays: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=True)
    return out.getvalue()


def _hostile_npz(folder: Path, name: str) -> list[bytes]:
    """Pickles, a header that claims terabytes, and a small file that unpacks to 128 MB."""
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(lie, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 64)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{name}.npy", lie.getvalue() + bytes(64))
    bomb = _npz({name: np.zeros(2**25, np.float32)}, zipfile.ZIP_DEFLATED)
    return [_npz({name: np.array([Evil(folder)], object)}), out.getvalue(), bomb]


def images(folder: Path) -> Entrance:
    """PNG and JPEG files of a folder of images."""
    from data_loaders.folder.images import read_header, read_image

    def read(data: bytes) -> None:
        path = folder / "image.png"
        path.write_bytes(data)
        read_header(path)
        read_image(path, (8, 8), 3)

    return Entrance(_pictures(), read, (DataError,))


def _pictures() -> list[bytes]:
    from PIL import Image, PngImagePlugin

    rng, found = np.random.default_rng(0), []
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 2**20, zip=True)
    for mode in ("L", "RGB", "RGBA", "P", "1", "LA", "I;16"):
        pixels = rng.integers(0, 256, (12, 14, 4)).astype(np.uint8)
        if mode == "I;16":
            picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
        else:
            picture = Image.fromarray(pixels).convert(mode)
        for form in ("PNG", "JPEG"):
            if form == "PNG" or mode in ("L", "RGB"):
                out = io.BytesIO()
                picture.save(out, form, **({"pnginfo": text} if form == "PNG" and mode == "L" else {}))
                found.append(out.getvalue())
    claims = bytearray(found[1])
    at = claims.find(b"IHDR")
    if at > 0:
        claims[at + 4 : at + 12] = struct.pack(">II", 2**30, 2**30)
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)).save(out, "JPEG", exif=exif)
    return [*found, bytes(claims), out.getvalue()]


def uploads(folder: Path) -> Entrance:
    """What visitors of the demo upload, with the search for faces."""
    from glow_tf.config import GlowConfig
    from glow_tf.serving.demo.uploads import UploadError, Uploads

    reader = Uploads(GlowConfig.from_dict({**MODEL, "channels": 3}))

    def read(data: bytes) -> None:
        path = folder / "upload"
        path.write_bytes(data)
        reader.read(path, find_face=len(data) % 2 == 0)

    return Entrance(_pictures(), read, (UploadError,))


def requests(folder: Path) -> Entrance:
    """Bodies of requests to the demo, as its guard sees them, and the numbers in them as its editor does."""
    from starlette.exceptions import HTTPException

    from glow_tf.serving.demo.editor import number
    from glow_tf.serving.demo.guard import _check_json

    def read(data: bytes) -> None:
        _check_json(data)
        if not data:
            return
        values = json.loads(data)
        for value in values["data"] if isinstance(values, dict) and isinstance(values.get("data"), list) else []:
            number("temperature", value, 0, 1)

    bodies: list[Any] = [{"data": [0.7, 1, 0], "fn_index": 3}, {"data": [{"path": "/tmp/x.png"}]}]
    seeds = [json.dumps(body).encode() for body in bodies]
    seeds += [b'{"data": [' + b"[" * 30000, b'{"data": [' + b"9" * 60000 + b"]}", b'{"data": [NaN, Infinity, 1e999]}']
    return Entrance(seeds, read, (HTTPException, ValueError))


def cifar(folder: Path) -> Entrance:
    """Batches of CIFAR-10."""
    from data_loaders.cifar_pickle import read_batch

    def read(data: bytes) -> None:
        path = folder / "data_batch_1"
        path.write_bytes(data)
        read_batch(str(path))

    batch = {"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2, 3], "batch_label": b"x", "filenames": ["a"] * 3}
    seeds = [pickle.dumps(batch, protocol) for protocol in (2, 3, 4)]
    laughs: Any = ["ha"] * 10
    for _ in range(12):
        laughs = [laughs] * 10
    seeds += [pickle.dumps(Evil(folder), p) for p in (0, 2, 4)] + [pickle.dumps(laughs, 4)]
    seeds += [pickle.dumps({"data": Evil(folder), "labels": [1]}, 2), b"\x80\x04\x8e" + struct.pack("<Q", 2**62)]
    return Entrance(seeds, read, (DataError,))


def records(folder: Path) -> Entrance:
    """TFRecords: framing, checksums, examples."""
    from data_loaders.tfrecords.examples import Form, make_record
    from data_loaders.tfrecords.framing import find_records, masked_crcs, read_record

    form = Form((4, 4, 3), 2)

    def with_sum(data: bytes) -> bytes:
        return data + struct.pack("<I", masked_crcs(np.frombuffer(data, np.uint8)[np.newaxis])[0])

    def framed(record: bytes) -> bytes:
        return with_sum(struct.pack("<Q", len(record))) + with_sum(record)

    def read(data: bytes) -> None:
        path = folder / "shard"
        # Half of the inputs keep a framing that is right, so that what is in a record is corrupted.
        path.write_bytes(framed(data) if len(data) % 2 else data)
        offsets, problem = find_records(str(path))
        problems = [problem, *(form.problem(read_record(str(path), offset)) for offset in offsets.tolist())]
        if any(problems):
            raise DataError(next(filter(None, problems)))

    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    one = [make_record(image, 1), make_record(image, 0, [1, 0, 1])]
    far = struct.pack("<Q", 2**62)
    seeds = [*one, b"".join(framed(r) for r in one) * 3, with_sum(far)]
    return Entrance(seeds, read, (DataError,))


def latents(folder: Path) -> Entrance:
    """Files of latents and of attribute directions."""
    from glow_tf.latents.files import Attributes, read_attributes, read_latents, write_attributes, write_latents

    path = folder / "latents.npz"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        (read_attributes if b"directions.npy" in data else read_latents)(path, 64)

    write_latents(path, [np.ones((2, 64), np.float32)], ["a", "b"], 64, 0, "0" * 16)
    seeds = [path.read_bytes()]
    ones = np.ones(2, np.int64)
    directions = np.ones((2, 64), np.float32)
    write_attributes(path, Attributes(("a", "b"), directions, ones, ones, directions[0], 0, "0" * 16))
    return Entrance([*seeds, path.read_bytes(), *_hostile_npz(folder, "latents")], read, (ValueError,))


def mnist(folder: Path) -> Entrance:
    """The .npz of MNIST."""
    from data_loaders.npz import Array, read_npz

    def read(data: bytes) -> None:
        path = folder / "mnist.npz"
        path.write_bytes(data)
        expected = {"x_train": Array((28, 28), ("uint8",), 100), "y_train": Array((), ("uint8", "int64"), 100)}
        read_npz(str(path), expected)

    good = _npz({"x_train": np.zeros((2, 28, 28), np.uint8), "y_train": np.zeros(2, np.uint8)})
    return Entrance([good, *_hostile_npz(folder, "x_train")], read, (DataError,))


def attribute_tables(folder: Path) -> Entrance:
    """attributes.csv beside images."""
    from data_loaders.folder.attributes import read_attributes

    def read(data: bytes) -> None:
        path = folder / "attributes.csv"
        path.write_bytes(data)
        read_attributes(str(path))

    good = b"filename,Smiling,Young\na.png,1,-1\nb.png,-1,1\n"
    return Entrance([good, good * 50, b'"' + b"x" * 200000, "filename,ü\n\ufeffa,1\n".encode()], read, (DataError,))


def configs(folder: Path) -> Entrance:
    """config.json of a run, of a saved model, and of `import-openai --config`."""
    from glow_tf.config import GlowConfig
    from glow_tf.training.config import TrainConfig, TrainError
    from glow_tf.training.logdir import read_config

    def read(data: bytes) -> None:
        path = folder / "config.json"
        path.write_bytes(data)
        try:
            run = read_config(folder)
        except TrainError:
            run = None
        if run is None:
            GlowConfig.from_json(path)
        else:
            GlowConfig.from_dict(run["model"])
            TrainConfig.from_dict(run["train"])

    model = GlowConfig.from_dict(MODEL).to_dict()
    run = {"model": model, "train": TrainConfig().to_dict(), "memory": "store"}
    seeds = [json.dumps(value).encode() for value in (model, run, MODEL)]
    seeds += [b"[" * 100000, b'{"image_size": ' + b"9" * 5000 + b"}", b'{"image_size": 1e999, "width": NaN}', b"null"]
    return Entrance(seeds, read, (ConfigError, TrainError))


def saved_models(folder: Path) -> Entrance:
    """model/: weights.npz beside its config.json."""
    import glow_tf
    from glow_tf.storage.models import WEIGHTS_FILE, SavedModelError
    from glow_tf.storage.variables import read_variables

    glow = glow_tf.Glow(MODEL)
    glow_tf.save(glow, folder / "model")
    path = folder / "model" / WEIGHTS_FILE
    seeds = [path.read_bytes()]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_variables(path, glow.named_variables(), SavedModelError, cast=True)

    return Entrance([*seeds, *_hostile_npz(folder, "initialized")], read, (SavedModelError,))


def run_checkpoints(folder: Path) -> Entrance:
    """Checkpoints of a run, one file corrupted; half of the time with a manifest made to fit, as an attacker would."""
    import glow_tf
    from glow_tf.storage import checkpoints
    from glow_tf.training import Trainer
    from glow_tf.training.state import TrainState

    trainer = Trainer(glow_tf.Glow(MODEL), {"n_train": 4, "n_batch_train": 4})
    groups = trainer.groups()
    checkpoint = checkpoints.save(folder / "checkpoints", groups, trainer.state.to_dict())
    names = sorted(path.name for path in checkpoint.iterdir())
    whole = {name: (checkpoint / name).read_bytes() for name in names}

    def read(data: bytes) -> None:
        name = names[len(data) % len(names)]
        if data[:1] == b"{":
            name = ("state.json", "manifest.json")[len(data) % 2]
        (checkpoint / name).write_bytes(data)
        try:
            if name != "manifest.json" and sum(data[:64]) % 2:
                manifest = json.loads(whole["manifest.json"])
                manifest[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                (checkpoint / "manifest.json").write_text(json.dumps(manifest))
            checkpoints.verify(checkpoint)
            checkpoints.restore(checkpoint, groups, TrainState.from_dict)
        finally:
            for kept in (name, "manifest.json"):
                (checkpoint / kept).write_bytes(whole[kept])

    seeds = [*whole.values(), *_hostile_npz(folder, "step"), b'{"step": ' + b"[" * 50000]
    return Entrance(seeds, read, (checkpoints.CheckpointError,))


def openai_checkpoints(folder: Path) -> Entrance:
    """The two files of a TF1 checkpoint; the input is index and data one after the other."""
    from glow_tf.storage.openai import CheckpointError, load_openai_checkpoint

    config = {"image_size": 16, "n_levels": 2, "depth": 3, "width": 24, "flow_coupling": 1, "learntop": True}
    index = (GOLDEN / "model.ckpt.index").read_bytes()
    data_file = "model.ckpt.data-00000-of-00001"
    content = (GOLDEN / data_file).read_bytes()

    def read(data: bytes) -> None:
        at = len(index) if len(data) > len(index) else len(data)
        (folder / "model.ckpt.index").write_bytes(data[:at])
        # The data of a corrupted index stay as they are, and the other way round.
        (folder / data_file).write_bytes(data[at:] if data[:at] == index else content)
        load_openai_checkpoint(folder / "model.ckpt", config)

    return Entrance([index, index, index + content[:2000], index + content], read, (CheckpointError,))


# What of all inputs each entrance gets, in parts of a hundred: the slow ones fewer.
ENTRANCES: dict[str, tuple[Callable[[Path], Entrance], int]] = {
    "images": (images, 14),
    "demo uploads": (uploads, 12),
    "demo requests": (requests, 10),
    "CIFAR-10 pickles": (cifar, 14),
    "TFRecords": (records, 12),
    "latents and attributes .npz": (latents, 8),
    "MNIST .npz": (mnist, 6),
    "attributes.csv": (attribute_tables, 5),
    "configs": (configs, 10),
    "saved models": (saved_models, 4),
    "checkpoints of runs": (run_checkpoints, 4),
    "OpenAI's checkpoints": (openai_checkpoints, 1),
}
