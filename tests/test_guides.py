"""docs/guides: what they say to type is read by its programs, and what they list is what there is."""

import json
import math
import re
import shlex
from pathlib import Path

import pytest

from data_specs.reject import RejectReason
from data_specs.review import Decision
from data_specs.review_batch import QueuePolicy
from flows.nightly.candidates import NightlyCandidatesConfig
from flows.objectclear.compositing import CompositingConfig
from flows.rorem.config import RoundSettings
from flows.rorem.cycle_config import CycleConfig
from flows.rorem.train_remover import RemoverTrainingConfig
from models.diffusion.checkpoints import CHECKPOINTS
from models.perception.weights import SHIPPED
from models.profiles import PROFILES
from tasks.objectclear.export_ober import ober_schema
from tasks.review import quality
from tests.deploy.written_commands import ROOT, blocks, read_command

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs/guides").glob("*.md")}
COMMANDS = sorted({line for page in PAGES.values() for line in blocks(page)})
FOLDERS = (
    *("my-pairs", "my-photos", "my-clips", "photographs", "weights/sdxl-inpainting", "weights/metrics"),
    *("openimages", "div2k", "RORD", "mulan", "coco", "sa1b", "OBER"),
)
FILES = ("street.mp4", "RORem/meta.json", "answers.json")


def rows(page: str, *headings: str) -> list[list[str]]:
    """The body of the page's one table with these first headings, cell by cell."""
    tables = re.findall(r"(?:^\|.*\n)+", PAGES[page], re.MULTILINE)
    cells = [[[each.strip() for each in line.split("|")[1:-1]] for line in t.splitlines()] for t in tables]
    [found] = [each for each in cells if tuple(each[0][: len(headings)]) == headings]
    return found[2:]


@pytest.fixture
def named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the pages speak of, where the command line looks whether they are there."""
    monkeypatch.chdir(tmp_path)
    for name in FOLDERS:
        (tmp_path / name).mkdir(parents=True)
    for name in (*FILES, *re.findall(r"docs/examples/[\w-]+\.json", "\n".join(COMMANDS))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")


def test_there_is_a_guide_for_each_subject() -> None:
    subjects = (
        "evaluation",
        "full-size",
        "human-review",
        "ingest",
        "objectclear",
        "removal",
        "rorem",
        "training",
    )
    assert tuple(sorted(PAGES)) == subjects


@pytest.mark.usefixtures("named_files")
@pytest.mark.parametrize("command", [each for each in COMMANDS if not each.startswith("hf ")])
def test_what_is_to_be_typed_can_be_typed(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "accelerate":
        words = ["cleanplate", *words[words.index("flows.cli.main") + 1 :]]
    read_command(words)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"docs/examples/[\w.-]+", "\n".join(PAGES.values())))))
def test_an_example_that_a_guide_names_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize(("page", "heading"), [("ingest", "Reason"), ("objectclear", "A pair is refused as")])
def test_the_reasons_are_those_of_the_code(page: str, heading: str) -> None:
    named = [cell for cell, *_ in rows(page, heading)]
    reasons = {each.value for each in RejectReason}
    unknown = [each for each in named if each not in reasons and not set(each.split(", ")) <= reasons]
    assert len(named) > 5
    assert unknown == []


def test_a_batch_has_the_defaults_that_the_guide_states() -> None:
    stated = {
        option.strip("`-").replace("-", "_"): value for option, value, _ in rows("human-review", "Option")
    }
    policy = QueuePolicy()
    assert {name: value.strip("`") for name, value in stated.items()} == {
        name: f"{getattr(policy, name):g}" if name != "order" else policy.order for name in stated
    }
    assert stated.keys() == QueuePolicy.model_fields.keys()


def test_a_reviewer_is_flagged_when_the_guide_says_so() -> None:
    stated = {flag: re.findall(r"[\d.]+", when.rstrip(".")) for flag, when in rows("human-review", "Flag")}
    answers = str(quality.MIN_ANSWERS)
    assert stated == {
        "answers too fast": [answers, str(quality.TOO_FAST_S)],
        "always says the same": [answers, f"{100 * quality.ALIKE:g}"],
        "often wrong on gold": [f"{quality.MIN_ANSWERS / 4:g}", f"{100 * quality.MIN_RIGHT:g}"],
    }


def test_the_example_of_kappa_is_what_the_code_computes() -> None:
    both, none, one_only = 75, 15, 5
    first = [True] * both + [False] * none + [True] * one_only + [False] * one_only
    second = [True] * both + [False] * none + [False] * one_only + [True] * one_only
    assert sum(first) == sum(second) == 80
    assert f"{quality.cohen_kappa(first, second):.2f}" == "0.69"
    assert "= 0.69" in PAGES["human-review"]


def test_a_round_has_the_defaults_that_the_guide_states() -> None:
    settings = RoundSettings()
    numbers = {name.strip("`"): value for name, value, *_ in rows("rorem", "Setting", "Default")}
    named = [name for name, value in numbers.items() if re.fullmatch(r"[\d.]+", value)]
    assert len(named) == 6
    assert {name: numbers[name] for name in named} == {name: f"{getattr(settings, name)}" for name in named}
    assert numbers["variants"] == f"{len(settings.variants)} mask variants"
    assert numbers["evaluation_source"] == f"`{settings.evaluation_source}`"
    assert numbers["retraining"] == f"{settings.retraining.steps} steps"
    assert {"human_review", "workers"} < RoundSettings.model_fields.keys()


def test_the_full_profile_is_as_the_guide_states() -> None:
    full = PROFILES["full"]
    trainings = {
        "remover": full.remover,
        "discriminator": full.discriminator,
        "distillation": full.distillation,
        "ObjectClear": full.object_clear,
    }
    assert {name: cells[:5] for name, *cells in rows("training", "Training", "Steps")} == {
        name: [
            f"{each.steps:,}",
            f"{each.batch_size}",
            f"{each.learning_rate:.0e}".replace("e-0", "e-") + f", {each.schedule}",
            f"{each.warmup_steps}",
            f"{each.ema_decay}",
        ]
        for name, each in trainings.items()
    }


def test_a_config_file_changes_single_fields_of_the_profile() -> None:
    [part] = re.findall(r'`(\{"distributed".+\})` keeps', PAGES["training"])
    config = RemoverTrainingConfig.model_validate({"workspace": "x", "profile": "full", **json.loads(part)})
    assert config.distributed is not None
    assert config.distributed.micro_batch_size == 8
    assert (config.distributed.precision, config.distributed.gradient_checkpointing) == ("bfloat16", True)
    assert config.training == PROFILES["full"].remover


def test_a_profile_of_ones_own_extends_another(tmp_path: Path) -> None:
    [text] = re.findall(r'`(\{"extends".+\}\})`', PAGES["training"])
    file = tmp_path / "own.json"
    file.write_text(text)
    remover = RemoverTrainingConfig.model_validate({"workspace": "x", "profile": str(file)}).training
    assert remover == PROFILES["full"].remover.model_copy(update={"steps": 9})


def test_the_weights_are_fetched_as_the_doctor_says() -> None:
    [line] = [each for each in blocks(PAGES["training"]) if each.startswith("hf ")]
    assert line == CHECKPOINTS[0].fetch_command(Path("weights"))


def test_the_walkthrough_fetches_what_the_doctor_looks_for() -> None:
    fetched = re.findall(r"^hf download .*--include.*$", PAGES["full-size"], re.MULTILINE)
    commands = {each.name: each.fetch_command(Path("weights")) for each in CHECKPOINTS if not each.optional}
    by_file = commands.pop("sam-vit-h")
    assert fetched == list(commands.values())
    # The page says the same in two lines, under another file's name.
    [address] = re.findall(r"https://\S+sam\S+\.pth", by_file)
    assert f"curl -L -o weights/sam_vit_h.pth {address}\n" in PAGES["full-size"]
    assert "convert sam weights/sam_vit_h.pth weights/sam-vit-h\n" in PAGES["full-size"]


def test_the_walkthroughs_hours_follow_from_the_rates_of_the_training_guide() -> None:
    full = PROFILES["full"]
    trainings = {
        "One training of the remover": (full.remover, "remover, 4 passes of 4 accumulated"),
        "The discriminator": (full.discriminator, "discriminator, 4, gradient checkpointing"),
        "ObjectClear": (full.object_clear, "ObjectClear, 4, gradient checkpointing"),
    }
    rates = {name: float(rate) for name, _, rate, *_ in rows("training", "Training and samples at once")}
    stated = {step: float(hours) for step, _, hours in rows("full-size", "Step") if hours.isdigit()}
    for step, (training, measured) in trainings.items():
        hours = training.steps * training.batch_size / 8 / rates[measured] / 3600
        assert abs(stated[step] - hours) < 1, step
    [cycle] = [float(hours) for step, _, hours in rows("full-size", "Step") if "A cycle" in step]
    assert cycle == 4 * stated["One training of the remover"] + stated["The discriminator"]


def test_the_walkthroughs_files_are_configs_of_the_full_profile() -> None:
    shown = re.findall(r"^```json\n(.*?)^```", PAGES["full-size"], re.M | re.S)
    files = [(ROOT / "docs/examples" / name).read_text() for name in ("cycle.json", "composite.json")]
    assert shown == files
    cycle, composite = map(json.loads, files)
    config = CycleConfig.model_validate({"profile": "full", **cycle})
    assert (config.base, config.data) == ("weights/sdxl-inpainting", "workspace")
    assert config.retraining.batch_size == 128
    assert config.human_review is not None
    seeing = CompositingConfig.model_validate(composite).perception
    models = (seeing.detector, seeing.segmenter, seeing.ground, seeing.depth)
    folders = [model.weights for model in models]
    assert SHIPPED not in [folder.parent for folder in folders]
    fetched = re.findall(r"(?:--local-dir |convert sam weights/sam_vit_h.pth )(\S+)", PAGES["full-size"])
    assert {str(folder) for folder in folders} < set(fetched)


def test_the_hours_at_full_size_follow_from_the_measured_rows() -> None:
    full = PROFILES["full"]
    measured = {
        name: float(steps) * (16 if "4 passes" in name else 8)
        for name, steps, *_ in rows("training", "Training and samples at once")
        if name in ("remover, 4 passes of 4 accumulated", "remover, 8, gradient checkpointing")
    }
    samples = full.remover.steps * full.remover.batch_size
    of_four, of_eight = (
        samples / 8 / rate / 3600 for _, rate in sorted(measured.items(), key=lambda each: each[1])
    )
    assert f"**50,000 steps take {of_four:.0f} hours**" in PAGES["training"]
    assert f"would take {of_eight:.0f} hours" in PAGES["training"]
    assert full.distributed.micro_batch_size == 4


def test_candidates_are_started_now_with_settings_of_the_form() -> None:
    [line] = [each for each in blocks(PAGES["training"]) if "--param" in each]
    name, _, value = shlex.split(line)[-1].partition("=")
    config = NightlyCandidatesConfig.model_validate_json(value)
    assert name == "config"
    assert config.sampling == PROFILES["full"].sampling
    assert config.run_date is not None


def test_the_uncertainty_of_kappa_is_that_of_its_example() -> None:
    agreed, by_chance = 0.90, 0.68
    for items, stated in ((100, "±0.18"), (20, "±0.41")):
        error = 1.96 * math.sqrt(agreed * (1 - agreed) / items) / (1 - by_chance)
        assert f"±{error:.2f}" == stated
        assert stated in PAGES["human-review"]


def test_the_sample_output_of_quality_holds_together() -> None:
    """The 40 items that all three answered: made up here, and computed by the code."""
    ada = [True] * 28 + [False] * 12
    cleo = [False] * 2 + [True] * 26 + [False] * 11 + [True]
    ben = [True] * 35 + [False] + [True] * 4
    for pair, (first, second) in {"ada and ben": (ada, ben), "ada and cleo": (ada, cleo),
                                  "ben and cleo": (ben, cleo)}.items():  # fmt: skip
        agreed = sum(one == other for one, other in zip(first, second, strict=True))
        kappa = quality.cohen_kappa(first, second)
        assert f"{pair} agree on {agreed} of 40, Cohen's kappa {kappa:.2f}\n" in PAGES["human-review"]
    words: dict[bool, Decision] = {True: "yes", False: "no"}
    votes: dict[str, dict[str, Decision]] = {
        name: {str(place): words[each] for place, each in enumerate(said)}
        for name, said in (("ada", ada), ("ben", ben), ("cleo", cleo))
    }
    alpha = quality.krippendorff_alpha(votes)
    assert f"Krippendorff's alpha {alpha:.2f} over 40 shared items\n" in PAGES["human-review"]


def test_the_exported_columns_are_those_of_the_guide() -> None:
    assert [name.strip("`") for name, _ in rows("objectclear", "Column", "Content")] == ober_schema().names
