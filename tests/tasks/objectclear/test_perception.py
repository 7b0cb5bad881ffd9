"""Which models see is a setting: the detector is chosen by its kind, and work is named by what was chosen."""

from models.perception.yolo import yolo_is_installed
from tasks.objectclear.perception import PerceptionConfig


def with_detector(**settings: object) -> PerceptionConfig:
    return PerceptionConfig.model_validate({"detector": settings})


def test_the_detector_and_its_words_name_the_work() -> None:
    configs = [
        with_detector(kind="yolo"),
        with_detector(kind="grounding_dino"),
        with_detector(kind="grounding_dino", words=["red box"]),
        with_detector(kind="grounding_dino", min_score=0.5),
    ]
    assert [config.detector.kind for config in configs] == ["yolo"] + ["grounding_dino"] * 3
    assert len({config.fingerprint for config in configs}) == 4
    assert PerceptionConfig() == configs[0 if yolo_is_installed() else 1]
    for config in configs:
        again = PerceptionConfig.model_validate_json(config.model_dump_json())
        assert again == config
        assert again.fingerprint == config.fingerprint
