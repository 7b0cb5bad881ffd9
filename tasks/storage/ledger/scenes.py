"""Record the scenes of images: find the scene of an image, a video or a near image."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from data_specs import ledger as tables
from data_specs.scene_image import SceneImage
from tasks.storage.ledger.database import LedgerPart, chunked, insert_new

_table = tables.scene_images
_COLUMNS = [_table.c[field] for field in SceneImage.__dataclass_fields__]
_PART = 100_000


class SceneLedger(LedgerPart):
    """The part of the ledger for scenes."""

    def image(self, image: str) -> SceneImage | None:
        """The record of the image with this key. None if there is none."""
        return self._first_scene_image(_table.c.image == image)

    def of_lineage(self, lineage: str) -> SceneImage | None:
        """The first recorded image of a lineage. None if there is none."""
        return self._first_scene_image(_table.c.lineage == lineage)

    def images(self, sequences: Sequence[int]) -> dict[int, SceneImage]:
        """Images by their numbers."""
        query, found = sa.select(_table.c.sequence, *_COLUMNS), dict[int, SceneImage]()
        with self._database.reading() as connection:
            for chunk in chunked(sequences):
                for sequence, *values in connection.execute(query.where(_table.c.sequence.in_(chunk))):
                    found[sequence] = SceneImage(*values)
        return found

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
                insert_new(connection, _table, [asdict(each) for each in chunk])

    def _first_scene_image(self, where: sa.ColumnElement[bool]) -> SceneImage | None:
        query = sa.select(*_COLUMNS).where(where).order_by(_table.c.sequence).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
            return None if row is None else SceneImage(*row)
