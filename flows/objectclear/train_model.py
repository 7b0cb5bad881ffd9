"""Make ObjectClear's shipped tiny weights again: the image encoder first, then the network, then a card."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from transformers import CLIPVisionModelWithProjection

from data_specs.assessment import QualityConfig
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from models.objectclear.network import ObjectClearNetwork, build_tiny_object_clear
from models.profiles import PROFILES
from models.training.distributed import DistributedConfig, first_process_first, is_first_process
from models.training.loop import Progress, TrainingConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from tasks.evaluation.evaluate import evaluate
from tasks.objectclear.train_model import (
    NamedObject,
    NamingScore,
    PlainObjectClear,
    attention_iou,
    named_object,
    train_image_encoder,
    train_object_clear,
)
from tasks.registry.store import BASE_FOLDER, drop_checkpoint, keep_model, network_at
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample, synthetic_triplets
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.workspace import Workspace

_ENCODER_SEED, _UNSEEN_OBJECTS_SEED = 930, 931
_TRAINING_SEED, _UNSEEN_SEED = 940, 941
"""Scenes that no other part of the project trains or tests on."""
_UNSEEN_OBJECTS = 400
_SHARD = 500
"""Samples a shard."""


class ObjectClearConfig(BaseModel):
    """What the network learns from, and how long; the defaults made the shipped one."""

    model_config = ConfigDict(frozen=True)

    encoder_objects: int = Field(default=3000, ge=1, description="Synthetic objects the image encoder names.")
    encoder_training: TrainingConfig = Field(
        default=TrainingConfig(
            steps=1200, batch_size=32, learning_rate=2e-3, warmup_steps=50, checkpoint_every=200
        ),
        description="Of the image encoder, before it is frozen.",
    )
    pairs: int = Field(default=1500, ge=1, description="Synthetic pairs the network learns from.")
    training: TrainingConfig = Field(
        default=PROFILES["tiny"].object_clear,
        description="Of U-Net and object token.",
    )
    loss: ObjectClearLossConfig = Field(
        default=PROFILES["tiny"].object_clear_loss,
        description="How one batch is weighed. The paper's mask loss weighs 0.01, over 100,000 steps.",
    )
    distributed: DistributedConfig = Field(
        default=DistributedConfig(), description="How the network's training runs on these machines."
    )
    tested: int = Field(default=96, ge=1, description="Unseen synthetic pairs for the card.")


class ObjectClearCard(BaseModel):
    """What made a network, and how good it was found to be; ``card.json`` beside the weights."""

    model_config = ConfigDict(frozen=True)

    config: ObjectClearConfig
    shape_named: float
    """Share of unseen objects whose shape the image encoder names rightly, 0..1."""
    shape_by_chance: float
    color_named: float
    color_by_chance: float
    attention_iou_before: float
    """Object token's attention against M_fg, before training and after, 0..1."""
    attention_iou_after: float
    success_rate: float
    """Of removals without attention-guided fusion, 0..1."""
    psnr_effect: float
    """dB inside M_fg."""
    psnr_background: float
    """dB outside it."""
    sampling_steps: int = 4


def make_object_clear(
    config: ObjectClearConfig,
    workspace: Workspace,
    told: Callable[[str], None],
    progress: Progress,
) -> tuple[ObjectClearNetwork, ObjectClearCard] | None:
    """Render, train, measure; killed and started again in the same workspace, it goes on where it stood.

    Started by a launcher in several processes, they train together.

    Returns:
        The network and its card, in the first process; None in the others.
    """
    told("the image encoder: naming synthetic objects")
    encoder, naming = made_image_encoder(config, workspace, progress)
    told(f"rendering {config.pairs} pairs")
    with first_process_first():
        shards = render_pairs(workspace, config.pairs)
    network = build_tiny_object_clear(network_at(BASE_FOLDER), encoder, config.training.seed)
    unseen = unseen_pairs(config.tested)
    before = attention_iou(PlainObjectClear(network), unseen) if is_first_process() else 0.0
    told("the network: noise loss and mask loss")
    checkpoint = checkpoint_of(workspace, config)
    train_object_clear(
        workspace, shards, network, config.training, config.loss, checkpoint, progress, config.distributed
    )
    if not is_first_process():
        return None
    remover = PlainObjectClear(network)
    found = evaluate(remover, unseen, QualityConfig())
    return network, ObjectClearCard(
        config=config,
        shape_named=naming.shape,
        shape_by_chance=naming.shape_by_chance,
        color_named=naming.color,
        color_by_chance=naming.color_by_chance,
        attention_iou_before=before,
        attention_iou_after=attention_iou(remover, unseen),
        success_rate=found.success_rate,
        psnr_effect=found.psnr_effect,
        psnr_background=found.psnr_background,
        sampling_steps=remover.steps,
    )


def checkpoint_of(workspace: Workspace, config: ObjectClearConfig) -> Path:
    """Where a training with these settings keeps its state."""
    facts = config.model_dump_json(exclude={"distributed"})
    return workspace.models_dir / f"{derive_key(facts)}.checkpoint.safetensors"


def made_image_encoder(
    config: ObjectClearConfig, workspace: Workspace, progress: Progress
) -> tuple[CLIPVisionModelWithProjection, NamingScore]:
    """The image encoder and its score, trained once a workspace and set of settings."""
    digest = derive_key("image encoder", config.encoder_objects, config.encoder_training.model_dump_json())
    checkpoint = workspace.models_dir / f"{digest}.checkpoint.safetensors"
    ledger, folder = workspace.ledger(), workspace.fetched(f"models/{digest}")
    known = ledger.result("image_encoder", digest, NamingScore)
    if known is not None and folder.is_dir():
        encoder = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True)
        return encoder, known
    encoder, score = train_image_encoder(
        _named(_ENCODER_SEED, config.encoder_objects),
        _named(_UNSEEN_OBJECTS_SEED, _UNSEEN_OBJECTS),
        config.encoder_training,
        checkpoint,
        progress,
    )
    with first_process_first():
        keep_model(workspace, digest, encoder.save_pretrained)
        ledger.record_result("image_encoder", digest, score)
        drop_checkpoint(checkpoint)
    return encoder, score


def render_pairs(workspace: Workspace, count: int) -> list[ShardRef]:
    """The first ``count`` training pairs as shards; those already there are not rendered again."""
    renderer = SyntheticConfig(seed=_TRAINING_SEED)
    starts = range(0, count, _SHARD)
    return [
        render(
            workspace,
            RenderWork(
                round=0, index=i, stage="triplets", renderer=renderer, first=s, count=min(_SHARD, count - s)
            ),
        )
        for i, s in enumerate(starts)
    ]


def unseen_pairs(count: int) -> list[Triplet]:
    """Pairs of scenes that no training here sees."""
    return list(synthetic_triplets(SyntheticConfig(seed=_UNSEEN_SEED, split="test"), range(count)))


def _named(seed: int, count: int) -> list[NamedObject]:
    return [named_object(make_sample(SyntheticConfig(seed=seed), number)) for number in range(count)]
