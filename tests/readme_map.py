"""Writes the README's map: every file of the rooms with its own first line, so the map stays true."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data_specs", "models", "tasks", "flows", "deploy", "benchmarks")
START, END = "<!-- map:start -->", "<!-- map:end -->"


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
    return is_hidden or folder in {"__pycache__", "build", "dist"} or folder.endswith(".egg-info")


def first_line(path: Path) -> str:
    """The first line of a file's docstring; raises ValueError naming the file when it has none."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{path}: has no docstring, so the map has nothing to say of it")
    return docstring.splitlines()[0].replace("``", "`")


def render_map(root: Path) -> str:
    """The map as Markdown, without its markers: one heading a room in reading order, one line a file."""
    files = [name for name in tracked_files(root) if name.endswith(".py")]
    lines: list[str] = []
    for room in ROOMS:
        inside = [name for name in files if name.startswith(f"{room}/")]
        # A folder speaks before the files in it.
        inside.sort(key=lambda name: name.removesuffix("__init__.py"))
        lines += ["", f"### `{room}/`", ""] if inside else []
        for name in inside:
            label = name.removeprefix(f"{room}/").removesuffix("__init__.py") or "__init__.py"
            lines.append(f"- [`{label}`]({name}) {first_line(root / name)}")
    return "\n".join(lines).strip()


def with_map(readme: str, map_text: str) -> str:
    """The README with ``map_text`` between its markers; raises ValueError when they are missing."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"README.md: needs the lines {START} and {END}")
    return f"{before}{START}\n\n{map_text}\n\n{END}{after}"


def main() -> int:
    """Rewrites the README, or with ``--check`` only says whether it is true; 0 when it is."""
    path = ROOT / "README.md"
    readme = path.read_text(encoding="utf-8")
    wanted = with_map(readme, render_map(ROOT))
    if "--check" not in sys.argv[1:]:
        path.write_text(wanted, encoding="utf-8")
        return 0
    if readme != wanted:
        print("README.md: its map is out of date; run `make map`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
