"""Images as the user has them, and as a file that the tool reads.

Batches go into the file as they come, so that they are never in memory twice.
"""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, Iterable, Iterator, Mapping, Optional, Union

from ._errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    # A path, an array, a pair of arrays, or batches or rows of either.
    Data = Union[str, "os.PathLike[str]", Array, Iterable[Any]]

# What data sets call their columns.
_IMAGES = ("x", "image", "images", "img", "pixel_values", "input", "inputs", "features")
_LABELS = ("y", "label", "labels", "target", "targets", "fine_label", "class")


def file_of(data: Data, labels: Any, folder: str, name: str) -> str:
    """The path of ``data``, which is written into ``folder`` unless it is a path already."""
    if isinstance(data, (str, os.PathLike)):
        if labels is not None:
            raise TypeError("labels are for images in memory; a path has its own")
        return os.fspath(data)
    path = os.path.join(folder, f"{name}.npz")
    batches: Iterable[tuple[Any, Any]]
    if isinstance(data, (tuple, list)) and len(data) == 2 and _is_pair(*data):
        if labels is not None:
            raise TypeError("labels are given twice")
        batches = [(data[0], data[1])]
    elif _is_array(data):
        batches = [(data, labels)]
    elif hasattr(data, "__iter__") or hasattr(data, "__getitem__"):
        if labels is not None:
            raise TypeError("labels are for an array of images; batches bring theirs along")
        batches = _batches(data)
    else:
        raise TypeError(
            "images are a path, an array, a pair (x, y) of arrays, or an iterable of batches, "
            f"not {type(data).__name__}"
        )
    _write(path, name, batches)
    return path


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _is_pair(images: Any, labels: Any) -> bool:
    """Whether these are all images and their labels: arrays, or lists, the labels of numbers."""
    if _rank(labels) > 2 and _shape(images)[1:] == _shape(labels)[1:]:
        # Two batches of images.
        return False
    if not _is_array(labels):
        listed = isinstance(labels, (tuple, list)) and len(labels) > 0
        if not listed or any(isinstance(y, (tuple, list, str)) or _rank(y) > 0 for y in labels):
            return False
        return _is_array(images) or (isinstance(images, list) and all(map(_is_array, images)))
    return _is_array(images)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def _rank(value: Any) -> int:
    return len(_shape(value))


def _batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """Images and labels of each item, as batches."""
    # The shape of one image, once there was a batch of them.
    one: Optional[tuple[int, ...]] = None
    for item in data:
        images, labels = _parts(item)
        images, labels = _array(images), None if labels is None else _array(labels)
        if images.shape[1:] != one and _is_row(images, labels):
            images = images[None]
        else:
            one = images.shape[1:]
        if labels is not None and labels.ndim == 0:
            labels = labels.reshape(1)
        yield images, labels


def _parts(item: Any) -> tuple[Any, Any]:
    """Images and labels of a batch or a row."""
    if isinstance(item, Mapping):
        images = next((item[key] for key in _IMAGES if key in item), None)
        labels = next((item[key] for key in _LABELS if key in item), None)
        if images is None:
            raise DataError(
                f"batches have the columns {', '.join(map(str, item))}; name the images 'image' "
                "and the labels 'label', or give tuples (x, y)"
            )
        return images, labels
    if isinstance(item, (tuple, list)) and not _is_array(item):
        if len(item) == 2:
            return item[0], item[1]
        if len(item) == 1:
            return item[0], None
        raise DataError(f"batches are tuples of {len(item)} values; give (x, y) or x")
    return item, None


def _array(value: Any) -> Array:
    """An array of what may be a tensor, an image, or a list of them."""
    import numpy as np

    if isinstance(value, (list, tuple)):
        return np.stack([_array(one) for one in value]) if value else np.empty(0)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":
            # NumPy has no such type.
            value = value.float()
    return np.asarray(value)


def _is_row(images: Array, labels: Optional[Array]) -> bool:
    """Whether this is one image and not a batch of them."""
    if labels is not None:
        return labels.ndim == 0 and images.ndim < 4
    if images.ndim == 3:
        return images.shape[0] in (1, 3) or images.shape[-1] in (1, 3)
    return False


def _write(path: str, name: str, batches: Iterable[tuple[Any, Any]]) -> None:
    """Writes batches as one archive with ``x`` and, where there are labels, ``y``."""
    import numpy as np

    images = path + ".x.npy"
    labels: list[Array] = []
    try:
        with open(images, "w+b") as file:
            rows = _Rows(file, name)
            for x, y in batches:
                x = _array(x)
                if y is not None:
                    y = _array(y)
                    if y.ndim == 2 and y.shape[1] == 1:
                        y = y[:, 0]
                    if y.ndim != 1 or len(y) != len(x):
                        raise DataError(
                            f"{name}: a batch of {len(x)} images has labels of shape "
                            f"{list(y.shape)}; give one class index an image"
                        )
                if (y is not None) != bool(labels) and rows.count:
                    raise DataError(f"{name}: some batches have labels, others have none")
                rows.add(x)
                if y is not None:
                    labels.append(np.array(y))
            rows.finish()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.write(images, "x.npy")
            if labels:
                with archive.open("y.npy", "w") as member:
                    np.lib.format.write_array(member, np.concatenate(labels))
    finally:
        if os.path.exists(images):
            os.remove(images)


class _Rows:
    """A ``.npy`` file that grows."""

    # Room for any number of rows.
    _HEADER = 256

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.name = name
        self.count = 0
        self.dtype: Any = None
        self.shape: tuple[int, ...] = ()
        file.write(bytes(self._HEADER))

    def add(self, batch: Array) -> None:
        """Appends the images of a batch."""
        import numpy as np

        if batch.ndim < 2:
            raise DataError(
                f"{self.name}: a batch of images has shape {list(batch.shape)}; "
                "give [N, C, H, W], [N, H, W, C] or [N, H, W], or signals [N, C, L]"
            )
        dtype = batch.dtype.newbyteorder("<")
        if dtype.kind not in "uf" or dtype.itemsize not in (1, 4, 8):
            dtype = np.dtype("<f4") if dtype.kind == "f" else dtype
        if self.dtype is None:
            self.dtype, self.shape = dtype, batch.shape[1:]
        if batch.shape[1:] != self.shape:
            raise DataError(
                f"{self.name}: image {self.count} has shape {list(batch.shape[1:])}, those before "
                f"it {list(self.shape)}; bring all images to one size"
            )
        if dtype != self.dtype:
            raise DataError(
                f"{self.name}: image {self.count} is {batch.dtype}, those before it {self.dtype}; "
                "give all images in one type"
            )
        # In pieces: a batch that is a whole data set is not copied as a whole.
        step = max(1, (1 << 24) // max(1, batch[:1].nbytes))
        for start in range(0, len(batch), step):
            piece = np.ascontiguousarray(batch[start : start + step], dtype=self.dtype)
            self.file.write(piece.data)
        self.count += len(batch)

    def finish(self) -> None:
        """Writes the header."""
        import numpy as np

        if self.count == 0:
            raise DataError(f"{self.name}: there are no images")
        shape = (self.count, *self.shape)
        header = repr(
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": shape,
            }
        ).encode("latin1")
        room = self._HEADER - 10
        self.file.seek(0)
        self.file.write(np.lib.format.magic(1, 0) + room.to_bytes(2, "little"))
        self.file.write(header.ljust(room - 1) + b"\n")
