"""Downloads into Keras' cache: checked, atomic, once for all processes of a machine.

Not by keras.utils.get_file or pooch: neither bounds what it reads, nor has other processes of the machine wait.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException

from data_loaders.atomic import atomic_write
from data_loaders.errors import DataError
from data_loaders.locks import locked
from data_loaders.progress import Progress

_TIMEOUT_S = 30
_CHUNK = 1 << 20


def cache_dir() -> str:
    """Keras' folder of data sets: $KERAS_HOME/datasets, by default ~/.keras/datasets."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return os.path.join(home, "datasets")


@dataclass(frozen=True)
class Download:
    """A file on the web.

    Attributes:
      url: where it is.
      sha256: of its content.
      size: in bytes; no more is ever read.
    """

    url: str
    sha256: str
    size: int

    def fetch(self, path: str) -> str:
        """Downloads to `path`, unless another process of this machine has done so meanwhile.

        `path` appears whole and checked, or not at all.

        Returns:
          path.

        Raises:
          DataError: offline, the server's error, or another content than expected.
        """
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, exist_ok=True)
            with locked(path + ".lock"):
                if not os.path.exists(path):
                    self._download(path)
        except OSError as error:
            raise DataError(
                f"Cannot download {self.url} to {path}: {getattr(error, 'reason', None) or error}. "
                "Without internet, put the data on disk and name the folder with data_dir."
            ) from error
        return path

    def _download(self, path: str) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            with (
                atomic_write(path) as temporary,
                temporary.open("wb") as file,
                urllib.request.urlopen(self.url, timeout=_TIMEOUT_S) as response,
                Progress(f"downloading {os.path.basename(path)}", self.size, "B") as progress,
            ):
                while chunk := response.read(min(_CHUNK, self.size + 1 - size)):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    progress.update(len(chunk))
                    if size > self.size:
                        break
                if size != self.size or digest.hexdigest() != self.sha256:
                    raise DataError(
                        f"{self.url} is not the expected file: got {size} bytes with SHA-256 "
                        f"{digest.hexdigest()}, expected {self.size} bytes with {self.sha256}. "
                        "Try again later, or use data_dir."
                    )
        except HTTPException as error:
            raise OSError(f"the transfer broke off ({error!r})") from error
