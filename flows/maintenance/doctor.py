"""Health: is everything here that a run needs?"""

import importlib.metadata
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import BaseModel, ConfigDict

from data_specs.errors import InputError, first_line
from models.diffusion.checkpoints import CHECKPOINTS, find_checkpoint
from models.gpu_plan import GPUS, full_plans
from models.profiles import Profile

_REINSTALL = "run `make clean demo`, or: pip install -c constraints.txt -e ."
_OLDEST_PYTHON = (3, 11)


class Check(BaseModel):
    """One thing looked at."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: Literal["ok", "note", "missing"]
    """``missing`` things are needed; a ``note`` is worth knowing."""
    found: str
    fix: str = ""
    """What to do; empty where all is well."""


def check_health(workspace: Path, disk_gb: float) -> list[Check]:
    """Every check, in the order in which to fix things.

    Args:
        workspace: Where runs would write; it is not made.
        disk_gb: Free space wanted there, in 10⁹ bytes.
    """
    return [
        check_python(sys.version_info[:3]),
        *check_packages(stated_requirements()),
        _check_cv2(),
        check_detector(),
        check_base_weights(Path(str(files("models"))) / "weights" / "base"),
        check_workspace(workspace),
        *check_store(workspace),
        *check_ledger(workspace),
        check_disk(workspace, disk_gb),
        check_prefect_server(workspace),
        _check_torch(),
    ]


def check_python(version: Sequence[int]) -> Check:
    """Is Python new enough?"""
    running = ".".join(map(str, version))
    if tuple(version[:2]) >= _OLDEST_PYTHON:
        return Check(name="Python", state="ok", found=running)
    return Check(name="Python", state="missing", found=running, fix="install Python 3.11 or newer")


def stated_requirements() -> list[str]:
    """What the package says it needs: from its metadata, or from pyproject.toml where it is not installed."""
    try:
        return importlib.metadata.requires("cleanplate") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        if not project.is_file():
            return []
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]


def check_packages(requirements: Sequence[str]) -> list[Check]:
    """Is each requirement met? Those of extras are left out."""
    checks: list[Check] = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            checks.append(Check(name=text, state="missing", found="not a requirement", fix=_REINSTALL))
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            checks.append(_check_package(requirement))
    return checks


def _check_package(requirement: Requirement) -> Check:
    wanted = str(requirement.specifier) or "any version"
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=requirement.name, state="missing", found="not installed", fix=_REINSTALL)
    if requirement.specifier.contains(installed, prereleases=True):
        return Check(name=requirement.name, state="ok", found=installed)
    installed = f"{installed}, wanted {wanted}"
    return Check(name=requirement.name, state="missing", found=installed, fix=_REINSTALL)


def _check_cv2() -> Check:
    try:
        import cv2
    except ImportError as error:
        fix = "install the system's libGL and GLib (Debian: apt-get install libgl1 libglib2.0-0)"
        if not str(error).startswith("lib"):
            fix = _REINSTALL
        return Check(name="cv2 loads", state="missing", found=str(error), fix=fix)
    return Check(name="cv2 loads", state="ok", found=cv2.__version__)


def check_detector() -> Check:
    """Which detector compositing takes where none is named."""
    try:
        version = f"YOLO, of ultralytics {importlib.metadata.version('ultralytics')} (AGPL-3.0)"
    except importlib.metadata.PackageNotFoundError:
        fix = "none needed: `pip install 'cleanplate[yolo]'` brings YOLO (AGPL-3.0)"
        return Check(name="detector", state="note", found="Grounding DINO", fix=fix)
    return Check(name="detector", state="ok", found=version)


def check_base_weights(folder: Path) -> Check:
    """Are the shipped base's weights there?"""
    absent = [part for part in ("unet", "vae") if not any((folder / part).glob("*.safetensors"))]
    if not absent:
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        return Check(name="base weights", state="ok", found=f"{size / 1e6:.1f} MB in {folder}")
    fix = "run `cleanplate train base`, or clone again: they belong to the repository"
    return Check(
        name="base weights", state="missing", found=f"no {' and '.join(absent)} in {folder}", fix=fix
    )


def check_workspace(workspace: Path) -> Check:
    """Can the workspace, or the nearest folder above it, be written?"""
    folder = _nearest(workspace)
    fix = f"name another folder with --workspace, or change the permissions of {folder}"
    if not folder.is_dir():
        return Check(name="workspace", state="missing", found=f"{folder} is not a folder", fix=fix)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(name="workspace", state="missing", found=f"{folder}: {error.strerror}", fix=fix)
    place = str(workspace) if folder == workspace.expanduser().absolute() else f"{workspace}, not made yet"
    return Check(name="workspace", state="ok", found=place)


def check_store(workspace: Path) -> list[Check]:
    """Does the store answer? Nothing is checked where the workspace is a folder."""
    try:
        from data_specs.errors import StoreError
        from tasks.storage.object_store import stored_at
        from tasks.storage.object_store.s3 import Bucket
        from tasks.storage.workspace import MARK
    except ImportError as error:
        return [Check(name="store", state="missing", found=str(error), fix=_REINSTALL)]
    address = stored_at(workspace)
    if address is None:
        return []
    try:
        there = Bucket(address, patience_s=0).size_of(MARK) is not None
    except StoreError as error:
        fix = "check the AWS_* variables, such as AWS_ENDPOINT_URL, and start the server"
        return [Check(name="store", state="missing", found=str(error), fix=fix)]
    answer = f"{address} answers" if there else f"{address} answers, no workspace in it yet"
    return [Check(name="store", state="ok", found=answer)]


def check_ledger(workspace: Path) -> list[Check]:
    """How large is the ledger, and does its server answer? Nothing is checked before there is one."""
    try:
        from sqlalchemy.exc import OperationalError

        from data_specs.errors import InputError
        from tasks.storage.ledger import Ledger
        from tasks.storage.ledger.database import create_engine
        from tasks.storage.workspace import Workspace
    except ImportError as error:
        return [Check(name="ledger", state="missing", found=str(error), fix=_REINSTALL)]
    try:
        engine = create_engine(Workspace(workspace).ledger_url)
        if engine.dialect.name == "sqlite":
            return _check_ledger_file(Path(engine.url.database or ""))
        with engine.connect():
            size_bytes = Ledger(engine.url.render_as_string(hide_password=False)).counts.database_bytes()
    except InputError as error:
        return [Check(name="ledger", state="missing", found=str(error), fix="set CLEANPLATE_LEDGER")]
    except OperationalError as error:
        cause = first_line(error.orig or error)
        fix = "check CLEANPLATE_LEDGER, and start PostgreSQL"
        return [Check(name="ledger", state="missing", found=cause, fix=fix)]
    answer = f"{engine.url.render_as_string()} answers, {size_bytes / 1e6:.1f} MB"
    return [Check(name="ledger", state="ok", found=answer)]


def _check_ledger_file(file: Path) -> list[Check]:
    """The size of the file with the log of its last changes."""
    if not file.is_file():
        return []
    size_bytes = sum(path.stat().st_size for path in (file, Path(f"{file}-wal")) if path.is_file())
    return [Check(name="ledger", state="ok", found=f"{size_bytes / 1e6:.1f} MB in {file}")]


def check_disk(workspace: Path, wanted_gb: float) -> Check:
    """Is there room for shards and models?"""
    free_gb = shutil.disk_usage(_nearest(workspace)).free / 1e9
    free = f"{free_gb:.1f} GB free"
    if free_gb >= wanted_gb:
        return Check(name="disk", state="ok", found=free)
    fix = f"free {wanted_gb:g} GB, or name a folder on another disk with --workspace"
    return Check(name="disk", state="missing", found=free, fix=fix)


def _nearest(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_prefect_server(workspace: Path) -> Check:
    """Is there a Prefect server that the commands on this workspace would use?"""
    try:
        from data_specs.errors import InputError
        from flows.runtime.prefect_server import NoServer, find_server
    except ImportError as error:
        return Check(name="Prefect server", state="missing", found=str(error), fix=_REINSTALL)
    try:
        server = find_server(workspace.expanduser().absolute() / "prefect")
    except InputError as error:
        return Check(name="Prefect server", state="missing", found=str(error), fix="delete that file")
    if not isinstance(server, NoServer):
        return Check(name="Prefect server", state="ok", found=f"answers at {server.api}")
    state = server.reason or f"none at {server.api}"
    fix = "none needed: commands start a temporary one"
    return Check(name="Prefect server", state="note", found=state, fix=fix)


def _check_torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check(name="torch loads", state="missing", found=str(error), fix=_REINSTALL)
    cores = os.cpu_count() or 1
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0)
    else:
        device = "no GPU (none is needed at tiny size)"
    installed = f"{torch.__version__}, {torch.get_num_threads()} of {cores} cores, {device}"
    return Check(name="torch loads", state="ok", found=installed)


# Health of the full size: which published checkpoints are here, and how to fetch the others.


def check_published(folder: Path) -> list[Check]:
    """A check for each checkpoint, in ``folder`` or in the hub's cache on this machine.

    Args:
        folder: Holds a folder for each, by name; it need not exist.
    """
    checks: list[Check] = []
    for checkpoint in CHECKPOINTS:
        located = find_checkpoint(checkpoint, folder)
        about = f"{checkpoint.size_bytes / 1e9:.1f} GB, {checkpoint.licence}; {checkpoint.purpose}"
        if located.usable:
            checks.append(Check(name=checkpoint.name, state="ok", found=f"{located.folder}: {about}"))
            continue
        fault = "not here"
        if located.folder is not None:
            wrong = [f"no {name}" for name in located.absent] + [
                f"{name} is truncated" for name in located.damaged
            ]
            fault = f"{located.folder}: {', '.join(wrong)}"
        fix = checkpoint.fetch_command(folder)
        state = "note" if checkpoint.optional else "missing"
        checks.append(Check(name=checkpoint.name, state=state, found=f"{fault} ({about})", fix=fix))
    return checks


def training_needs(profile: Profile, gpu: str, count: int) -> list[dict[str, Any]]:
    """Memory and hours of trainings at SDXL's size on ``count`` such GPUs; half a minute of walking.

    Args:
        profile: Its settings are those that cycles, rounds and commands use.
        gpu: A name in ``GPUS``.
        count: Number of GPUs.

    Raises:
        InputError: If nothing is known of such a GPU.
    """
    if gpu not in GPUS:
        raise InputError("--gpu", f"unknown GPU {gpu}; choose one of {', '.join(GPUS)}")
    return [plan.told(GPUS[gpu], count) for plan in full_plans(profile)]
