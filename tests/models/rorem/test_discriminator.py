"""The discriminator: what is trained and what is not, the files, the heads, and that it can learn."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_specs.errors import ModelError
from models.images.tensors import images_to_tensor, masks_to_tensor
from models.rorem.calibration import area_under_curve
from models.rorem.discriminator import (
    ATTENTION,
    CONVOLUTIONS,
    DiscriminatorConfig,
    DiscriminatorNetwork,
    LoraDiscriminator,
    load_discriminator,
    statistics_of,
)
from models.rorem.discriminator_heads import PaperHead, PooledHead, fit_voters
from models.training.distributed import BatchSlice
from models.training.loop import TrainingConfig, train
from models.training.losses.discriminator import ReviewBatch, discriminator_loss

CONFIG = DiscriminatorConfig(
    lora_rank=8, lora_alpha=8, lora_targets=ATTENTION + CONVOLUTIONS, head="pooled", head_width=32
)


@pytest.fixture
def toy(images, boxes):
    """(count, seed) → a review batch: YES left the clean plate, NO left the object where it was."""

    def draw(count: int, seed: int) -> ReviewBatch:
        plates = [p // 4 + 96 for p in images(count, seed)]
        masks = [boxes(8)[number % 8] for number in range(count)]
        colours = np.random.default_rng(seed).choice(np.array([0, 255], np.uint8), (count, 3))
        sources = [
            np.where(m[..., None], colour, p) for p, m, colour in zip(plates, masks, colours, strict=True)
        ]
        good = [number % 2 == 0 for number in range(count)]
        removals = [p if yes else s for p, s, yes in zip(plates, sources, good, strict=True)]
        return ReviewBatch(
            source=images_to_tensor(sources),
            mask=masks_to_tensor(masks),
            removal=images_to_tensor(removals),
            label=torch.tensor(good).float(),
        )

    return draw


def trained(network, toy, steps: int) -> DiscriminatorNetwork:
    discriminator = DiscriminatorNetwork(network, CONFIG, seed=0)

    def batches(start: int, stop: int, _parts: object) -> Iterator[ReviewBatch]:
        for number in range(start, stop):
            yield toy(16, 1000 + number)

    config = TrainingConfig(steps=steps, learning_rate=2e-3, warmup_steps=2, ema_decay=0.8)
    train(
        discriminator, lambda batch, noise: discriminator_loss(discriminator, batch, noise), batches, config
    )
    return discriminator


def test_it_learns_what_is_easy_and_trains_only_lora_and_head(build_network, toy) -> None:
    network = build_network(8)
    before = {name: t.clone() for name, t in network.unet.state_dict().items()}
    discriminator = trained(network, toy, steps=40)
    test = toy(80, 1)
    with torch.no_grad():
        logits = discriminator(test.source, test.mask, test.removal)
    assert area_under_curve(logits.tolist(), (test.label > 0).tolist()) > 0.9

    assert all(torch.equal(t, before[name]) for name, t in network.unet.state_dict().items())
    state = discriminator.backbone.state_dict()
    changed = set()
    for name, tensor in state.items():
        if "lora_" in name:
            changed.add(name)
        else:
            assert torch.equal(tensor, before[name.replace(".base_layer", "")]), name
    assert changed, "there is LoRA"
    untouched = DiscriminatorNetwork(network, CONFIG, seed=0).trained_state()
    moved = {
        name
        for name, tensor in discriminator.trained_state().items()
        if not torch.equal(tensor, untouched[name])
    }
    assert moved == set(untouched)
    assert {name.split(".")[0] for name in moved} == {"backbone", "head"}


def test_before_training_lora_changes_nothing(build_network, toy) -> None:
    network, batch = build_network(8), toy(4, 2)
    discriminator = DiscriminatorNetwork(network, CONFIG, seed=0).eval()
    with torch.no_grad():
        with_lora = discriminator(batch.source, batch.mask, batch.removal)
        hidden, added = network.condition(4, 32, 32)
        sample = torch.cat(
            [
                network.vae.encode(batch.removal).latent_dist.mode(),
                batch.mask[:, :, ::4, ::4],
                network.vae.encode(batch.source).latent_dist.mode(),
            ],
            1,
        )
        seen = []
        hook = network.unet.mid_block.register_forward_hook(lambda _m, _i, out: seen.append(out))
        network.unet.eval()(sample, 0, hidden, added_cond_kwargs=added)
        hook.remove()
        plain = discriminator.head(seen[0], batch.mask).squeeze(1)
    torch.testing.assert_close(with_lora, plain)
    lora_b = [p for name, p in discriminator.named_parameters() if "lora_B" in name]
    with torch.no_grad():
        lora_b[0].add_(0.1)
        assert not torch.allclose(discriminator(batch.source, batch.mask, batch.removal), with_lora)


def test_the_source_is_seen_unmasked(build_network, toy) -> None:
    """RORem's discriminator, unlike its remover, sees the object (papers.md, fact 5)."""
    discriminator = DiscriminatorNetwork(build_network(8), CONFIG, seed=0).eval()
    batch = toy(2, 3)
    painted = torch.where(batch.mask > 0, -batch.source, batch.source)
    with torch.no_grad():
        seen, other = (discriminator(source, batch.mask, batch.removal) for source in (batch.source, painted))
    assert not torch.allclose(seen, other)


def test_what_is_saved_scores_the_same(build_network, toy, images, boxes, tmp_path: Path) -> None:
    network = build_network(8)
    discriminator = LoraDiscriminator(
        trained(network, toy, steps=3), CONFIG, slope=1.7, offset=-0.3, batch_size=2
    )
    discriminator.save(tmp_path / "judge")
    loaded = load_discriminator(tmp_path / "judge", network)
    shown = (images(5, 1), boxes(5), images(5, 2), list("aabbb"))
    scores = discriminator.score(*shown)
    np.testing.assert_allclose(loaded.score(*shown), scores, atol=1e-6)
    logits = np.array(discriminator.logits(*shown))
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(1.7 * logits - 0.3))), atol=1e-6)
    assert loaded.model_hash == discriminator.model_hash


def test_many_candidates_of_one_source_score_as_each_alone_and_the_source_is_encoded_once(
    build_network, images, boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three sources, seven candidates, not in order; batches of three part one source's candidates."""
    network = build_network(8)
    module = DiscriminatorNetwork(network, CONFIG, seed=0).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
    order = [0, 1, 0, 2, 1, 0, 2]
    sources, masks, removals = images(3, 1), boxes(3), images(7, 2)
    encoded: list[int] = []
    encode = network.vae.encode

    def counted(batch: torch.Tensor):
        encoded.append(len(batch))
        return encode(batch)

    monkeypatch.setattr(network.vae, "encode", counted)
    discriminator = LoraDiscriminator(module, CONFIG, slope=20, offset=1.5, batch_size=3)
    shown = ([sources[i].copy() for i in order], [masks[i] for i in order], removals, list("abcdefg"))
    scores = discriminator.score(*shown)
    assert sum(encoded) == 3 + 7
    with torch.no_grad():
        alone = [
            module(images_to_tensor([sources[i]]), masks_to_tensor([masks[i]]), images_to_tensor([removal]))
            for i, removal in zip(order, removals, strict=True)
        ]
    expected = torch.sigmoid(20 * torch.cat(alone) + 1.5)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)
    assert np.ptp(scores) > 0.01, "they differ, so that a candidate given another's source would be seen"
    assert discriminator.score([], [], [], []) == []


def test_candidates_of_two_sizes_score_as_among_their_own(build_network, toy, images, boxes) -> None:
    network = build_network(8)
    discriminator = LoraDiscriminator(DiscriminatorNetwork(network, CONFIG, seed=0), CONFIG, slope=20)
    sources, masks, removals = images(4, 1), boxes(4), images(4, 2)
    for each in (sources, masks, removals):
        each[1] = np.tile(each[1], (2, 2, 1)[: each[1].ndim])
    scores = discriminator.score(sources, masks, removals, list("abcd"))
    for places in ((0, 2, 3), (1,)):
        one, two, three = ([each[p] for p in places] for each in (sources, masks, removals))
        own = discriminator.score(one, two, three, ["abcd"[p] for p in places])
        assert [scores[p] for p in places] == pytest.approx(own, abs=1e-6)
    assert np.ptp(scores) > 1e-4


def test_the_hash_names_weights_settings_and_calibration(build_network) -> None:
    network = build_network(8)

    def hash_of(
        config: DiscriminatorConfig = CONFIG, seed: int = 0, slope: float = 1.0, offset: float = 0.0
    ) -> str:
        module = DiscriminatorNetwork(network, config, seed)
        return LoraDiscriminator(module, config, slope=slope, offset=offset).model_hash

    hashes = [
        hash_of(),
        hash_of(seed=1),
        hash_of(slope=2.0),
        hash_of(offset=0.5),
        hash_of(CONFIG.model_copy(update={"lora_alpha": 16})),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hash_of() == hashes[0]


def test_a_discriminator_that_cannot_be_used_is_named(build_network, tmp_path: Path) -> None:
    network, folder = build_network(8), tmp_path / "judge"
    LoraDiscriminator(DiscriminatorNetwork(network, CONFIG, 0), CONFIG).save(folder)
    weights, facts = folder / "judge.safetensors", folder / "judge.json"
    good_weights, good_facts = weights.read_bytes(), facts.read_bytes()

    def refused() -> None:
        with pytest.raises(ModelError, match=f"^{folder}: "):
            load_discriminator(folder, network)
        weights.write_bytes(good_weights)
        facts.write_bytes(good_facts)

    weights.write_bytes(good_weights[:-20])
    refused()
    weights.unlink()
    refused()
    facts.write_text("{}")
    refused()
    facts.write_text(json.dumps({**json.loads(good_facts), "slope": "steep"}))
    refused()
    with pytest.raises(ModelError, match=f"^{folder}: "):
        load_discriminator(folder, build_network(4))  # same names, narrower input
    load_discriminator(folder, network)


def test_the_papers_head_is_three_strided_convolutions_to_one_logit() -> None:
    head = PaperHead(64, 32)
    sizes = []
    for layer in head.layers:
        layer.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[-2:])))
    assert head(torch.zeros(2, 64, 16, 16), torch.zeros(2, 1, 512, 512)).shape == (2, 1)
    assert sizes[::3] == [(8, 8), (4, 4), (1, 1), (1, 1)]


def test_the_pooled_head_keeps_inside_around_and_beyond_apart() -> None:
    head = PooledHead(16, 8).eval()
    # Nothing is learnt before or after, so that what is pooled is what was given.
    head.cells = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    head.verdict = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    features = torch.rand(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 3:9, 17:20] = 1  # touches rows 0 and 1 and column 2 of the cells
    inside, around = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    inside[0:2, 2] = True
    around[0:4, 0:5] = True  # two cells further
    values = features.numpy()
    expected = np.concatenate(
        [
            pooled
            for where in (inside, around & ~inside, ~around)
            for pooled in (values[:, :, where].mean(2), values[:, :, where].max(2))
        ],
        axis=1,
    )
    np.testing.assert_allclose(head(features, mask).numpy(), expected, atol=1e-6)


def test_the_loss_sees_both_images_in_the_same_other_colours(build_network, toy) -> None:
    """Channels in a drawn order, each scaled about black by 0.75 to 1.25, source and removal alike."""
    discriminator, batch = DiscriminatorNetwork(build_network(8), CONFIG, seed=0), toy(16, 4)
    seen: list[tuple[torch.Tensor, ...]] = []
    discriminator.register_forward_pre_hook(lambda _module, given: seen.append(given))
    loss = discriminator_loss(discriminator, batch, BatchSlice(torch.Generator().manual_seed(1)))
    assert discriminator_loss(discriminator, batch, BatchSlice(torch.Generator().manual_seed(1))) == loss
    (source, mask, removal), _ = seen
    assert torch.equal(mask, batch.mask)
    orders = set()
    for place in range(16):
        order = []
        for channel in range(3):
            fits = []
            for original in range(3):
                before = torch.cat([batch.source[place, original], batch.removal[place, original]]) + 1
                after = torch.cat([source[place, channel], removal[place, channel]]) + 1
                gain = float((after * before).sum() / (before * before).sum())
                if torch.allclose(after, gain * before, atol=1e-5):
                    assert 0.75 <= gain <= 1.25
                    fits.append(original)
            (only,) = fits
            order.append(only)
        assert sorted(order) == [0, 1, 2]
        orders.add(tuple(order))
    assert len(orders) >= 3
    with torch.no_grad():
        logits = discriminator(source, mask, removal).double().numpy()
    probability = 1 / (1 + np.exp(-logits))
    label = batch.label.numpy()
    expected = -(label * np.log(probability) + (1 - label) * np.log(1 - probability)).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_voters_find_a_rule_that_depends_on_two_numbers() -> None:
    draw = torch.Generator().manual_seed(3)
    numbers = torch.randn(2000, 6, generator=draw) * torch.tensor([1, 100, 0.01, 1, 1, 1])
    good = ((numbers[:, 0] > 0) ^ (numbers[:, 1] > 0)).tolist()
    voters = fit_voters(numbers[:1500], good[:1500], 3, seed=0)
    with torch.no_grad():
        logits = voters(numbers[1500:])
    assert logits.shape == (500, 3)
    assert area_under_curve(logits.mean(1).tolist(), good[1500:]) > 0.95
    again = fit_voters(numbers[:1500], good[:1500], 3, seed=0)
    assert torch.equal(again(numbers), voters(numbers)), "the same seed fits the same voters"
    assert not torch.equal(fit_voters(numbers[:1500], good[:1500], 3, seed=1)(numbers), voters(numbers))


WITH_VOTERS = CONFIG.model_copy(update={"voters": 2})


def judged(network, images, boxes) -> tuple[LoraDiscriminator, Any]:
    """A discriminator with voters, and seven candidates of two items that it can score."""
    shown: Any = (images(7, 1), boxes(7), images(7, 2), list("aabaabb"))
    numbers = statistics_of(*shown, device=torch.device("cpu"))
    voters = fit_voters(numbers, [True, False] * 3 + [True], 2, seed=0)
    module = DiscriminatorNetwork(network, WITH_VOTERS, seed=0)
    return LoraDiscriminator(module, WITH_VOTERS, voters, slope=3.0), shown


def test_the_logit_is_the_mean_of_the_network_and_the_voters(build_network, images, boxes) -> None:
    discriminator, shown = judged(build_network(8), images, boxes)
    alone = LoraDiscriminator(discriminator.network, CONFIG)
    assert discriminator.voters is not None
    votes = discriminator.voters(statistics_of(*shown, device=torch.device("cpu")))
    expected = (np.array(alone.logits(*shown)) + votes.sum(1).numpy()) / 3
    np.testing.assert_allclose(discriminator.logits(*shown), expected, atol=1e-5)


def test_voters_compare_candidates_of_one_proposal_and_of_no_other(build_network, images, boxes) -> None:
    discriminator, (sources, masks, removals, proposals) = judged(build_network(8), images, boxes)
    scores = discriminator.score(sources, masks, removals, proposals)
    changed = [removals[0] // 2, *removals[1:]]
    after = discriminator.score(sources, masks, changed, proposals)
    moved = [name for name, one, two in zip(proposals, scores, after, strict=True) if abs(one - two) > 1e-6]
    assert moved == ["a"] * 4, "the changed one's and its fellows', not the others'"
    apart = discriminator.score(sources, masks, removals, list("1234567"))
    assert apart[0] != pytest.approx(scores[0], abs=1e-6)


def test_what_has_voters_is_saved_with_them(build_network, images, boxes, tmp_path: Path) -> None:
    network = build_network(8)
    discriminator, shown = judged(network, images, boxes)
    discriminator.save(tmp_path / "judge")
    loaded = load_discriminator(tmp_path / "judge", network)
    np.testing.assert_allclose(loaded.score(*shown), discriminator.score(*shown), atol=1e-6)
    assert loaded.model_hash == discriminator.model_hash
    other = LoraDiscriminator(discriminator.network, WITH_VOTERS, slope=3.0)
    assert other.model_hash != discriminator.model_hash, "the voters count in the name"
