"""Which code this is: the git revision of cleanplate's own checkout, or the version that is installed."""

import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).parents[2]
"""The folder that holds the rooms: the checkout's, where there is one."""


@lru_cache(maxsize=1)
def code_revision() -> str:
    """40 hexadecimal digits, ``-dirty`` behind where tracked files were changed; else ``cleanplate 0.1.0``.

    Asked once a process: a file changed while it runs changes nothing of what is running.
    """
    top = _git("rev-parse", "--show-toplevel")
    # A package installed inside somebody else's checkout must not name theirs.
    if top and Path(top).resolve() == _ROOT.resolve():
        return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        return f"cleanplate {version('cleanplate')}"
    except PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    """What git answers; empty where there is no git, or no checkout."""
    try:
        asked = ["git", "-C", str(_ROOT), *words]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
