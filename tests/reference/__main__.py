"""`python -m tests.reference` writes docs/reference/; with ``--check`` it only names pages out of date."""

import sys
from collections.abc import Callable

from tests.reference import cli, config, environment, ledger, rejects, shards
from tests.reference.code import ROOT

FOLDER = ROOT / "docs" / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.render,
    "config.md": config.render,
    "environment.md": environment.render,
    "ledger-schema.md": ledger.render,
    "reject-reasons.md": rejects.render,
    "shard-format.md": shards.render,
}


def main(arguments: list[str]) -> int:
    """0 when all pages are as they should be, at the end."""
    wanted = {FOLDER / name: render() for name, render in PAGES.items()}
    stale = [
        path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: out of date; run `make reference`", file=sys.stderr)
        return int(bool(stale))
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
