"""Make dataset versions: immutable lists of samples that can be compared, rolled back and verified."""

from tasks.storage.dataset.verify import verify_dataset
from tasks.storage.dataset.versions import create_version, diff_versions, load_samples, rollback, selection_of

__all__ = [
    "create_version",
    "diff_versions",
    "load_samples",
    "rollback",
    "selection_of",
    "verify_dataset",
]
