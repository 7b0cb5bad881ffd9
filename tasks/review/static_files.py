"""Serve the page's files. They are read once at the start; a requested name is looked up, never opened."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent."""

    content: bytes
    media_type: str


class PageFiles:
    """Files by their path below ``page/``, and their common version."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): PageFile(path.read_bytes(), _media_type(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(f"{name}:{len(file.content)}:".encode() + file.content)
        self.version = digest.hexdigest()[:12]
        """12 hexadecimal digits. Another byte in any file gives another version."""

    @property
    def index(self) -> PageFile:
        """``index.html``. It requests its assets under this version's path, whose content never changes."""
        plain = self._files["index.html"]
        versioned = plain.content.replace(b'"static/', f'"static/{self.version}/'.encode())
        return PageFile(versioned, plain.media_type)

    def find(self, path: str) -> tuple[PageFile | None, bool]:
        """The file of a path below ``/static/``, and whether the path names this version."""
        name = path.removeprefix(f"{self.version}/")
        return self._files.get(name), name != path


def _media_type(path: Path) -> str:
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
