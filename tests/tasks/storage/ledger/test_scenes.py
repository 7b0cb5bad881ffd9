"""Scenes' images in the ledger, and the pool's items by their samples' splits, on both databases."""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from data_specs.scene_image import SceneImage
from data_specs.shard import SampleRow, ShardRef
from tasks.storage.ledger import Ledger, open_ledger


def image(number: int, lineage: str | None = None, scene: str = "s") -> SceneImage:
    return SceneImage(f"p{number}", scene, "train", lineage, number - 2**63, bytes([number]) * 192)


def test_images_are_found_by_pixels_lineage_and_number(ledger: Ledger) -> None:
    rows = [image(0), image(1, "film"), image(2, "film", "later")]
    ledger.scenes.record(rows)
    ledger.scenes.record([image(1, "film", "told otherwise"), image(3)])
    assert ledger.scenes.of_images(["p1", "p9"]) == {"p1": rows[1]}
    assert ledger.scenes.of_lineages(["film", "none"]) == {"film": rows[1]}
    numbered = [pair for part in ledger.scenes.hashes() for pair in part]
    assert [hash for _, hash in numbered] == [number - 2**63 for number in range(4)]
    sequences = [sequence for sequence, _ in numbered]
    assert sequences == sorted(sequences)
    assert ledger.scenes.images(sequences[1:3]) == dict(zip(sequences[1:3], rows[1:3], strict=True))
    later = [pair for part in ledger.scenes.hashes(after=sequences[2]) for pair in part]
    assert later == numbered[3:]


def test_a_ledger_of_the_last_schema_is_brought_to_this_one(ledger: Ledger) -> None:
    ledger.draws.draw("human 1", "human", ["a"])
    engine = sa.create_engine(ledger.url)
    config = Config()
    config.set_main_option("script_location", "data_specs:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        assert not sa.inspect(connection).has_table("scene_images")
    engine.dispose()
    again = open_ledger(ledger.url)
    again.scenes.record([image(5)])
    assert again.scenes.of_images(["p5"]) == {"p5": image(5)}
    assert again.draws.drawn("human 1") == ["a"]


def shard(stage, index: int, rows: list[SampleRow]) -> tuple[ShardRef, list[SampleRow]]:
    ref = ShardRef(
        name=f"000-{stage}-{index:05d}-x", stage=stage, round=0, index=index, samples=len(rows), size_bytes=1,
        sha256="a", index_sha256="b", input_digest=f"{stage} {index}",
    )  # fmt: skip
    return ref, rows


def test_pool_items_are_told_by_their_own_split_and_scene(ledger: Ledger) -> None:
    first = [
        SampleRow("t0", "A", "test", 0),
        SampleRow("a0", "B", "train", 1),
        SampleRow("a1", "B", "train", 2),
        SampleRow("v0", "C", "validation", 3),
    ]
    second = [SampleRow("v1", "D", "validation", 0)]
    second += [SampleRow(f"a{n}", "EFG"[n - 2], "train", n - 1) for n in (2, 3, 4)]
    for held in (shard("pool", 0, first), shard("pool", 1, second), shard("candidates", 0, first[1:2])):
        ledger.shards.commit(*held)
    ledger.shards.commit(*shard("truth", 1, second[:1]))
    assert ledger.draws.pool_items("train") == ["a0", "a1", "a2", "a3", "a4"]
    assert ledger.draws.pool_items("validation") == ["v0", "v1"]
    assert ledger.draws.pool_items("validation", truth_known=True) == ["v1"]
    ledger.draws.draw("run human 1", "human", ["a0"])
    assert ledger.draws.undrawn_items() == ["a1", "a2", "a3", "a4"]
    assert ledger.draws.undrawn_items(apart=True) == ["a2", "a3", "a4"], "scene B was touched"
    ledger.draws.draw("run fresh 1", "fresh", ["a3"])
    ledger.draws.draw("run fresh looking 1", "human", ["a4"])
    assert ledger.draws.undrawn_items() == ["a1", "a2"]
    names = ["000-pool-00001-x", "000-pool-00000-x", "none"]
    assert ledger.shards.samples_in(names, "train") == {
        names[0]: second[1:],
        names[1]: first[1:3],
        "none": [],
    }
    assert ledger.shards.samples_in(names)[names[1]] == first
    assert {key: ref.name for key, ref in ledger.shards.holders_of(["a0", "a4", "no"], "pool").items()} == {
        "a0": "000-pool-00000-x",
        "a4": "000-pool-00001-x",
    }
    assert ledger.shards.keys_of_split(["a0", "v0", "t0"], "train") == {"a0"}
