"""Scenes' pictures by their looks: which scene a picture, a film or a near picture has."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.scene_picture import ScenePicture
from tasks.storage.ledger.database import LedgerBase, chunked, insert_new

_table = tables.scene_pictures
_COLUMNS = [_table.c[field] for field in ScenePicture.__dataclass_fields__]
_PART = 100_000


class SceneLedger(LedgerBase):
    """The scenes' part of the ledger."""

    def scene_picture(self, picture: str) -> ScenePicture | None:
        """What is known of the picture of this key."""
        return self._first_scene_picture(_table.c.picture == picture)

    def scene_of_lineage(self, lineage: str) -> ScenePicture | None:
        """The first picture that was known of a lineage."""
        return self._first_scene_picture(_table.c.lineage == lineage)

    def scene_pictures(self, sequences: Sequence[int]) -> dict[int, ScenePicture]:
        """Pictures by their numbers."""
        query, found = sa.select(_table.c.sequence, *_COLUMNS), dict[int, ScenePicture]()
        with self._reading() as connection:
            for chunk in chunked(sequences):
                for sequence, *values in connection.execute(query.where(_table.c.sequence.in_(chunk))):
                    found[sequence] = ScenePicture(*values)
        return found

    def scene_hashes(self, after: int = 0) -> Iterator[list[tuple[int, int]]]:
        """(number, hash) of all pictures whose number is above ``after``, in order, some at a time."""
        query = sa.select(_table.c.sequence, _table.c.hash).where(_table.c.sequence > after)
        with self._reading() as connection:
            result = connection.execute(query.order_by(_table.c.sequence))
            for part in result.partitions(_PART):
                yield [(row.sequence, row.hash) for row in part]

    def record_scene_pictures(self, pictures: Sequence[ScenePicture]) -> None:
        """Adds pictures, all or none; one that is known stays as it was."""
        with self._writing() as connection:
            for chunk in chunked(pictures):
                insert_new(connection, _table, [asdict(each) for each in chunk])

    def _first_scene_picture(self, where: sa.ColumnElement[bool]) -> ScenePicture | None:
        query = sa.select(*_COLUMNS).where(where).order_by(_table.c.sequence).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).first()
            return None if row is None else ScenePicture(*row)
