"""Taking named files out of a .tar.gz."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable

from data_loaders.errors import DataError


def extract_files(archive: str, names: Iterable[str], folder: str, *, limit: int) -> None:
    """Extracts files, without their folders, into a new `folder` that appears whole or not at all.

    Nothing but the named members is written, under their own last names, so no member can leave
    `folder`.

    Args:
      archive: path of a .tar.gz.
      names: the members.
      folder: must not exist.
      limit: the most bytes of one member.

    Raises:
      DataError: no archive, or a member is missing, no regular file, too large or truncated.
    """
    temporary = tempfile.mkdtemp(prefix=os.path.basename(folder) + ".", dir=os.path.dirname(folder))
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name in names:
                member = tar.getmember(name)
                if not member.isreg() or member.size > limit:
                    raise DataError(f"{archive}: {name} is not a regular file of at most {limit} bytes.")
                source = tar.extractfile(member)
                assert source is not None  # it is a regular file
                with source, open(os.path.join(temporary, os.path.basename(name)), "wb") as target:
                    shutil.copyfileobj(source, target)
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"Cannot unpack {archive}: {error}. Delete it to have it downloaded again.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
