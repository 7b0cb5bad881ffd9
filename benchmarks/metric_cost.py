"""What each metric costs a picture, beside removing it with the shipped base. Nothing was asked for.

Run: python -m benchmarks.metric_cost [--size-px 512] [--json]

The backbones are of full size (CLIP ViT-L/14, DINOv2 base, SAM ViT-B, AlexNet) and untrained: the cost is the
same, the numbers mean nothing. ReMOVE's own SAM is ViT-H, about six times ViT-B.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    SamVisionConfig,
    SamVisionModel,
)

from benchmarks._alternate import alternate, ratio_of, report
from benchmarks._machine import machine
from data_specs.assessment import QualityConfig
from data_specs.metric import RemovedPicture
from models.metrics.lpips import FILE_NAME, AlexLpips
from models.metrics.registry import MetricConfig, available_metrics
from models.protocols import Metric
from tasks.assess import changed_region
from tasks.evaluate import removals_of
from tasks.removers import open_remover
from tasks.sources.studio.shots import StudioConfig, studio_triplets


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    studio = StudioConfig(size_px=arguments.size_px, split="test", seed=900)
    triplets = list(studio_triplets(studio, range(arguments.pictures)))
    base = open_remover("rorem", steps=None).remover
    pictures = [
        RemovedPicture(
            source=t.source,
            mask=t.mask,
            effect_region=changed_region(t.source, t.mask, t.ground_truth, QualityConfig()),
            ground_truth=t.ground_truth,
            removal=t.source,
        )
        for t in triplets
    ]
    ways: dict[str, Callable[[], object]] = {"removing (rorem)": lambda: removals_of(base, triplets)}
    with tempfile.TemporaryDirectory() as folder:
        save_full_size(Path(folder))
        for metric in available_metrics(MetricConfig(weights=Path(folder)))[0]:
            ways[metric.spec.title] = measuring(metric, pictures)
    seconds = alternate(ways, arguments.runs)
    figures = {**ratio_of(seconds, "SSIM", "removing (rorem)"), "machine": machine()}
    title = f"metrics at {arguments.size_px} px (ratio: SSIM to removing)"
    report(title, seconds, arguments.pictures, figures, arguments.as_json)


def measuring(metric: Metric, pictures: list[RemovedPicture]) -> Callable[[], object]:
    """The metric on all the pictures."""
    return lambda: metric.measure(pictures)


def save_full_size(folder: Path) -> None:
    """Every family's folder, at the size people use, untrained."""
    clip = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14,
        projection_dim=768,
    )  # fmt: skip
    CLIPVisionModelWithProjection(clip).save_pretrained(folder / "clip")
    CLIPImageProcessorPil().save_pretrained(folder / "clip")
    Dinov2Model(Dinov2Config(image_size=518)).save_pretrained(folder / "dino")
    CLIPImageProcessorPil(size={"shortest_edge": 256}).save_pretrained(folder / "dino")
    SamVisionModel(SamVisionConfig(mlp_dim=3072, global_attn_indexes=[2, 5, 8, 11])).save_pretrained(
        folder / "sam"
    )
    (folder / "lpips").mkdir()
    save_file(AlexLpips().state_dict(), folder / "lpips" / FILE_NAME)


if __name__ == "__main__":
    main()
