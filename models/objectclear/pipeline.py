"""Run ObjectClear as a diffusers pipeline: remove an object and its effect from images of any size."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from data_specs.arrays import Alpha, Mask, RgbImage
from data_specs.errors import InputError, ModelError
from models.diffusion.inpainting import SamplingPrecision, autocast_to
from models.images.any_size import fused_at_full_size, short_side_of
from models.images.fusion import FusionForm, attended_region, scaled_attention
from models.images.tensors import images_to_tensor, masks_to_tensor, tensor_to_images
from models.images.window import SIDE_MULTIPLE_PX, WorkWindow, choose_window, spread_map, whole_image
from models.objectclear.attention import capture_object_attention
from models.objectclear.network import ObjectClearNetwork, load_object_clear
from models.objectclear.pipeline_io import (
    Generators,
    ImageInput,
    LatentSpace,
    MaskInput,
    ObjectClearOutput,
    OutputType,
    ShownImage,
    as_images,
    as_masks,
    as_output,
    show_images,
)

# The sampling loop: diffusers' SDXL inpainting, with the full image in place of the masked one
# (papers.md, fact 16).

OnStep = Callable[[int, Tensor, Tensor], Tensor]
"""Called with (step number, timestep, latents) after each step. Returns the latents to continue with."""


@torch.no_grad()
def denoise(
    network: ObjectClearNetwork,
    source: Tensor,
    mask: Tensor,
    noise: Tensor,
    steps: int,
    guidance_scale: float,
    on_step: OnStep,
    blend_first_step: bool = False,
    precision: SamplingPrecision = "float32",
) -> tuple[Tensor, Tensor]:
    """Remove one object from each image of a batch.

    Args:
        network: Its schedule is set to the number of steps.
        source: B×3×H×W float, [-1, 1].
        mask: B×1×H×W float, 0 or 1.
        noise: B×k×h×w float, the first latents.
        steps: Denoising steps.
        guidance_scale: At 1 and below there is no unconditional pass. That pass uses zeros as its prompt, as
            SDXL does for an empty one.
        on_step: See ``OnStep``.
        blend_first_step: After the first step, take the latents outside the mask from the source, with the
            noise of the next timestep. The released code does so, the paper does not mention it. With one
            step there is no next one, and nothing is blended.
        precision: Precision of the U-Net's passes (autocast). A network in half precision needs none.

    Returns:
        The removals B×3×H×W float, [-1, 1] before clipping, and the object token's attention B×heads×h×w. The
        attention is that of the first layer that has it, at the last step, in the conditional half (fact 19).
    """
    unet, scale = network.unet, network.vae.config["scaling_factor"]
    # diffusers' schedulers take tensors for timesteps, but their annotations say int.
    scheduler = cast(Any, network.scheduler)
    unet.eval()
    is_guided = guidance_scale > 1
    hidden, added = _conditioned(network, source, mask, is_guided)
    hidden, added = hidden.to(noise), {name: part.to(noise) for name, part in added.items()}
    seen = network.vae.encode(source).latent_dist.mode() * scale
    fixed = torch.cat([torch.nn.functional.interpolate(mask, seen.shape[-2:], mode="nearest"), seen], dim=1)
    scheduler.set_timesteps(steps, device=noise.device)
    timesteps = scheduler.timesteps

    def predict(latents: Tensor, step: Tensor) -> Tensor:
        inputs = torch.cat([scheduler.scale_model_input(latents, step), fixed], dim=1)
        inputs = torch.cat([inputs, inputs]) if is_guided else inputs
        with nullcontext() if precision == "float32" else autocast_to(precision, inputs.device):
            predicted = unet(inputs, step, hidden, added_cond_kwargs=added).sample.to(latents.dtype)
        if not is_guided:
            return predicted
        unconditional, conditional = predicted.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    latents = noise * scheduler.init_noise_sigma
    for number, step in enumerate(timesteps[:-1]):
        latents = _next(scheduler, predict(latents, step), step, latents)
        if blend_first_step and number == 0:
            inside, kept = fixed[:, :1], scheduler.add_noise(seen, noise, timesteps[1:2])
            latents = (1 - inside) * kept + inside * latents
        latents = on_step(number, step, latents)
    with capture_object_attention(unet, network.prompt.object_position, "first") as maps:
        predicted = predict(latents, timesteps[-1])
    latents = _next(scheduler, predicted, timesteps[-1], latents)
    latents = on_step(len(timesteps) - 1, timesteps[-1], latents)
    attention = next(iter(maps.values()))[-len(source) :]
    return network.vae.decode(latents / scale).sample, attention


def _next(scheduler: Any, predicted: Tensor, step: Tensor, latents: Tensor) -> Tensor:
    return scheduler.step(predicted, step, latents).prev_sample


def _conditioned(
    network: ObjectClearNetwork, source: Tensor, mask: Tensor, is_guided: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """The conditioning. With guidance, the unconditional half comes first."""
    hidden, added = network.condition(source, mask)
    if not is_guided:
        return hidden, added
    nothing = {**added, "text_embeds": torch.zeros_like(added["text_embeds"])}
    both = {name: torch.cat([nothing[name], added[name]]) for name in added}
    return torch.cat([torch.zeros_like(hidden), hidden]), both


StepCallback = Callable[..., dict[str, Any]] | PipelineCallback | MultiPipelineCallbacks
_PARTS = ("unet", "vae", "scheduler", "prompt", "image_encoder", "object_token")
_SETTINGS = ("guidance_scale", "num_inference_steps")


class ObjectClearPipeline(DiffusionPipeline):
    """Removes objects with their effects (papers.md, facts 16, 19 and 20).

    ``from_pretrained`` reads what ``save_pretrained`` or ``ObjectClearNetwork.save`` wrote. The defaults of
    guidance and steps come from ``model_index.json``. Without that file they are fact 20's.
    """

    model_cpu_offload_seq = "image_encoder->object_token->unet->vae"
    _callback_tensor_inputs = ("latents",)

    def __init__(
        self,
        unet: Any,
        vae: Any,
        scheduler: Any,
        prompt: Any,
        image_encoder: Any,
        object_token: Any,
        guidance_scale: float = 2.5,
        num_inference_steps: int = 20,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            vae=vae,
            scheduler=scheduler,
            prompt=prompt,
            image_encoder=image_encoder,
            object_token=object_token,
        )
        self.register_to_config(guidance_scale=guidance_scale, num_inference_steps=num_inference_steps)

    @classmethod
    def of_network(cls, network: ObjectClearNetwork, **settings: Any) -> Self:
        """Make a pipeline from a network's own parts. The settings are those of the constructor."""
        return cls(**{part: getattr(network, part) for part in _PARTS}, **settings)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:
        """Read a folder, with safetensors only. Never downloads from a hub.

        Args:
            pretrained_model_name_or_path: The folder.
            kwargs: ``torch_dtype`` is supported. Without it the networks are float32.

        Raises:
            ModelError: If a part is missing or damaged. The message names the folder.
            TypeError: If another keyword is given.
        """
        folder = Path(pretrained_model_name_or_path)
        dtype = kwargs.pop("torch_dtype", None)
        if kwargs:
            raise TypeError(f"from_pretrained takes torch_dtype only; leave out {', '.join(kwargs)}")
        pipeline = cls.of_network(load_object_clear(folder), **_settings_in(folder))
        return pipeline if dtype is None else pipeline.to(dtype)

    def save_pretrained(self, save_directory: Any, *unknown: Any, **options: Any) -> None:
        """Write a folder in diffusers' layout, with safetensors only.

        Raises:
            TypeError: If anything besides the folder is given.
        """
        if unknown or options:
            raise TypeError("save_pretrained takes a folder and nothing else; it writes safetensors only")
        self.network.save(Path(save_directory))
        self.save_config(save_directory)

    @property
    def network(self) -> ObjectClearNetwork:
        """The parts as one network."""
        return ObjectClearNetwork(**{part: getattr(self, part) for part in _PARTS})

    @property
    def short_side_px(self) -> int:
        """The short side at which the network works."""
        return short_side_of(self.unet, self.vae)

    @torch.no_grad()
    def __call__(
        self,
        image: ImageInput,
        mask_image: MaskInput,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: Generators = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        attention_guided_fusion: bool = True,
        fusion_form: FusionForm = "banded",
        blend_first_step: bool = False,
        precision: SamplingPrecision = "float32",
    ) -> ObjectClearOutput | tuple[Any, list[Alpha]]:
        """Remove one object from each image.

        Args:
            image: An image or a batch: PIL, numpy H×W×3 (uint8, or float [0, 1]), tensors 3×H×W [0, 1].
            mask_image: One mask for each image, of the image's size. Above half = remove.
            height: Rows at which the network sees the whole image, together with ``width``. Without both it
                sees the object's neighbourhood. In both cases the result has the image's own size.
            width: Columns, as ``height``.
            num_inference_steps: Default: the configured value (20 in fact 20).
            guidance_scale: Default: the configured value (2.5). At 1 and below there is no unconditional
                pass.
            generator: Of the noise: one for all images in turn, or one for each.
            output_type: ``pil``, ``np`` (B×H×W×3 float [0, 1]), ``pt`` (B×3×H×W float [0, 1]) or ``uint8`` (a
                list of H×W×3, as in the rest of the project).
            return_dict: False returns the tuple (images, attention).
            callback_on_step_end: Called as diffusers does, with (pipeline, step, timestep, tensors). Images
                at different work sizes are denoised one size after the other, with calls for each.
            callback_on_step_end_tensor_inputs: Which tensors the callback gets: ``latents``.
            attention_guided_fusion: False: the generated image as it is, wherever the network attended.
            fusion_form: ``banded`` keeps everything except a band around the change exactly. ``paper`` is
                fact 19's.
            blend_first_step: True: outside the mask, the latents after the first step are the image's own
                with noise, as in the released code (fact 19).
            precision: Precision of the U-Net's passes (autocast). The rest keeps the pipeline's own.

        Returns:
            The output, or the tuple (images, attention).

        Raises:
            InputError: If an input is of an unknown kind, sizes differ, or a mask is empty.
        """
        on_step = self._on_step(callback_on_step_end, callback_on_step_end_tensor_inputs)
        steps = self.config["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        guidance = self.config["guidance_scale"] if guidance_scale is None else guidance_scale
        input_images = as_images(image)
        masks = as_masks(mask_image, input_images)
        removals: list[RgbImage] = list(input_images)
        attention = [np.zeros(mask.shape, np.float32) for mask in masks]
        for group in self._show(input_images, masks, _work_size(height, width), generator):
            generated, maps = self._generate(group, steps, guidance, on_step, blend_first_step, precision)
            for one, input_image, attended in zip(group, generated, maps, strict=True):
                region = np.ones_like(one.mask)
                if attention_guided_fusion:
                    # The user's mask is included, whether the network attended to it or not.
                    region = one.mask | attended_region(attended, *one.mask.shape)
                source, mask = input_images[one.index], masks[one.index]
                removals[one.index] = fused_at_full_size(
                    source, mask, one.window, input_image, region, fusion_form
                )
                spread_map(attended, one.window, attention[one.index])
        self.maybe_free_model_hooks()
        images = as_output(removals, output_type)
        return ObjectClearOutput(images=images, attention=attention) if return_dict else (images, attention)

    def _on_step(self, callback: StepCallback | None, inputs: Sequence[str]) -> OnStep:
        """Wrap the user's callback for the sampling loop."""
        if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
            inputs = callback.tensor_inputs
        unknown = set(inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise InputError(
                "callback_on_step_end_tensor_inputs", f"unknown: {', '.join(sorted(unknown))}; leave them out"
            )

        def told(number: int, step: Tensor, latents: Tensor) -> Tensor:
            if callback is None:
                return latents
            answer = cast(Callable[..., dict[str, Any]], callback)(
                self, number, step, dict.fromkeys(inputs, latents)
            )
            return answer.get("latents", latents)

        return told

    def _show(
        self,
        input_images: Sequence[RgbImage],
        masks: Sequence[Mask],
        work_size: tuple[int, int] | None,
        generator: Generators,
    ) -> list[list[ShownImage]]:
        def window_of(mask: Mask) -> WorkWindow:
            if work_size is not None:
                return whole_image(mask.shape[0], mask.shape[1], *work_size)
            return choose_window(mask, self.short_side_px)

        factor = 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        channels = self.unet.config["out_channels"]
        space = LatentSpace(channels, factor, self._execution_device, self.unet.dtype)
        return show_images(input_images, masks, window_of, space, generator)

    def _generate(
        self,
        group: Sequence[ShownImage],
        steps: int,
        guidance_scale: float,
        on_step: OnStep,
        blend_first_step: bool,
        precision: SamplingPrecision,
    ) -> tuple[list[RgbImage], list[Alpha]]:
        """Generate images of one size.

        Returns the images and their attention (h×w, scaled to its own range).
        """
        noise = torch.cat([one.noise for one in group])
        source = images_to_tensor([one.image for one in group]).to(noise)
        mask = masks_to_tensor([one.mask for one in group]).to(noise)
        # diffusers' decorator hides the method's parameters from type checkers.
        with cast(Any, self).progress_bar(total=steps) as bar:

            def counted(number: int, step: Tensor, latents: Tensor) -> Tensor:
                bar.update()
                return on_step(number, step, latents)

            generated, attention = denoise(
                self.network,
                source,
                mask,
                noise,
                steps,
                guidance_scale,
                counted,
                blend_first_step,
                precision,
            )
        maps = [scaled_attention(heads) for heads in attention.float().cpu().numpy()]
        return tensor_to_images(generated), maps


def _settings_in(folder: Path) -> dict[str, Any]:
    """The settings in a folder's ``model_index.json``."""
    path = folder / DiffusionPipeline.config_name
    try:
        index = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ModelError(f"{path}: is not JSON ({error}); download it again") from error
    return {name: index[name] for name in _SETTINGS if name in index}


def _work_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    if height is None and width is None:
        return None
    if height is None or width is None or height % SIDE_MULTIPLE_PX or width % SIDE_MULTIPLE_PX:
        raise InputError("height and width", f"{height} and {width}; give both, multiples of 16, or neither")
    return height, width
