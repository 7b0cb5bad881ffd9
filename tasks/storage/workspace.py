"""Open a workspace: the ledger, the shards, the versions, the models and the reports of one project."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from data_specs.errors import InputError, LedgerError
from data_specs.keys import Split
from data_specs.shard import ShardRef
from tasks.storage.atomic_files import sweep_asides
from tasks.storage.ledger import Ledger, is_new_ledger, open_ledger
from tasks.storage.ledger.database import RESTORE
from tasks.storage.object_store import Store, store_of, stored_at, working_folder

LEDGER_VARIABLE = "CLEANPLATE_LEDGER"
LEDGER_FILE = "ledger_url"
MARK, _MARK_DATA = "workspace.json", b'{"cleanplate": 1}\n'
"""Marks a store's prefix as a workspace."""
_ADDRESSES = "sqlite:////a/file or postgresql+psycopg://person:password@host/database"


@dataclass(frozen=True)
class Workspace:
    """The location of everything in one project. It holds only a path and can be pickled and forked."""

    root: Path
    """The folder to work in: the workspace itself, or the cache of its store."""

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
        """Reports for people."""
        return self.root / "reports"

    @property
    def store(self) -> Store:
        """The store that keeps shards, versions and models permanently."""
        return store_of(self.root)

    @property
    def address(self) -> str:
        """The address for people: its folder, or its store's address."""
        return stored_at(self.root) or str(self.root)

    def fetched(self, folder: str) -> Path:
        """The folder of a model, by its path in the workspace. It is copied here if needed.

        Raises:
            StoreError: If the store does not answer, or has lost a part.
        """
        self.store.fetch_tree(folder)
        return self.root / folder

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy's address of the ledger: the configured one, or a SQLite file in the workspace.

        Raises:
            InputError: If the configured address is neither SQLite nor PostgreSQL, or if none is configured
                and the folder is only a cache.
        """
        named = self._named_ledger()
        if named is not None:
            return _checked_url(*named)
        if stored_at(self.root) is not None:
            raise InputError(
                self.address, f"its ledger is not in the store; set {LEDGER_VARIABLE} to {_ADDRESSES}"
            )
        return sa.URL.create("sqlite", database=str(self._own_ledger)).render_as_string()

    @property
    def _own_ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    def _named_ledger(self) -> tuple[object, str] | None:
        """What configures a ledger elsewhere, and its address: the environment, or the workspace's file."""
        address = os.environ.get(LEDGER_VARIABLE, "").strip()
        if address:
            return LEDGER_VARIABLE, address
        file = self.root / LEDGER_FILE
        return (file, file.read_text().strip()) if file.is_file() else None

    def ledger(self, keep_connections: bool = False) -> Ledger:
        """The ledger, opened anew by each process; this is cheap. A server keeps its connections."""
        return open_ledger(self.ledger_url, keep_connections)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Make the folders, remove the temporary files of dead writers, and upgrade the ledger.

        Raises:
            InputError: If the path is no folder, and none can be made there.
            LedgerError: If the ledger cannot be opened, or its file is empty although there are shards.
            StoreError: If the store does not answer.
        """
        workspace = cls(working_folder(path))
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
            raise InputError(
                workspace.root,
                f"cannot be used as a workspace ({error.strerror}); name another with --workspace",
            ) from error
        for folder in folders:
            sweep_asides(folder)
        workspace._look_for_a_lost_ledger()
        workspace.ledger()
        if stored_at(workspace.root) is not None:
            workspace.store.create(MARK, _MARK_DATA)
        return workspace

    @classmethod
    def existing(cls, path: Path | str) -> Self:
        """Open an existing workspace.

        Raises:
            InputError: If there is none.
            LedgerError: If its ledger cannot be opened.
            StoreError: If its store does not answer.
        """
        workspace = cls(working_folder(path))
        if stored_at(workspace.root) is not None:
            there = workspace.store.read(MARK) is not None
        elif workspace._named_ledger() is not None:
            there = workspace.shards_dir.is_dir()
        else:
            there = workspace._own_ledger.exists()
            if not there and workspace._has_shards():
                raise LedgerError(
                    f"{workspace._own_ledger}: the ledger is missing, but shards are there; {RESTORE}"
                )
        if not there:
            raise InputError(
                path, "there is no workspace here; name one with --workspace, or run `cleanplate demo`"
            )
        return cls.open(path)

    def _look_for_a_lost_ledger(self) -> None:
        """Report a lost ledger before a new one takes its place.

        Raises:
            LedgerError: If the workspace's own file is no ledger, or is empty although there are shards.
        """
        own = None if self._named_ledger() is not None or stored_at(self.root) else self._own_ledger
        if own is None:
            if is_new_ledger(self.ledger_url) and self._has_shards() and is_new_ledger(self.ledger_url):
                _warn(f"the ledger of {self.address} is new and lists none of the shards there; {RESTORE}")
        elif not own.exists():
            if self._has_shards():
                _warn(f"{own} was missing, so a new ledger was made; {RESTORE}")
        elif not own.is_file():
            raise LedgerError(f"{own}: is not a file; {RESTORE}")
        elif own.stat().st_size == 0 and self._has_shards() and own.stat().st_size == 0:
            # Checked twice: another process may have just created it and written the first shard.
            raise LedgerError(f"{own}: the ledger is empty, but shards are there; {RESTORE}")

    def _has_shards(self) -> bool:
        if stored_at(self.root) is not None:
            return bool(self.store.names("shards"))
        return self.shards_dir.is_dir() and any(self.shards_dir.glob("*.tar"))


def items_of(workspace: Workspace, refs: Sequence[ShardRef], split: Split | None = None) -> list[str]:
    """Keys of the samples of some shards that belong to a split (None = any), in order."""
    held = workspace.ledger().shards.samples_in([ref.name for ref in refs], split)
    return [row.key for ref in refs for row in held[ref.name]]


def _warn(sentence: str) -> None:
    print(f"cleanplate: {sentence}", file=sys.stderr)


def _checked_url(where: object, address: str) -> str:
    """The address, after a check. SQLAlchemy's own errors would show a password."""
    try:
        dialect = sa.make_url(address).get_dialect()
    except (ArgumentError, ImportError):
        dialect = None
    if dialect is None or dialect.name not in ("sqlite", "postgresql"):
        raise InputError(where, f"names no ledger; write {_ADDRESSES}")
    try:
        dialect.import_dbapi()
    except ImportError as error:
        raise InputError(
            where,
            f"its driver {error.name} is missing; run `pip install 'cleanplate[postgresql]'`, and "
            f"write {_ADDRESSES}",
        ) from error
    return address
