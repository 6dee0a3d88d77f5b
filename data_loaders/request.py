"""What a caller of `load` asked for."""

from __future__ import annotations

from dataclasses import dataclass

from data_loaders.errors import DataError

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Request:
    """What a caller of `load` asked for, checked; every problem's loader gets one.

    Attributes:
      problem: name in the registry.
      data_dir: folder of the data, "" for the problem's own default.
      image_size: (H, W), or None for the problem's own size.
      dal: data augmentation level 0, 1 or 2, as OpenAI's flag.
      category: a sub-set of the data (LSUN's room, a sub-folder), "" for all.
      n_test: how many test images to use, None for all.
      seed: of the order and the augmentation of the training images.
      workers: images or batches prepared at once; None lets tf.data decide.
      readers: files read at once, by the problems that read while training.
      skip_corrupt: leave out damaged images, with a warning, instead of raising.
    """

    problem: str
    data_dir: str = ""
    image_size: tuple[int, int] | None = None
    dal: int = 1
    category: str = ""
    n_test: int | None = None
    seed: int = 0
    workers: int | None = None
    readers: int = 1
    skip_corrupt: bool = False

    def refuse_category(self) -> None:
        """For problems that have no categories.

        Raises:
          DataError: one was asked for.
        """
        if self.category:
            raise DataError(f"Problem {self.problem!r} has no categories; got category {self.category!r}.")
