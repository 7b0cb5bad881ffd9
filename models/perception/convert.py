"""Convert a published pickle to safetensors, once: `python -m models.perception.convert sam FILE FOLDER`.

The tensors are read in a process that can open no file, socket or program. No class of the pickle is
created. A YOLO's layers become placeholders without methods. A list of allowed layers would not be enough:
a pickle may call them, and ultralytics' networks evaluate their settings.
"""

import argparse
import json
import re
import resource
import sys
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from safetensors.torch import save
from torch import Tensor

from data_specs.errors import CleanplateError, InputError
from models.perception.weights import FILE_NAME

PickleKind = Literal["sam", "yolo", "tensors"]

_KINDS: dict[PickleKind, str] = {
    "sam": "weights of sam",
    "yolo": "weights of yolo",
    "tensors": "a dict of tensors",
}
_LAYERS = (
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
    "ultralytics.nn.modules.block.Attention",
    "ultralytics.nn.modules.block.Bottleneck",
    "ultralytics.nn.modules.block.C2PSA",
    "ultralytics.nn.modules.block.C3k",
    "ultralytics.nn.modules.block.C3k2",
    "ultralytics.nn.modules.block.DFL",
    "ultralytics.nn.modules.block.PSABlock",
    "ultralytics.nn.modules.block.SPPF",
    "ultralytics.nn.modules.conv.Concat",
    "ultralytics.nn.modules.conv.Conv",
    "ultralytics.nn.modules.conv.DWConv",
    "ultralytics.nn.modules.head.Detect",
    "ultralytics.nn.tasks.DetectionModel",
)
"""All layers of a YOLO11 of any size."""


class _Layer:
    """A placeholder for a layer. It takes a state and does nothing."""


def read_published(kind: PickleKind, file: Path) -> bytes:
    """Read the weights as safetensors. Floats become float32. A YOLO's class names are in the metadata.

    Args:
        kind: "sam" and "tensors": a dict of tensors. "yolo": a checkpoint with a YOLO11 under "ema" or
            "model".
        file: As published.

    Raises:
        InputError: If the file holds anything else, or cannot be read.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    reader = context.Process(target=_read_alone, args=(kind, file, theirs), daemon=True)
    reader.start()
    theirs.close()
    try:
        fault = ours.recv_bytes().decode(errors="replace")
        weights = ours.recv_bytes() if not fault else b""
    except (EOFError, OSError) as error:
        reader.join()
        raise InputError(
            file, f"the process that reads it ended with code {reader.exitcode}; give the file as published"
        ) from error
    finally:
        ours.close()
        reader.join()
    if fault:
        raise InputError(file, fault)
    return weights


def _read_alone(kind: PickleKind, file: Path, answer: Connection) -> None:
    """The child process: send an error sentence (empty if all is well), then the weights."""
    try:
        with file.open("rb") as opened:
            _import_all()
            confine()
            weights = weights_in(kind, opened)
    except (InputError, OSError) as error:
        answer.send_bytes((error.fault if isinstance(error, InputError) else str(error.strerror)).encode())
        return
    answer.send_bytes(b"")
    answer.send_bytes(weights)


def weights_in(kind: PickleKind, opened: BinaryIO) -> bytes:
    """The result of ``read_published``, read in this process.

    Raises:
        InputError: As for ``read_published``.
    """
    try:
        with torch.serialization.safe_globals([(_Layer, name) for name in _LAYERS]):
            content: Any = torch.load(opened, map_location="cpu", weights_only=True)
        tensors, notes = (_dict(content), {}) if kind != "yolo" else _yolo(content)
        return save({name: _plain(tensor) for name, tensor in tensors.items()}, metadata=notes)
    except Exception as error:  # The list of errors that an unknown file can cause has no end.
        raise InputError(
            opened.name, f"cannot be read as {_KINDS[kind]} ({_why(error)}); give the file as published"
        ) from error


def _why(error: Exception) -> str:
    """One line of the error. torch says more, including how to run the file anyway."""
    said = str(error)
    named, inner = re.search(r"GLOBAL (\S+)", said), re.search(r"WeightsUnpickler error: (.+)", said)
    if named:
        why = f"it names {named[1]}"
    else:
        why = (inner[1] if inner else said.strip() or type(error).__name__).splitlines()[0]
    return "".join(letter for letter in why if letter.isprintable())


def _import_all() -> None:
    """Import all of torch now. It imports some parts at first use, and later no file can be opened."""
    example = BytesIO()
    example.name = "an example"
    torch.save({"weight": torch.zeros(1)}, example)
    example.seek(0)
    weights_in("sam", example)


def confine() -> None:
    """From here on this process cannot open anything: no file for writing, no socket, no program's libraries.

    Files that are already open stay open. The limits are Python's own, so they hold on every system.
    """
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))


def _dict(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not content:
        raise ValueError("it does not hold a dict of tensors")
    if not all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()):
        raise ValueError("it holds values that are not tensors")
    return content


def _yolo(content: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    network = (content.get("ema") or content.get("model")) if isinstance(content, dict) else None
    names = vars(network).get("names") if isinstance(network, _Layer) else None
    if not isinstance(network, _Layer) or not isinstance(names, dict):
        raise ValueError("it holds no network with class names; give a yolo11*.pt as published")
    if not names or not all(isinstance(name, str) for name in names.values()):
        raise ValueError("its class names are not text")
    return dict(_tensors(network, "")), {"classes": json.dumps(tuple(names.values()))}


def _tensors(layer: _Layer, before: str) -> list[tuple[str, Tensor]]:
    """Tensors by the names that ``Module.state_dict`` uses."""
    state = vars(layer)
    passing = state.get("_non_persistent_buffers_set", ())
    own = {**state["_parameters"], **state["_buffers"]}
    tensors = [
        (f"{before}{name}", tensor.detach())
        for name, tensor in own.items()
        if isinstance(tensor, Tensor) and name not in passing
    ]
    for name, inner in state["_modules"].items():
        if isinstance(inner, _Layer):
            tensors += _tensors(inner, f"{before}{name}.")
    return tensors


def _plain(tensor: Tensor) -> Tensor:
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("a tensor is larger than its data")
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous().clone()


def convert(kind: Literal["sam", "yolo"], file: Path, folder: Path) -> None:
    """Write ``model.safetensors`` into ``folder``.

    Args:
        kind: "sam" or "yolo".
        file: sam_vit_*.pth or yolo11*.pt, as published.
        folder: Created if it does not exist.

    Raises:
        InputError: If the file holds anything but these weights.
    """
    weights = read_published(kind, file)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{FILE_NAME}.aside"
    aside.write_bytes(weights)
    aside.replace(folder / FILE_NAME)


def main() -> None:
    """Convert the file. A file that is not such a pickle ends with an error of one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m models.perception.convert",
        description="Convert published weights to safetensors, once. The pickle runs no code: a process "
        "without access to files reads it, and takes out only tensors.",
    )
    parser.add_argument("kind", choices=("sam", "yolo"), help="sam_vit_*.pth, or yolo11*.pt")
    parser.add_argument("file", type=Path, help="the file as published")
    parser.add_argument("folder", type=Path, help="the folder that gets model.safetensors")
    given = parser.parse_args()
    try:
        convert(given.kind, given.file, given.folder)
    except CleanplateError as error:
        sys.exit(f"cleanplate: {error}")


if __name__ == "__main__":
    main()
