"""The registry: who leads, who led before, what two models differ in, and what keeps a broken one out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data_specs.errors import LedgerError, ModelError
from data_specs.model_record import ModelKind, ModelRecord
from tasks.registry.champions import compare, promote, promote_now, rollback, standing_of
from tasks.registry.store import keep_model, record
from tasks.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def entered(workspace: Workspace, hash: str, kind: ModelKind = "remover", **given) -> ModelRecord:
    """A model of one tensor, named by its hash."""

    def save(folder: Path) -> None:
        (folder / "unet").mkdir()
        save_file({"w": torch.full((4,), float(ord(hash[0])))}, folder / "unet" / "model.safetensors")

    folder = keep_model(workspace, f"work-{hash}", save)
    facts = {"parent": None, "dataset_version": None, "metrics": {}, **given}
    return record(workspace, kind=kind, model_hash=hash, folder=folder, **facts)


@pytest.fixture
def three(workspace: Workspace) -> Workspace:
    """a, b and c, promoted in this order by a cycle."""
    for hash in ("aa", "bb", "cc"):
        entered(workspace, hash)
        promote(workspace, "remover", hash, f"round {hash}")
    return workspace


def leader(workspace: Workspace) -> str | None:
    champion = workspace.ledger().models.champion("remover")
    return None if champion is None else champion.hash


def test_two_rollbacks_go_back_two_steps_and_not_there_and_back(three: Workspace) -> None:
    assert rollback(three, "remover", "c leaves shadows").hash == "bb"
    assert rollback(three, "remover", "b does too").hash == "aa"
    assert leader(three) == "aa"
    with pytest.raises(LedgerError, match="no champion before model aa"):
        rollback(three, "remover", "a does too")
    actions = [(each.action, each.hash) for each in three.ledger().models.promotions("remover")]
    assert actions == [
        *(("promoted", hash) for hash in ("aa", "bb", "cc")),
        ("rolled back", "bb"),
        ("rolled back", "aa"),
    ]


def test_a_rollback_told_twice_goes_back_once(three: Workspace) -> None:
    for _ in range(3):
        assert rollback(three, "remover", "c leaves shadows").hash == "bb"
    for _ in range(2):
        assert rollback(three, "remover", "b too", "aa").hash == "aa"
    assert len(three.ledger().models.promotions("remover")) == 5


def test_what_was_promoted_after_a_rollback_goes_back_to_where_the_rollback_went(three: Workspace) -> None:
    rollback(three, "remover", "all later ones leave shadows", "aa")
    promote_now(three, "cc", "it was the images")
    assert leader(three) == "cc"
    assert rollback(three, "remover", "it was not").hash == "aa"
    with pytest.raises(LedgerError, match="bb was never champion"):
        rollback(three, "remover", "to b, then", "bb")


def test_a_flow_that_runs_again_moves_nothing_and_people_always_move_it(three: Workspace) -> None:
    rollback(three, "remover", "c leaves shadows")
    promote(three, "remover", "cc", "round cc")
    assert leader(three) == "bb", "a flow's promotion is one event"
    for _ in range(2):
        assert promote_now(three, "cc", "round cc").hash == "cc"
    assert leader(three) == "cc"
    assert len(three.ledger().models.promotions("remover")) == 5


def test_nothing_to_roll_back(workspace: Workspace) -> None:
    with pytest.raises(LedgerError, match="no model of kind discriminator is champion"):
        rollback(workspace, "discriminator", "?")


def weights_of(workspace: Workspace, hash: str) -> Path:
    return workspace.root / workspace.ledger().models.of_hash(hash).path / "unet" / "model.safetensors"


def test_altered_or_missing_weights_are_never_made_champion(three: Workspace) -> None:
    file = weights_of(three, "bb")
    good = file.read_bytes()
    for damage, said in (
        (good[:-1] + b"\x00", "has changed since it was recorded"),
        (None, "weights are missing"),
    ):
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        for attempt in (
            lambda: rollback(three, "remover", "c leaves shadows"),
            lambda: promote_now(three, "bb", "b was good"),
            lambda: promote(three, "remover", "bb", "b was good"),
        ):
            with pytest.raises(ModelError, match=f"work-bb: model bb cannot be used, .*{said}"):
                attempt()
        assert leader(three) == "cc"
        file.touch()
    file.write_bytes(good)
    assert promote_now(three, "bb", "b was good").hash == "bb"


def test_a_folder_that_lacks_one_of_its_files_is_told_by_name(workspace: Workspace) -> None:
    def save(folder: Path) -> None:
        for part in ("unet", "vae"):
            (folder / part).mkdir()
            save_file({"w": torch.zeros(1)}, folder / part / "model.safetensors")

    folder = keep_model(workspace, "two-parts", save)
    facts = {"parent": None, "dataset_version": None, "metrics": {}}
    record(workspace, kind="remover", model_hash="dd", folder=folder, **facts)
    (folder / "vae" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"vae/model\.safetensors is missing"):
        promote_now(workspace, "dd", "?")
    assert standing_of(workspace, "dd").fault == "vae/model.safetensors is missing"


def test_a_hash_may_be_cut_short_but_not_so_short_that_it_names_two(workspace: Workspace) -> None:
    for hash in ("abc1", "abc2", "ab"):
        entered(workspace, hash)
    assert standing_of(workspace, "abc1").record.hash == "abc1"
    assert standing_of(workspace, "ab").record.hash == "ab", "a whole hash is never ambiguous"
    with pytest.raises(LedgerError, match="abc begins the hashes of 2 models"):
        promote_now(workspace, "abc", "?")
    for nobody in ("zz", "%", "ab_"):
        with pytest.raises(LedgerError, match="has no model"):
            promote_now(workspace, nobody, "?")


def test_two_models_side_by_side(workspace: Workspace) -> None:
    settings = {"training": {"steps": 10, "learning_rate": 0.1}, "sampling": {"steps": 4}}
    longer = {"training": {"steps": 20, "learning_rate": 0.1}, "sampling": {"steps": 4}, "loss": {"w": 1}}
    entered(workspace, "aa", metrics={"loss": 0.5}, settings=settings)
    entered(workspace, "bb", parent="aa", metrics={"loss": 0.25, "reviewed": 9.0}, settings=longer)
    ledger = workspace.ledger()
    ledger.models.record_measurement("aa", "test split, all", 3, {"psnr": 30.0})
    ledger.models.record_measurement("bb", "test split, all", 3, {"psnr": 20.0})
    ledger.models.record_measurement("bb", "test split, all", 4, {"psnr": 31.5})
    found = compare(workspace, "aa", "bb")
    numbers = {(each.measured_on, each.name): (each.first, each.second) for each in found.values}
    assert numbers == {
        ("its training", "loss"): (0.5, 0.25),
        ("test split, all", "psnr"): (30.0, 31.5),
        ("its training", "reviewed"): (None, 9.0),
    }
    assert [each.difference for each in found.values] == [-0.25, 1.5, None]
    assert found.settings == {"training.steps": (10, 20), "loss.w": (None, 1)}
    assert (found.samples_added, found.samples_removed) == (None, None)


def test_a_measurement_told_twice_is_one_and_all_stay(workspace: Workspace) -> None:
    entered(workspace, "aa")
    ledger = workspace.ledger()
    for psnr in (30.0, 30.0, 31.0):
        ledger.models.record_measurement("aa", "test split, all", 1, {"psnr": psnr})
    assert [each.values for each in standing_of(workspace, "aa").measurements] == [
        {"psnr": 30.0},
        {"psnr": 31.0},
    ]
    with pytest.raises(LedgerError, match="has no model zz"):
        ledger.models.record_measurement("zz", "test split, all", 1, {"psnr": 1.0})
