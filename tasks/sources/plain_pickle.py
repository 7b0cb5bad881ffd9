"""Read a pickle of arrays, images and text without creating anything that it names.

A pickle may call whatever it names. Here every name stands for a placeholder that is made for this one load.
Only the names that numpy's arrays and Pillow's images use have one. Every other name is refused. The arrays
are built afterwards, from the bytes and the type that the placeholders hold.
"""

import pickle
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 2**30
"""Maximum size of a decompressed pickle."""
_ARRAY_TYPES = frozenset({"b1", "u1", "u2", "u4", "i1", "i2", "i4", "i8", "f2", "f4", "f8"})
_IMAGE_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


class ForeignPickleError(ValueError):
    """The pickle names something that is no array, image or plain container."""


def read_plain_pickle(compressed: bytes) -> Any:
    """The content of a zlib-compressed pickle. Arrays and images become arrays.

    Raises:
        ForeignPickleError: If it holds anything but arrays, images and plain containers.
        ValueError: If it is damaged, cut or too large.
    """
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(compressed, MAX_BYTES)
    except zlib.error as error:
        raise ValueError("it is no whole zlib stream") from error
    if inflater.unconsumed_tail:
        raise ValueError(f"it holds more than {MAX_BYTES} bytes")
    if not inflater.eof:
        raise ValueError("it ends early")
    try:
        return _plain(_Reader(BytesIO(raw)).load(), depth=0)
    except ForeignPickleError:
        raise
    except Exception as error:  # The list of errors that a hostile pickle can cause has no end.
        raise ValueError("it is no pickle of arrays") from error


class _Placeholder:
    """Holds what a pickle says of one array, type or image."""

    state: Any = None
    arguments: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Gives each permitted name a class of its own, which lasts for this load only."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self._classes: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        kind = _KINDS.get(f"{module}.{name}".replace("numpy._core.", "numpy.core."))
        if kind is None:
            raise ForeignPickleError(f"it names {module}.{name}")
        if kind not in self._classes:
            self._classes[kind] = type(kind, (_Placeholder,), {"__new__": _new, "__init__": _init})
        return self._classes[kind]

    def persistent_load(self, pid: Any) -> Any:
        raise ForeignPickleError("it names something outside itself")


def _new(cls: type, *_arguments: Any) -> Any:
    return object.__new__(cls)


def _init(self: _Placeholder, *arguments: Any) -> None:
    self.arguments = arguments


_KINDS = {
    "numpy.core.multiarray._reconstruct": "Array",
    "numpy.core.numeric._frombuffer": "Buffer",
    "numpy.core.multiarray.scalar": "Scalar",
    "numpy.ndarray": "ArrayClass",
    "numpy.dtype": "Type",
    "PIL.Image.Image": "Image",
    "collections.OrderedDict": "Ordered",
}
"""What numpy, Pillow and collections write into a pickle, by name."""


def _plain(value: Any, depth: int) -> Any:
    """The value with arrays in place of placeholders."""
    if depth > 20:
        raise ValueError("it is nested too deeply")
    if isinstance(value, _Placeholder):
        return _built(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth + 1) for inner in value]
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    raise ForeignPickleError(f"it holds a {type(value).__name__}")


def _built(holder: _Placeholder) -> NDArray[Any]:
    kind = type(holder).__name__
    if kind == "Array":
        _, shape, dtype, by_columns, raw = holder.state
        return _array(raw, _type_of(dtype), shape, "F" if by_columns else "C")
    if kind == "Buffer":
        raw, dtype, shape, order = holder.arguments
        return _array(raw, _type_of(dtype), shape, order)
    if kind == "Scalar":
        dtype, raw = holder.arguments
        return _array(raw, _type_of(dtype), (), "C")
    if kind == "Image":
        # Pillow's state: info, mode, size, palette, bytes; newer versions add one more entry.
        _, mode, (width, height), _, raw = holder.state[:5]
        if mode == "1":
            packed = np.frombuffer(raw, np.uint8).reshape(height, -1)
            return np.unpackbits(packed, axis=1)[:, :width] > 0
        channels = _IMAGE_CHANNELS[mode]
        return _array(raw, np.dtype("u1"), (height, width, channels)[: 2 + (channels > 1)], "C")
    raise ForeignPickleError(f"it holds a {kind} alone")


def _type_of(holder: Any) -> np.dtype[Any]:
    name = holder.arguments[0] if isinstance(holder, _Placeholder) and holder.arguments else None
    if name not in _ARRAY_TYPES:
        raise ForeignPickleError(f"an array of type {name!r}")
    order = holder.state[1] if holder.state else "|"
    return np.dtype(f"{order if order in '<>|=' else '|'}{name}")


def _array(raw: Any, dtype: np.dtype[Any], shape: Any, order: str) -> NDArray[Any]:
    if not isinstance(raw, bytes | bytearray):
        raise ForeignPickleError("an array of objects")
    return np.frombuffer(bytes(raw), dtype).reshape(shape, order="F" if order == "F" else "C")
