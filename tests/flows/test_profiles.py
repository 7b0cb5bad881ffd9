"""A config takes from its profile what its user leaves out, field by field; what cannot be is refused."""

import json
from pathlib import Path
from typing import Any, TypeVar

import jsonschema
import pytest
from pydantic import ValidationError

from flows.nightly.candidates import NightlyCandidatesConfig
from flows.rorem.config import RoundConfig
from flows.rorem.cycle import CycleConfig
from flows.rorem.retrain import RetrainConfig
from flows.rorem.train_remover import RemoverTrainingConfig
from models.profiles import PROFILES, Profiled
from models.training.loop import TrainingConfig

FULL, TINY = PROFILES["full"], PROFILES["tiny"]
Config = TypeVar("Config", bound=Profiled)


def full(kind: type[Config], **given: Any) -> Config:
    """As a JSON file or a form gives it."""
    return kind.model_validate({"profile": "full", **given})


def test_a_part_of_a_setting_leaves_the_rest_to_the_profile() -> None:
    config = full(RoundConfig, retraining={"steps": 10_000}, distributed={"processes": 8})
    assert config.retraining == FULL.retraining.model_copy(update={"steps": 10_000})
    assert config.distributed == FULL.distributed.model_copy(update={"processes": 8})
    assert config.sampling == FULL.sampling
    assert config.discriminator == FULL.discriminator_shape


def test_nothing_set_is_the_tiny_profile() -> None:
    config = CycleConfig()
    assert config.retraining == TINY.retraining
    assert config.initialisation == TINY.remover
    assert (config.base, config.data, config.evaluation_source) == (None, "synthetic", "studio:")


@pytest.mark.parametrize(
    "config",
    [
        RoundConfig(profile="full"),
        CycleConfig(profile="full"),
        RetrainConfig(profile="full"),
        NightlyCandidatesConfig(profile="full"),
        RemoverTrainingConfig(profile="full", workspace=Path("w")),
    ],
    ids=lambda config: type(config).__name__,
)
def test_every_flow_samples_as_the_full_profile_says(config: Any) -> None:
    assert config.sampling == FULL.sampling
    assert getattr(config, "distributed", FULL.distributed) == FULL.distributed


def test_settings_made_in_python_are_taken_whole() -> None:
    training = TrainingConfig(steps=3)
    assert RoundConfig(profile="full", retraining=training).retraining == training


def test_a_config_that_is_stored_and_read_again_is_the_same() -> None:
    config = full(CycleConfig, initialisation={"steps": 5}, data="synthetic", base="weights/mine")
    assert CycleConfig.model_validate_json(config.model_dump_json()) == config


def test_a_form_in_which_nothing_was_typed_is_the_profile_alone() -> None:
    """Prefect's form sends null for every field that stays empty, inside of settings too."""
    empty = dict.fromkeys(TrainingConfig.model_fields)
    assert full(RoundConfig, retraining=empty, sampling=None) == RoundConfig(profile="full")


def test_the_form_has_no_default_that_would_hide_the_profile() -> None:
    schema = CycleConfig.model_json_schema()
    for name in ("retraining", "sampling", "distributed", "base", "data", "evaluation_source"):
        field = schema["properties"][name]
        assert field["default"] is None
        for part in field["anyOf"]:
            assert all(inner["default"] is None for inner in part.get("properties", {}).values())
    jsonschema.validate({"profile": "full", "retraining": {"steps": 9, "batch_size": None}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"retraining": {"stps": 9}}, schema)


def test_a_file_is_a_profile(tmp_path: Path) -> None:
    own = tmp_path / "small.json"
    changes = {"remover": {"steps": 7}, "distributed": {"micro_batch_size": 1}, "base": "weights/ours"}
    own.write_text(json.dumps({"extends": "full", **changes}))
    config = CycleConfig(profile=str(own))
    assert config.initialisation == FULL.remover.model_copy(update={"steps": 7})
    assert config.distributed.micro_batch_size == 1
    assert config.distributed.precision == "bfloat16"
    assert config.base == "weights/ours"


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"profile": "huge"}, "'huge' is no profile; write tiny, full or the path of a JSON file"),
        ({"retraining": {"stps": 9}}, "retraining has no setting 'stps'"),
        ({"retraining": {"steps": 0}}, "retraining: steps: Input should be greater than or equal to 1"),
        ({"retraining": 5}, "retraining: write the settings as"),
        (
            {"distributed": {"sharding": "fsdp", "optimizer": "adamw_8bit"}},
            "adamw_8bit cannot be sharded",
        ),
        ({"profile": "full", "distributed": {"processes": 3}}, "a batch of 128 cannot be divided evenly"),
        ({"profile": "full", "retraining": {"batch_size": 12}, "distributed": {"processes": 2}}, "12"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as error:
        RoundConfig.model_validate(given)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is not JSON"),
        ('{"remover": {}}', '"extends": "tiny"'),
        ('{"extends": "full", "remvoer": {}}', "has no setting 'remvoer'"),
        ('{"extends": "full", "remover": {"steps": -1}}', "greater than or equal to 1"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    own = tmp_path / "own.json"
    own.write_text(text)
    with pytest.raises(ValidationError) as error:
        RoundConfig(profile=str(own))
    assert fault in str(error.value)
