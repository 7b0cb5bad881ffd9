"""Read the settings of the two profiles, `tiny` and `full`. No other file knows what they mean."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.rorem.discriminator import ATTENTION, CONVOLUTIONS, DiscriminatorConfig
from models.rorem.lcm_lora import LcmLoraConfig
from models.rorem.remover import SamplingConfig
from models.training.distributed import DistributedConfig
from models.training.loop import TrainingConfig
from models.training.losses.lcm import LcmLossConfig
from models.training.losses.object_clear import ObjectClearLossConfig
from models.training.losses.remover import RemoverLossConfig

ProfileName = Literal["tiny", "full"]


class Profile(BaseModel):
    """How networks of one size are trained and sampled."""

    model_config = ConfigDict(frozen=True)

    remover: TrainingConfig
    remover_loss: RemoverLossConfig
    object_clear: TrainingConfig
    object_clear_loss: ObjectClearLossConfig
    retraining: TrainingConfig
    """Retraining of the remover after each phase of a round."""
    retraining_loss: RemoverLossConfig
    discriminator_shape: DiscriminatorConfig
    discriminator: TrainingConfig
    sampling: SamplingConfig
    distillation: TrainingConfig
    distillation_loss: LcmLossConfig
    lora: LcmLoraConfig
    distilled_sampling: SamplingConfig
    distributed: DistributedConfig


_FULL_REMOVER = TrainingConfig(
    steps=50_000,
    batch_size=128,
    learning_rate=5e-5,
    schedule="constant",
    warmup_steps=500,
    ema_decay=0.9999,
    checkpoint_every=500,
)

PROFILES: dict[ProfileName, Profile] = {
    "tiny": Profile(
        remover=TrainingConfig(steps=150, batch_size=8, learning_rate=6e-4),
        remover_loss=RemoverLossConfig(change_weight=3, noisy_fraction=0.5),
        object_clear=TrainingConfig(steps=5500, learning_rate=1e-3, checkpoint_every=50),
        object_clear_loss=ObjectClearLossConfig(change_weight=3, noisy_fraction=0.5, mask_loss_weight=0.1),
        retraining=TrainingConfig(steps=140, batch_size=8, learning_rate=5e-4),
        retraining_loss=RemoverLossConfig(change_weight=5, noisy_fraction=0.5),
        discriminator_shape=DiscriminatorConfig(
            lora_rank=16, lora_alpha=16, lora_targets=ATTENTION + CONVOLUTIONS, head="pooled", head_width=64
        ),
        discriminator=TrainingConfig(steps=400, batch_size=16, learning_rate=1e-3, ema_decay=0.98),
        # The tiny network predicts the clean latent: two steps succeed as often as four, at half the cost.
        sampling=SamplingConfig(steps=2),
        # The tiny networks have never seen a blank prompt, so they have no guidance.
        distillation=TrainingConfig(steps=150, learning_rate=3e-4),
        distillation_loss=LcmLossConfig(guidance_low=0, guidance_high=0, change_weight=3),
        lora=LcmLoraConfig(rank=16),
        distilled_sampling=SamplingConfig(steps=4),
        distributed=DistributedConfig(),
    ),
    # Papers.md, facts 5, 6, 8 and 18. Batches are those of the papers' 8 GPUs together. The papers train in
    # fp16. Here it is bfloat16, whose range needs no loss scaling. EMA is NOT PUBLISHED.
    "full": Profile(
        remover=_FULL_REMOVER,
        remover_loss=RemoverLossConfig(),
        object_clear=TrainingConfig(
            steps=100_000,
            batch_size=32,
            learning_rate=1e-5,
            warmup_steps=500,
            ema_decay=0.9999,
            checkpoint_every=500,
        ),
        object_clear_loss=ObjectClearLossConfig(),
        # The retraining of a round is NOT PUBLISHED. Here it equals the first training.
        retraining=_FULL_REMOVER,
        retraining_loss=RemoverLossConfig(),
        discriminator_shape=DiscriminatorConfig(),
        discriminator=TrainingConfig(
            steps=15_000,
            batch_size=256,
            learning_rate=1e-5,
            schedule="constant",
            warmup_steps=0,
            ema_decay=0.999,
            checkpoint_every=500,
        ),
        sampling=SamplingConfig(steps=50, strength=0.99, batch_size=8),
        # Papers.md, fact 7. The batch size is NOT PUBLISHED. Strength 0.99 would leave three of four steps.
        distillation=TrainingConfig(
            steps=20_000,
            batch_size=128,
            learning_rate=5e-5,
            schedule="constant",
            warmup_steps=500,
            ema_decay=0.9999,
            checkpoint_every=500,
        ),
        distillation_loss=LcmLossConfig(),
        lora=LcmLoraConfig(),
        distilled_sampling=SamplingConfig(steps=4, batch_size=8),
        distributed=DistributedConfig(
            micro_batch_size=4,
            precision="bfloat16",
            gradient_checkpointing=True,
            loader_workers=4,
            keep_checkpoints=2,
        ),
    ),
}
