"""Writes docs/development/code-map.md: every Python file of the packages with its own first line."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "development" / "code-map.md"
PACKAGES = ("data_specs", "models", "tasks", "flows", "deploy", "benchmarks")
HEADING = """\
# Code map

This page lists every Python file with the first line of its docstring. `make map` writes the page,
and a test keeps it true. [Architecture](architecture.md) explains the layers.
"""
_WIDTH = 100


def tracked_files(root: Path) -> list[str]:
    """Paths of the project's own files, relative to ``root`` with forward slashes, sorted.

    Git's list inside a repository; outside one, every file that lies in no hidden or built folder.
    """
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        paths = (root / name for name in listing.stdout.split("\0") if name)
        return sorted(path.relative_to(root).as_posix() for path in paths if path.is_file())
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(map(_is_built, path.parts[:-1])))


def _is_built(folder: str) -> bool:
    is_hidden = folder.startswith(".") and folder != ".ci"
    return is_hidden or folder in {"__pycache__", "build", "dist", "site"} or folder.endswith(".egg-info")


def first_line(path: Path) -> str:
    """The first line of a file's docstring; raises ValueError naming the file when it has none."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path}: has no docstring, so the map has nothing to say of it")
    return docstring.splitlines()[0].replace("``", "`")


def render_map(root: Path) -> str:
    """The whole page as Markdown: a heading for each folder, its own line, then a line for each file."""
    names = [name for name in tracked_files(root) if name.endswith(".py")]
    blocks = [HEADING]
    for package in PACKAGES:
        inside = [name for name in names if name.startswith(f"{package}/")]
        folders = sorted({str(PurePosixPath(name).parent) for name in inside})
        blocks += [_folder_block(root, folder, inside) for folder in folders]
    return "\n".join(blocks)


def _folder_block(root: Path, folder: str, names: list[str]) -> str:
    level = "##" if "/" not in folder else "###"
    lines = [f"{level} `{folder}/`", ""]
    own = [name for name in names if str(PurePosixPath(name).parent) == folder]
    if f"{folder}/__init__.py" in own:
        lines += [textwrap.fill(first_line(root / folder / "__init__.py"), _WIDTH), ""]
    files = [name for name in own if not name.endswith("/__init__.py")]
    lines += [_bullet(name, first_line(root / name)) for name in files]
    return "\n".join(lines).rstrip() + "\n"


def _bullet(name: str, line: str) -> str:
    text = f"- `{name}`: {line}"
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def main() -> int:
    """Writes the page, or with ``--check`` only says whether it is true; 0 when it is."""
    wanted = render_map(ROOT)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        print(f"{PAGE.relative_to(ROOT)}: is out of date; run `make map`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
