"""Use ObjectClear's pipeline as a remover in the flows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.keys import derive_key
from models.diffusion.inpainting import SamplingPrecision
from models.objectclear.pipeline import ObjectClearPipeline
from models.objectclear.pipeline_io import ObjectClearOutput


@dataclass(slots=True)
class ObjectClearRemover:
    """A RemovalModel and an AttentiveRemover, for images of any size."""

    pipeline: ObjectClearPipeline
    steps: int | None = None
    """None: the pipeline's own number."""
    batch_size: int = 32
    """Images in one forward pass."""
    precision: SamplingPrecision = "float32"
    """Precision of the U-Net's passes."""
    _hash: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self.pipeline.set_progress_bar_config(disable=True)

    @property
    def model_hash(self) -> str:
        """Names weights, steps and guidance. Computed once, so train before you ask for it."""
        if not self._hash:
            steps = self.steps or self.pipeline.config["num_inference_steps"]
            sampling = f"{steps} {self.pipeline.config['guidance_scale']}"
            if self.precision != "float32":
                sampling += f" {self.precision}"
            self._hash = derive_key("object clear", self.pipeline.network.fingerprint(), sampling)
        return self._hash

    def remove(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> list[RgbImage]:
        """See ``RemovalModel.remove``. The images may differ in size."""
        removals: list[RgbImage] = []
        for start in range(0, len(sources), self.batch_size):
            part = slice(start, start + self.batch_size)
            removals += self._run(sources[part], masks[part], seeds[part])[0]
        return removals

    def remove_attending(self, source: RgbImage, mask: Mask, seed: int) -> tuple[RgbImage, Alpha]:
        """See ``AttentiveRemover.remove_attending``."""
        removals, attention = self._run([source], [mask], [seed])
        return removals[0], attention[0]

    def _run(
        self, sources: Sequence[RgbImage], masks: Sequence[Mask], seeds: Sequence[int]
    ) -> tuple[list[RgbImage], list[Alpha]]:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        output = self.pipeline(
            list(sources),
            list(masks),
            num_inference_steps=self.steps,
            generator=generators,
            output_type="uint8",
            precision=self.precision,
        )
        assert isinstance(output, ObjectClearOutput)
        return output.images, output.attention
