"""Health of the full size: which published checkpoints are here, and how to fetch the others."""

from pathlib import Path

from flows.health import Check
from models.published import CHECKPOINTS, find_checkpoint


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
