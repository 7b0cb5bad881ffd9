"""A run's identity: what decides its outcome names it, and nothing else does."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ConfigDict

from data_specs.keys import derive_key
from data_specs.review_batch import QueuePolicy
from flows.nightly.candidates import NightlyCandidatesConfig
from flows.rorem.config import RoundConfig, RunIdentity


def test_runs_of_the_version_before_keep_their_key() -> None:
    """It was the digest of the whole form but these fields."""
    later = {"keep", "purity", "labelled_pairs", "review_choice", "image_format"}
    outside = {"workspace", "round", "workers", "profile", "distributed"}
    for changes in ({}, {"seed": 7, "human_review": QueuePolicy(), "variants": ("left",)}):
        config = RoundConfig.model_validate({**changes, "labelled_pairs": 0})
        form = config.model_dump_json(exclude=outside | later)
        assert config.identity.key == derive_key("rorem", form)


def test_each_setting_of_the_form_decides_or_does_not(tmp_path: Path) -> None:
    outside = RoundConfig.model_fields.keys() - RunIdentity.model_fields.keys()
    assert outside == {"workspace", "round", "workers", "profile", "distributed"}
    assert RunIdentity.model_fields.keys() - RoundConfig.model_fields.keys() == {"numerics"}
    assert RoundConfig(workspace=tmp_path, round=3).identity == RoundConfig().identity


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"score_threshold": 0.8},
        {"human_review": QueuePolicy()},
        {"distributed": {"precision": "bfloat16"}},
        {"image_format": "jpeg"},
    ],
)
def test_what_decides_changes_the_key(changes: dict[str, object]) -> None:
    assert RoundConfig.model_validate(changes).identity.key != RoundConfig().identity.key


def test_a_setting_added_later_changes_only_the_runs_that_use_it() -> None:
    class Later(RunIdentity):
        model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, from_attributes=True)
        added: str = "as before"

    now = RoundConfig().identity
    assert Later.of(RoundConfig()).key == now.key
    assert Later(**dict(now), added="otherwise").key != now.key


@pytest.mark.parametrize(
    ("settings", "image_format"),
    [
        ({}, "png"),
        ({"profile": "full"}, "jpeg"),
        ({"profile": "full", "image_format": "png"}, "png"),
        ({"image_format": "jpeg"}, "jpeg"),
    ],
)
def test_the_image_format_is_the_profiles_or_the_users(settings: dict[str, str], image_format: str) -> None:
    config = RoundConfig.model_validate(settings)
    assert config.proposal.image_format == image_format
    assert NightlyCandidatesConfig.model_validate(settings).image_format == image_format
