"""A workspace: one folder with the ledger, the shards, the versions, the models and the reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from data_specs.errors import InputError
from tasks.aside import sweep_asides
from tasks.ledger import Ledger, open_ledger


@dataclass(frozen=True)
class Workspace:
    """Where everything of one project lies. Pickles and forks freely: it holds a path only."""

    root: Path

    @property
    def shards_dir(self) -> Path:
        """Tars and their indexes."""
        return self.root / "shards"

    @property
    def versions_dir(self) -> Path:
        """Manifests and their Parquet files."""
        return self.root / "versions"

    @property
    def models_dir(self) -> Path:
        """Weights and checkpoints."""
        return self.root / "models"

    @property
    def reports_dir(self) -> Path:
        """What people look at."""
        return self.root / "reports"

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy's address of the ledger."""
        database = str(self.root / "ledger.sqlite")
        return sa.URL.create("sqlite", database=database).render_as_string()

    def ledger(self) -> Ledger:
        """The ledger, opened anew; cheap, and each process must open its own."""
        return open_ledger(self.ledger_url)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Makes the folders, sweeps what dead writers left aside, and brings the ledger up to date.

        Raises:
            InputError: When the path is no folder and none can be made there.
            LedgerError: When the ledger cannot be opened.
        """
        workspace = cls(Path(path).expanduser().absolute())
        folders = [
            workspace.shards_dir,
            workspace.versions_dir,
            workspace.models_dir,
            workspace.reports_dir,
        ]
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(workspace.root, f"cannot be used as a workspace ({error.strerror})") from error
        for folder in folders:
            sweep_asides(folder)
        workspace.ledger()
        return workspace

    @classmethod
    def existing(cls, path: Path | str) -> Self:
        """Opens a workspace that must be there already.

        Raises:
            InputError: When there is none.
            LedgerError: When its ledger cannot be opened.
        """
        if not (Path(path).expanduser() / "ledger.sqlite").is_file():
            raise InputError(
                path, "there is no workspace here; name one with --workspace, or run `cleanplate demo`"
            )
        return cls.open(path)
