"""Count everything in a source without opening it: nothing is left out silently.

One is counted for each record (a triplet, a pair, an image, a row), and one for each file that is no part of
a record. The number found is therefore the sum of kept, refused and ignored.
"""

import os
from posixpath import normpath

from data_specs.reject import IgnoredReason, Reject
from tasks.sources.backgrounds import FolderBackgrounds
from tasks.sources.found_files import Found, found_below, in_parts, names_below, unless_named
from tasks.sources.image_files import images_in
from tasks.sources.openimages_pool import (
    POOL_PARTS,
    PoolConfig,
    PoolRows,
    classes_path,
    mask_archives,
    mask_file,
)
from tasks.sources.pairs import PAIR_PARTS, FolderPairs
from tasks.sources.paste_objects import OBJECT_PARTS, list_objects
from tasks.sources.pasted_pairs import (
    OBJECTS,
    HighResolutionConfig,
    linked_folders,
    objects_folder,
    photograph_folders,
    photographs_in,
)
from tasks.sources.published import PublishedConfig, count_published
from tasks.sources.triplet_files import (
    META_PARTS,
    TRIPLET_PARTS,
    FolderConfig,
    MetaJsonConfig,
    files_of_stems,
    load_records,
    names_in,
)

FilesConfig = (
    FolderConfig
    | MetaJsonConfig
    | PoolConfig
    | HighResolutionConfig
    | PublishedConfig
    | FolderPairs
    | FolderBackgrounds
)


def find_all(config: FilesConfig) -> Found:
    """Count a source's records, and the other files below its folder.

    Raises:
        InputError: If the source cannot be read at all.
    """
    if isinstance(config, MetaJsonConfig):
        return _of_meta_json(config)
    if isinstance(config, PoolConfig):
        return _of_pool(config)
    if isinstance(config, HighResolutionConfig):
        return _of_high_resolution(config)
    if isinstance(config, PublishedConfig):
        return count_published(config)
    if isinstance(config, FolderBackgrounds):
        return found_below(len(images_in(config.path)), config.path, (), in_parts(("",)))
    parts = TRIPLET_PARTS if isinstance(config, FolderConfig) else PAIR_PARTS
    records = sum(1 for _ in files_of_stems(config.path, parts))
    return found_below(records, config.path, parts, in_parts(parts))


def _of_meta_json(config: MetaJsonConfig) -> Found:
    records, root = load_records(config.path), config.path.parent
    return found_below(
        len(records), root, META_PARTS, unless_named(root, [config.path.name, *names_in(records)])
    )


def _of_pool(config: PoolConfig) -> Found:
    unnamed = set(names_below(config.path, POOL_PARTS))
    for table in (config.path / config.segmentation_csv, classes_path(config), *mask_archives(config)):
        unnamed.discard(str(table.relative_to(config.path)))
    rows, count = PoolRows(config), 0
    for row in rows:
        count += 1
        if not isinstance(row, Reject):
            mask_name, image_id, _ = row
            unnamed.discard(normpath(f"images/{image_id}.jpg"))
            unnamed.discard(normpath(f"masks/{mask_file(mask_name)}"))
    files = found_below(
        count,
        config.path,
        POOL_PARTS,
        lambda name: IgnoredReason.UNNAMED if name in unnamed else None,
    )
    if rows.empty_lines:
        files.ignored[IgnoredReason.EMPTY_LINE.value] = rows.empty_lines
        files.first[IgnoredReason.EMPTY_LINE.value] = config.segmentation_csv
    return files


def _of_high_resolution(config: HighResolutionConfig) -> Found:
    folders, objects = photograph_folders(config.path), objects_folder(config)
    _, named = list_objects(objects, config.max_pixels)
    is_inside = objects.is_relative_to(config.path)
    place = str(objects.relative_to(config.path)) if is_inside else None
    object_parts = [f"{OBJECTS}/{part}" for part in OBJECT_PARTS]
    reason_in_parts = in_parts((*folders, *object_parts))

    def reason_of(name: str) -> IgnoredReason | None:
        if place is not None and os.path.relpath(name, place) in named:
            return IgnoredReason.OBJECT
        if reason_in_parts(name) or os.path.dirname(name) in folders:
            return reason_in_parts(name)
        return IgnoredReason.LONELY_OBJECT

    parts = (*linked_folders(), OBJECTS, *object_parts)
    return found_below(len(photographs_in(config.path)), config.path, parts, reason_of)
