"""What the generated pages read of the code itself: its files, and who mentions a name."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("data_specs", "models", "tasks", "flows", "deploy")


def files(*patterns: str) -> dict[str, str]:
    """Text of the product's files by path from the root, sorted."""
    found = {path for package in PACKAGES for pattern in patterns for path in (ROOT / package).rglob(pattern)}
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(found)
        if path.is_file()
    }
