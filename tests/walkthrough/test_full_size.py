"""`make walkthrough`: the commands of docs/guides/full-size.md, in its order, on small stand-ins.

Stand-ins are random checkpoints in the published layouts and small data sets in the published layouts. The
networks of perception are the trained tiny ones, in the folders that the page names: random ones would refuse
every pair. The program runs from a copy without the shipped weights, so nothing tiny can take their place.
"""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from data_specs.model_record import ModelRecord
from data_specs.round import CycleResult
from models.perception.weights import SHIPPED
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample
from tasks.storage.dataset import load_samples, verify_dataset
from tasks.storage.workspace import Workspace
from tests.published import checkpoints, data_sets
from tests.tasks.sources.ober_folder import ober_row, write_ober

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guides/full-size.md").read_text()
SHORT = {"steps": 2, "batch_size": 4, "warmup_steps": 0, "checkpoint_every": 1}
SMALL = {
    "extends": "full",
    "remover": SHORT,
    "retraining": SHORT,
    "discriminator": SHORT,
    "object_clear": SHORT,
    "distillation": SHORT,
    "sampling": {"steps": 2},
    "distilled_sampling": {"steps": 2},
    "distributed": {"micro_batch_size": 1, "loader_workers": 0},
}
"""The profile full with short trainings. Everything else is full's: losses, precision, checkpointing."""
SIZES = {"human_items": 60, "calibration_items": 44, "discriminator_test_items": 8, "automation_items": 10}


def page_commands() -> list[str]:
    """The page's own commands, without the downloads and the doctor, which checks the real files' sizes."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    ours = [line for line in lines if line.startswith(("cleanplate", "python -m models"))]
    return [line for line in ours if not line.startswith("cleanplate doctor")]


class Walker:
    """Gives commands in one folder, as the reader of the page does."""

    def __init__(self, home: Path, program: Path) -> None:
        self.home = home
        self.folder_of_object_clear = ""
        self.log = home / "walk.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLEANPLATE")},
            "PYTHONPATH": str(program),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }

    def give(self, line: str) -> tuple[int, str]:
        """The exit code and all that is printed."""
        line = line.replace("--processes 8", "--processes 2").replace(
            "--profile full", "--profile small.json"
        )
        line = line.replace("--model FOLDER", f"--model {self.folder_of_object_clear}")
        words = shlex.split(line)
        module = ["-m", "flows.cli.main"] if words[0] == "cleanplate" else words[1:3]
        rest = words[1:] if words[0] == "cleanplate" else words[3:]
        done = subprocess.run(
            [sys.executable, *module, *rest],
            cwd=self.home,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(f"$ {line}\n{done.stdout}\n[exit {done.returncode}]\n\n")
        return done.returncode, done.stdout


def put_weights(folder: Path) -> None:
    checkpoints.sdxl_inpainting(folder / "sdxl-inpainting")
    checkpoints.clip(folder / "clip-vit-large-patch14")
    shutil.copytree(folder / "clip-vit-large-patch14", folder / "clip")
    for name, shipped in (
        ("grounding-dino-tiny", "grounding_dino"),
        ("mask2former", "mask2former"),
        ("depth-anything", "depth_anything"),
    ):
        shutil.copytree(SHIPPED / shipped, folder / name)
    sam = {name: tensor.float() for name, tensor in load_file(SHIPPED / "sam/model.safetensors").items()}
    torch.save(sam, folder / "sam_vit_h.pth")


def put_data(folder: Path) -> None:
    data_sets.rord(folder / "RORD", scenes=24, frames=2)
    data_sets.mulan(folder / "MULAN", images=4)
    data_sets.coco(folder / "coco", images=12)
    for path in [*(folder / "MULAN/images").iterdir(), *(folder / "MULAN/annotations").iterdir()]:
        path.rename(path.with_name(f"7{path.name[1:]}"))  # COCO numbers its images over all its folders.
    (folder / "MULAN/images").rename(folder / "coco/val2017")
    data_sets.openimages_v7(folder / "openimages", images=230)
    (folder / "DIV2K/DIV2K_train_HR").mkdir(parents=True)
    for number in range(8):
        photograph = data_sets.photo(900 + number, 1040, 1030)
        photograph.save(folder / f"DIV2K/DIV2K_train_HR/{number + 1:04d}.png")
    for part, first in (("train", 0), ("test", 50)):
        rows = [ober_row(first + number, f"{first + number}_1", 528, part) for number in range(6)]
        write_ober(folder / "OBER", f"{part}-00000-of-00001.parquet", rows)
    for number in range(16):
        sample = make_sample(SyntheticConfig(seed=55, size_px=512), number)
        for part, image in (("source", sample.source), ("ground_truth", sample.ground_truth)):
            (folder / "pairs" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / "pairs" / part / f"{number}.png")
    for number in range(8):  # Perception knows synthetic grounds, and no noise.
        ground = make_sample(SyntheticConfig(seed=66, size_px=512), number).ground_truth
        Image.fromarray(ground).resize((1040, 1040)).save(
            folder / f"DIV2K/DIV2K_train_HR/{number + 101:04d}.png"
        )


def put_settings(home: Path) -> None:
    cycle, composite = map(json.loads, re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S))
    composite["attempts"] = 24
    composite["perception"]["detector"]["words"] = ["sphere", "box", "cylinder", "cone"]
    composite["perception"]["segmenter"]["size"] = "tiny"
    (home / "cycle.json").write_text(json.dumps({**cycle, **SIZES}))
    (home / "composite.json").write_text(json.dumps(composite))
    (home / "small.json").write_text(json.dumps(SMALL))


def answer(table: Path) -> None:
    """A person: YES to every other image that has no answer yet."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        if not row["decision"]:
            row |= {"decision": ("yes", "no")[number % 2], "reviewer": "ada"}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Walker:
    home = tmp_path_factory.mktemp("walk")
    program = home / "program"
    for package in ("data_specs", "models", "tasks", "flows", "deploy"):
        skipped = shutil.ignore_patterns("__pycache__", *(["weights"] if package == "models" else []))
        shutil.copytree(ROOT / package, program / package, ignore=skipped)
    put_weights(home / "weights")
    with pytest.MonkeyPatch.context() as larger:
        larger.setattr(data_sets, "WIDTH", 720)
        larger.setattr(data_sets, "HEIGHT", 540)
        put_data(home / "data")
    put_settings(home)
    photograph = make_sample(SyntheticConfig(seed=77, size_px=512), 0)
    Image.fromarray(photograph.source).save(home / "photo.jpg", quality=95)
    Image.fromarray(photograph.mask.astype(np.uint8) * 255).save(home / "mask.png")
    return Walker(home, program)


def test_the_page_leads_from_downloads_to_removals(walker: Walker) -> None:
    """Every command ends well, except a cycle that waits for people, whose sentence the page shows."""
    waits = 0
    for line in page_commands():
        code, output = walker.give(line)
        if "waits for" in output and line.startswith("cleanplate cycle"):
            waits += 1
            assert code == 1
        else:
            assert code == 0, f"{line}\n{output[-3000:]}"
        if "review export" in line:
            answer(walker.home / shlex.split(line)[3] / "answers.csv")
        if "train object-clear" in line:
            walker.folder_of_object_clear = re.findall(r"it lies in (\S+)", output)[-1]
    assert waits == 2, "people are asked for candidates, and for calibration"
    check_models(walker.home / "plates")
    check_images(walker.home)


def check_models(folder: Path) -> None:
    """What lies in the workspace is of the full shapes, and was trained as the profile full says."""
    workspace = Workspace.existing(folder)
    ledger = workspace.ledger()
    removers: list[ModelRecord] = ledger.models.all("remover")
    assert [model.distilled for model in removers].count(True) == 1
    assert len(removers) == 6, "base, initialisation, human 1, automation 1, final stage, distilled"
    for model in removers:
        settings = json.loads((folder / model.path / "unet/config.json").read_text())
        assert settings["in_channels"] == 9
        assert json.loads((folder / model.path / "vae/config.json").read_text())["latent_channels"] == 4
    assert [model.kind for model in ledger.models.all("object-clear")] == ["object-clear"]
    [judge] = ledger.models.all("discriminator")
    assert judge.settings["discriminator"]["head"] == "paper"
    current = ledger.versions.current()
    assert current is not None
    stages = {sample.stage for sample in load_samples(workspace, current.number) if sample.split == "train"}
    assert stages == {"triplets", "grown", "composites"}
    assert verify_dataset(workspace).clean


def check_images(home: Path) -> None:
    photograph = np.asarray(Image.open(home / "photo.jpg"))
    mask = np.asarray(Image.open(home / "mask.png")) > 0
    for name in ("empty.png", "empty-by-object-clear.png"):
        removal = np.asarray(Image.open(home / name))
        assert removal.shape == photograph.shape
        assert (removal[mask] != photograph[mask]).any()
    assert (home / "empty-by-object-clear.compare.png").is_file()
    assert (home / "plates/report.html").is_file()


def test_the_cycle_reports_every_phase(walker: Walker) -> None:
    code, output = walker.give(
        "cleanplate cycle --profile full --config cycle.json --processes 8 --workspace plates --json"
    )
    assert code == 0, output[-2000:]
    result = CycleResult.model_validate_json(output[output.index("{\n") : output.rindex("}") + 1])
    assert [phase.kind for phase in result.phases] == [
        "base",
        "initialisation",
        "human",
        "automation",
        "final",
        "distillation",
    ]
    assert result.phases[2].kept > 0
    assert result.discriminators[0].tested > 0
