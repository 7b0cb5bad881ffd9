"""Make ObjectClear's shipped tiny weights again: the image encoder first, then the network, then a card."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field, field_validator
from transformers import CLIPVisionModelWithProjection

from data_specs.assessment import QualityConfig
from data_specs.keys import derive_key
from data_specs.shard import ShardRef
from data_specs.triplet import Triplet
from flows.runtime.runs import fail_cleanly
from flows.runtime.shards import say
from models.objectclear.network import ObjectClearNetwork, build_tiny_object_clear, load_object_clear
from models.objectclear.pipeline import ObjectClearPipeline
from models.profiles import PROFILES
from models.training.distributed import (
    DistributedConfig,
    every_process_done,
    first_process_first,
    is_first_process,
)
from models.training.loop import TrainingConfig
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
from tasks.registry.store import BASE_FOLDER, network_at
from tasks.sources.synthetic.samples import SyntheticConfig, make_sample, synthetic_triplets
from tasks.sources.synthetic.shards import RenderWork, render
from tasks.storage.atomic_files import replaced_folder, write_durably
from tasks.storage.workspace import Workspace
from tasks.training.progress import training_progress
from tasks.training.run import TrainedWeights, keep_weights, run_training, work_folder

_ENCODER_SEED, _UNSEEN_OBJECTS_SEED = 930, 931
_TRAINING_SEED, _UNSEEN_SEED = 940, 941
"""Scenes that no other part of the project trains or tests on."""
_UNSEEN_OBJECTS = 400
_SHARD = 500
"""Samples a shard."""


class ObjectClearConfig(BaseModel):
    """What the network learns from, and how long.

    The defaults made the shipped one, except for sloppy masks, which are newer than its weights.
    """

    model_config = ConfigDict(frozen=True)

    encoder_objects: int = Field(
        default=3000, ge=1, description="Number of synthetic objects on which the image encoder is trained."
    )
    encoder_training: TrainingConfig = Field(
        default=TrainingConfig(
            steps=1200, batch_size=32, learning_rate=2e-3, warmup_steps=50, checkpoint_every=200
        ),
        description="Training of the image encoder. It is frozen afterwards.",
    )
    pairs: int = Field(
        default=1500, ge=1, description="Number of synthetic pairs on which the network is trained."
    )
    training: TrainingConfig = Field(
        default=PROFILES["tiny"].object_clear,
        description="Training of the U-Net and the object token.",
    )
    loss: ObjectClearLossConfig = Field(
        default=PROFILES["tiny"].object_clear_loss,
        description="Weights of the losses. The paper's mask loss has a weight of 0.01 over 100,000 steps.",
    )
    distributed: DistributedConfig = Field(
        default=DistributedConfig(), description="How the training runs on the processes and GPUs."
    )
    tested: int = Field(
        default=96, ge=1, description="Number of unseen synthetic pairs that are measured for the model card."
    )

    @field_validator("distributed")
    @classmethod
    def _starts_no_processes(cls, distributed: DistributedConfig) -> DistributedConfig:
        if distributed.processes > 1:
            raise ValueError(
                "this training starts no processes; leave processes at 1, or start the command with torchrun"
            )
        return distributed


class ObjectClearTrainingConfig(ObjectClearConfig):
    """The same, and where the weights go."""

    out: Path = Field(description="The folder to write; removals read models/weights/object_clear.")


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


@flow(name="train-shipped-object-clear", flow_run_name="train the shipped ObjectClear")
@fail_cleanly
def make_object_clear(config: ObjectClearTrainingConfig) -> ObjectClearCard | None:
    """Render, train, measure, write ``out``; killed and started again, it goes on where it stood.

    Started by a launcher in several processes, they train together.

    Returns:
        The card, in the first process; None in the others.
    """
    with first_process_first():
        workspace = Workspace.open(work_folder(config.out))
    say("training the image encoder on synthetic objects")
    encoder, naming = made_image_encoder(config, workspace)
    say(f"rendering {config.pairs} pairs")
    with first_process_first():
        shards = render_pairs(workspace, config.pairs)
    say("training the network with noise loss and mask loss")
    network = made_network(config, workspace, shards, encoder)
    every_process_done()  # The first one removes the workspace, which the others read until here.
    if not is_first_process():
        return None
    card = _measured(config, network, naming)
    with replaced_folder(config.out) as folder:
        network.save_small(folder)
        settings_of_use = {"guidance_scale": 1.0, "num_inference_steps": card.sampling_steps}
        ObjectClearPipeline.of_network(network, **settings_of_use).save_config(folder)
        write_durably(folder / "card.json", (card.model_dump_json(indent=2) + "\n").encode())
    return card


def _measured(config: ObjectClearConfig, network: ObjectClearNetwork, naming: NamingScore) -> ObjectClearCard:
    unseen, remover = unseen_pairs(config.tested), PlainObjectClear(network)
    evaluation = evaluate(remover, unseen, QualityConfig())
    untrained = _untrained(config, network.image_encoder)
    return ObjectClearCard(
        config=ObjectClearConfig.model_validate(config.model_dump(exclude={"out"})),
        shape_named=naming.shape,
        shape_by_chance=naming.shape_by_chance,
        color_named=naming.color,
        color_by_chance=naming.color_by_chance,
        attention_iou_before=attention_iou(PlainObjectClear(untrained), unseen),
        attention_iou_after=attention_iou(remover, unseen),
        success_rate=evaluation.success_rate,
        psnr_effect=evaluation.psnr_effect,
        psnr_background=evaluation.psnr_background,
        sampling_steps=remover.steps,
    )


def _untrained(config: ObjectClearConfig, encoder: CLIPVisionModelWithProjection) -> ObjectClearNetwork:
    return build_tiny_object_clear(network_at(BASE_FOLDER), encoder, config.training.seed)


def made_network(
    config: ObjectClearConfig,
    workspace: Workspace,
    shards: Sequence[ShardRef],
    encoder: CLIPVisionModelWithProjection,
) -> ObjectClearNetwork:
    """The network, trained once a workspace and set of settings."""
    digest = derive_key(config.model_dump_json(exclude={"distributed", "out"}))

    def fit(checkpoint: Path) -> ObjectClearNetwork:
        network = _untrained(config, encoder)
        with training_progress("training ObjectClear") as progress:
            train_object_clear(
                workspace,
                shards,
                network,
                config.training,
                config.loss,
                checkpoint,
                progress,
                config.distributed,
            )
        return network

    def keep(network: ObjectClearNetwork) -> TrainedWeights:
        return keep_weights(workspace, digest, network.save)

    trained = run_training(workspace, digest, TrainedWeights, fit, keep)
    return load_object_clear(workspace.fetched(trained.folder))


class TrainedImageEncoder(TrainedWeights):
    """An image encoder, and how well it names unseen objects."""

    score: NamingScore


def made_image_encoder(
    config: ObjectClearConfig, workspace: Workspace
) -> tuple[CLIPVisionModelWithProjection, NamingScore]:
    """The image encoder and its score, trained once a workspace and set of settings."""
    digest = derive_key("image encoder", config.encoder_objects, config.encoder_training.model_dump_json())

    def fit(checkpoint: Path) -> tuple[CLIPVisionModelWithProjection, NamingScore]:
        objects = _named(_ENCODER_SEED, config.encoder_objects)
        unseen = _named(_UNSEEN_OBJECTS_SEED, _UNSEEN_OBJECTS)
        with training_progress("training the image encoder") as progress:
            return train_image_encoder(objects, unseen, config.encoder_training, checkpoint, progress)

    def keep(fitted: tuple[CLIPVisionModelWithProjection, NamingScore]) -> TrainedImageEncoder:
        encoder, score = fitted
        folder = keep_weights(workspace, digest, encoder.save_pretrained).folder
        return TrainedImageEncoder(folder=folder, score=score)

    trained = run_training(workspace, digest, TrainedImageEncoder, fit, keep)
    folder = workspace.fetched(trained.folder)
    return CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True), trained.score


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
