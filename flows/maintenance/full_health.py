"""Health of the full size: which published checkpoints are here, and how to fetch the others."""

from pathlib import Path
from typing import Any

from data_specs.errors import InputError
from flows.maintenance.doctor import Check
from models.diffusion.checkpoints import CHECKPOINTS, find_checkpoint
from models.gpu_plan import GPUS, full_plans
from models.profiles import PROFILES


def check_published(folder: Path) -> list[Check]:
    """A check for each checkpoint, in ``folder`` or in the hub's cache on this machine.

    Args:
        folder: Holds a folder for each, by name; it need not exist.
    """
    checks: list[Check] = []
    for each in CHECKPOINTS:
        found = find_checkpoint(each, folder)
        about = f"{each.size_bytes / 1e9:.1f} GB, {each.licence}; {each.purpose}"
        if found.usable:
            checks.append(Check(name=each.name, state="ok", found=f"{found.folder}: {about}"))
            continue
        fault = "not here"
        if found.folder is not None:
            wrong = [f"no {name}" for name in found.absent] + [
                f"{name} is cut short" for name in found.damaged
            ]
            fault = f"{found.folder}: {', '.join(wrong)}"
        mend = each.fetch_command(folder)
        checks.append(Check(name=each.name, state="missing", found=f"{fault} ({about})", mend=mend))
    return checks


def training_needs(gpu: str, count: int) -> list[dict[str, Any]]:
    """Memory and hours of the full-size trainings on ``count`` such GPUs; half a minute of walking.

    Raises:
        InputError: If nothing is known of such a GPU.
    """
    if gpu not in GPUS:
        raise InputError("--gpu", f"there is no {gpu}; choose one of {', '.join(GPUS)}")
    return [plan.told(GPUS[gpu], count) for plan in full_plans(PROFILES["full"])]
