"""A round on a pool as `cleanplate ingest pool` makes it, splits mixed in every shard, answered by people."""

import csv
import hashlib
import json
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from data_specs.errors import FlowError
from data_specs.review_batch import Answer, QueuePolicy
from flows.cli.main import app
from flows.rorem.config import RoundConfig
from flows.rorem.round import RoundOutcome, rorem_round
from models.rorem.discriminator import DiscriminatorConfig
from models.rorem.remover import SamplingConfig
from models.training.loop import TrainingConfig
from tasks.review.batches import make_batch
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.dataset import load_samples
from tasks.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect_server")
IMAGES, HUMAN, CALIBRATION, FRESH, AUTOMATION = 300, 12, 24, 8, 10


def write_open_images(root: Path) -> None:
    """300 images of 48×64 px with a mask each, as OpenImages lays them out."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    chance = np.random.default_rng(5)
    with (root / "train-annotations-object-segmentation.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["MaskPath", "ImageID", "LabelName", "BoxID", "PredictedIoU", "Clicks"])
        for number in range(IMAGES):
            name = f"{chance.integers(16**8):08x}{number:08x}"
            rough = chance.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = cv2.resize(rough, (64, 48), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(root / f"images/{name}.jpg"), image)
            mask = np.zeros((48, 64), np.uint8)
            cv2.circle(mask, (32, 24), 9, 255, -1)
            cv2.imwrite(str(root / f"masks/{name}_m01bqk0_ab.png"), mask)
            table.writerow([f"{name}_m01bqk0_ab.png", name, "/m/01bqk0", "ab", "0.9", "x"])
    (root / "class-descriptions-boxable.csv").write_text("/m/01bqk0,Bicycle wheel\n")


@pytest.fixture(scope="module")
def config(filmed: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> RoundConfig:
    """Captured pairs and a remover of the studio; of the pool only what `ingest pool` brought."""
    root = tmp_path_factory.mktemp("splits")
    shutil.copytree(filmed.workspace.root, root / "workspace")
    workspace = Workspace.open(root / "workspace")
    pairs = SyntheticConfig(size_px=32, seed=8, split="validation")
    render(workspace, RenderWork(round=0, index=2, stage="triplets", renderer=pairs, first=0, count=6))
    engine = sa.create_engine(workspace.ledger_url)
    with engine.begin() as connection:
        gone = "SELECT name FROM shards WHERE stage IN ('pool', 'truth')"
        connection.exec_driver_sql(f"DELETE FROM samples WHERE shard IN ({gone})")
        connection.exec_driver_sql("DELETE FROM shards WHERE stage IN ('pool', 'truth')")
    engine.dispose()
    write_open_images(root / "pool")
    words = ["ingest", "pool", str(root / "pool"), "--size-px", "32", "--shard-samples", "60", "--json"]
    done = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, done.output
    return RoundConfig(
        workspace=workspace.root, human_review=QueuePolicy(overlap_fraction=0, gold_fraction=0.1),
        human_items=HUMAN, automation_items=AUTOMATION, calibration_items=CALIBRATION,
        discriminator_test_items=FRESH, score_threshold=0.2,
        variants=("tight", "dilated", "left", "right"), sampling=SamplingConfig(steps=1),
        retraining=TrainingConfig(steps=1, batch_size=4),
        discriminator=DiscriminatorConfig(head="pooled", head_width=16),
        discriminator_training=TrainingConfig(steps=2, batch_size=6),
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcome(config: RoundConfig) -> RoundOutcome:
    """The whole round; it stops for people twice, who answer all that they are asked."""
    workspace = Workspace.existing(config.workspace)
    for _ in range(2):
        with pytest.raises(FlowError, match="waits for"):
            rorem_round(config)
        answer_all(workspace)
    return rorem_round(config)


def answer_all(workspace: Workspace) -> None:
    """Ada says YES to candidates whose key ends in an even digit."""
    ledger, now = workspace.ledger(), datetime.now(UTC)
    if not ledger.people.all():
        ledger.people.add("ada", "hash", now)
    for batch in ledger.batches.wanting():
        while leases := ledger.leases.lease(batch, "ada", 20, now):
            for lease in leases:
                said = "no" if int(lease.candidate[-1], 16) % 2 else "yes"
                ledger.leases.answer(lease.lease, "ada", Answer(decision=said, seconds=1), now)


def split_by_hand(workspace: Workspace, stage: str) -> dict[str, str]:
    """Sample to split, from the index files' scenes and the sentence in the documentation of splits."""
    found: dict[str, str] = {}
    for path in sorted((workspace.root / "shards").glob(f"*-{stage}-*.parquet")):
        for row in pq.read_table(path, columns=["key", "scene"]).to_pylist():
            fraction = int(hashlib.sha256(f"split:{row['scene']}".encode()).hexdigest()[:13], 16) / 16**13
            found[row["key"]] = "test" if fraction < 0.1 else "validation" if fraction < 0.2 else "train"
    return found


def items_by_hand(workspace: Workspace) -> dict[str, str]:
    """Candidate to pool item, from the tars' JSON."""
    found: dict[str, str] = {}
    for path in sorted((workspace.root / "shards").glob("*-candidates-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    found[member.name.partition(".")[0]] = json.load(file)["item"]
    return found


def column(workspace: Workspace, query: str) -> list[str]:
    engine = sa.create_engine(workspace.ledger_url)
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(query).scalars())


def test_the_round_ends_and_its_discriminator_is_measured(outcome: RoundOutcome) -> None:
    assert outcome.discriminator is not None
    assert outcome.discriminator.measured is not None
    assert outcome.discriminator.measured.result.tested == FRESH
    assert (outcome.human.result.tested, outcome.automation.result.tested) == (HUMAN, AUTOMATION)


def test_nothing_of_validation_or_test_reaches_people(config: RoundConfig, outcome: RoundOutcome) -> None:
    workspace = Workspace.existing(config.workspace)
    split, item = split_by_hand(workspace, "pool"), items_by_hand(workspace)
    mixed = [
        {split[row["key"]] for row in pq.read_table(path, columns=["key"]).to_pylist()}
        for path in (workspace.root / "shards").glob("*-pool-0000?-*.parquet")
        if row_count(path) == 60
    ]
    assert mixed.count({"train", "validation", "test"}) >= 4, "or nothing is shown here"
    asked = column(workspace, "SELECT candidate FROM review_items")
    answered = column(workspace, "SELECT candidate FROM reviews")
    assert set(answered) == set(asked)
    assert len({item[key] for key in asked}) == HUMAN + CALIBRATION + FRESH
    assert {split[item[key]] for key in asked} == {"train"}
    assert {split[key] for key in column(workspace, "SELECT item FROM pool_draws")} == {"train"}


def row_count(path: Path) -> int:
    return len(set(pq.read_table(path, columns=["key"])["key"].to_pylist()))


def test_nothing_of_validation_or_test_reaches_training(config: RoundConfig, outcome: RoundOutcome) -> None:
    workspace = Workspace.existing(config.workspace)
    split, item = split_by_hand(workspace, "pool"), items_by_hand(workspace)
    version = workspace.ledger().versions.current()
    assert version is not None
    grown = {each.scene for each in load_samples(workspace, version.number) if each.stage == "grown"}
    held = {
        row["scene"]: split[row["key"]]
        for path in (workspace.root / "shards").glob("*-pool-*.parquet")
        for row in pq.read_table(path, columns=["key", "scene"]).to_pylist()
        if row["key"] in split
    }
    assert len(grown) == outcome.human.result.kept + outcome.automation.result.kept > 0
    assert {held[scene] for scene in grown} == {"train"}
    assert {split[item[key]] for key in column(workspace, "SELECT candidate FROM scores")} == {"train"}


def test_the_fresh_items_train_no_discriminator_nor_do_their_scenes(
    config: RoundConfig, outcome: RoundOutcome
) -> None:
    workspace = Workspace.existing(config.workspace)
    item = items_by_hand(workspace)
    fresh = set(column(workspace, "SELECT item FROM pool_draws WHERE purpose = 'fresh'"))
    others = set(column(workspace, "SELECT item FROM pool_draws WHERE purpose <> 'fresh'"))
    assert len(fresh) == FRESH
    assert fresh.isdisjoint(others)
    gold = set(column(workspace, "SELECT candidate FROM review_items WHERE gold IS NOT NULL"))
    plain = set(column(workspace, "SELECT candidate FROM reviews")) - gold
    assert outcome.discriminator is not None
    assert outcome.discriminator.trained.reviewed == len([key for key in plain if item[key] not in fresh])


def test_a_batch_of_all_the_rounds_candidates_asks_about_training_ones(
    config: RoundConfig, outcome: RoundOutcome
) -> None:
    workspace = Workspace.existing(config.workspace)
    split, item = split_by_hand(workspace, "pool"), items_by_hand(workspace)
    make_batch(workspace, "all", workspace.ledger().shards.all(stage="candidates", round=1), QueuePolicy())
    asked = column(workspace, "SELECT candidate FROM review_items WHERE batch = 'all'")
    assert {split[item[key]] for key in asked} == {"train"}
