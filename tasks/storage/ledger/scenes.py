"""Record the scenes of images: find the scene of an image, a video or a near image."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.scene_image import SceneImage
from tasks.storage.ledger.database import LedgerPart, chunked, insert_new

_table = tables.scene_images
_COLUMNS = [_table.c[field] for field in SceneImage.__dataclass_fields__]
_PART = 100_000


class SceneLedger(LedgerPart):
    """The part of the ledger for scenes."""

    def of_images(self, images: Sequence[str]) -> dict[str, SceneImage]:
        """The records of the images with these keys. Unknown ones are left out."""
        return self._first_by(_table.c.image, images)

    def of_lineages(self, lineages: Sequence[str]) -> dict[str, SceneImage]:
        """The first recorded image of each lineage. Unknown ones are left out."""
        return self._first_by(_table.c.lineage, lineages)

    def images(self, sequences: Sequence[int]) -> dict[int, SceneImage]:
        """Images by their numbers."""
        query, images = sa.select(_table.c.sequence, *_COLUMNS), dict[int, SceneImage]()
        with self._database.reading() as connection:
            for chunk in chunked(sequences):
                for sequence, *values in connection.execute(query.where(_table.c.sequence.in_(chunk))):
                    images[sequence] = SceneImage(*values)
        return images

    def hashes(self, after: int = 0) -> Iterator[list[tuple[int, int]]]:
        """(number, hash) of all images with a number above ``after``, in order, in several lists."""
        query = sa.select(_table.c.sequence, _table.c.hash).where(_table.c.sequence > after)
        with self._database.reading() as connection:
            result = connection.execute(query.order_by(_table.c.sequence))
            for part in result.partitions(_PART):
                yield [(row.sequence, row.hash) for row in part]

    def record(self, images: Sequence[SceneImage]) -> None:
        """Add images, all or none. An existing one stays as it was."""
        with self._database.writing() as connection:
            for chunk in chunked(images):
                insert_new(connection, _table, [asdict(image) for image in chunk])

    def _first_by(self, column: sa.ColumnElement[Any], values: Sequence[str]) -> dict[str, SceneImage]:
        """By its value of a column, the image with the lowest number."""
        query, number = sa.select(column, *_COLUMNS), sa.func.min(_table.c.sequence)
        first: dict[str, SceneImage] = {}
        with self._database.reading() as connection:
            for chunk in chunked(list(dict.fromkeys(values))):
                numbers = sa.select(number).where(column.in_(chunk)).group_by(column)
                for value, *facts in connection.execute(query.where(_table.c.sequence.in_(numbers))):
                    first[value] = SceneImage(*facts)
        return first
