"""The kinds of results that the ledger keeps, each of its own record."""

from typing import Literal

ResultKind = Literal[
    "phase",
    "phase_start",
    "review_choice",
    "retraining",
    "discriminator",
    "remover_training",
    "discriminator_training",
    "object_clear_training",
    "weights_training",
    "evaluation",
    "shard",
    "ingest",
    "night",
    "night_discriminator",
    "night_parent",
    "suspended_run",
    "event",
    "published",
]
"""By run and name: ``phase`` a finished phase of a cycle; ``phase_start`` what a phase, a retraining or a
night started from; ``review_choice`` the pool items that a human phase chose to ask about; ``retraining`` a
finished retraining of a dataset version; ``discriminator`` a round's discriminator with its measures;
``night`` a finished night; ``night_discriminator`` and ``night_parent`` what a night chose.

By the digest of a work, without a run: ``remover_training``, ``discriminator_training``,
``object_clear_training`` and ``weights_training`` a finished training; ``shard`` kept and rejected samples;
``ingest`` the same, with how far the source was read.

``evaluation``: by the remover's hash and a digest of the images. ``suspended_run``: by the batch that the
flow run waits for. ``event``: by the batch, and Prefect's address that got the event.
``published``: a run's step whose pages are made."""
