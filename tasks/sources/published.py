"""The data sets that are read in the layout in which their authors publish them."""

from pathlib import Path

from data_specs.reject import IgnoredReason
from tasks.sources.coco import COCO_PARTS, CocoConfig, list_coco
from tasks.sources.found_files import Found, Listing, found_below, unless_named
from tasks.sources.mulan import MulanConfig, list_mulan
from tasks.sources.ober import OBER_DATA, OberConfig, count_ober_rows, ober_files
from tasks.sources.rord import RORD_PARTS, RordConfig, list_rord
from tasks.sources.sa1b import Sa1bConfig, list_sa1b

ListedConfig = RordConfig | MulanConfig | CocoConfig | Sa1bConfig
"""Data sets whose records are files with names."""
PublishedConfig = ListedConfig | OberConfig


def listing_of(config: ListedConfig) -> Listing:
    """What the data set holds.

    Raises:
        InputError: If it cannot be read at all.
    """
    if isinstance(config, RordConfig):
        return list_rord(config)
    if isinstance(config, MulanConfig):
        return list_mulan(config)
    return list_coco(config.path) if isinstance(config, CocoConfig) else list_sa1b(config.path)


def count_published(config: PublishedConfig) -> Found:
    """Count the data set's records, and the other files below its folder.

    Raises:
        InputError: As ``listing_of``.
    """
    if isinstance(config, OberConfig):
        read = {str(path.relative_to(config.path)) for path in ober_files(config)}
        return found_below(
            count_ober_rows(config),
            config.path,
            linked_parts(config),
            lambda name: None if name in read else IgnoredReason.OTHER_PART,
        )
    listing = listing_of(config)
    reason_of = unless_named(config.path, listing.named)
    return found_below(len(listing.records), config.path, linked_parts(config), reason_of)


def linked_parts(config: PublishedConfig) -> tuple[str, ...]:
    """The folders directly in the data set that may be links to elsewhere."""
    if isinstance(config, RordConfig):
        return RORD_PARTS
    if isinstance(config, OberConfig):
        return (OBER_DATA,)
    return COCO_PARTS if isinstance(config, CocoConfig) else ()


def paths_of(config: PublishedConfig) -> set[Path]:
    """The files that decide what the data set is.

    Raises:
        InputError: As ``listing_of``.
    """
    if isinstance(config, OberConfig):
        return set(ober_files(config))
    listing = listing_of(config)
    return {config.path / name for name in listing.named}.union(listing.beside)
