"""Find the published checkpoints of the full profile on this machine, each pinned to a revision."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

_TOKENIZER = {"tokenizer_config.json": 1_000, "vocab.json": 1_000_000, "merges.txt": 500_000}


class Checkpoint(BaseModel):
    """Published weights, pinned to a revision of their repository on the Hugging Face hub."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name of its folder."""
    repository: str
    revision: str
    licence: str
    purpose: str
    files: dict[str, int]
    """Path within the repository → approximate number of bytes. Only the files that are needed."""

    @property
    def size_bytes(self) -> int:
        """Approximate size of all files together, bytes."""
        return sum(self.files.values())

    def fetch_command(self, folder: Path) -> str:
        """The shell command that downloads it into ``folder``. It needs a network."""
        return (
            f"hf download {self.repository} --revision {self.revision} --local-dir {folder / self.name} "
            + (" ".join(f"--include '{file}'" for file in self.files))
        )


CHECKPOINTS = (
    # Only checkpoints that a class here reads and whose revision is known. The revisions of the other
    # perception checkpoints are unknown (decision 0070).
    Checkpoint(
        name="sdxl-inpainting",
        repository="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        revision="115134f363124c53c7d878647567d04daf26e41e",
        licence="CreativeML Open RAIL++-M",
        purpose="base of the remover, the discriminator and ObjectClear",
        files={
            "unet/config.json": 2_000,
            "unet/diffusion_pytorch_model.safetensors": 10_270_000_000,
            "vae/config.json": 1_000,
            "vae/diffusion_pytorch_model.safetensors": 335_000_000,
            "scheduler/scheduler_config.json": 1_000,
            "text_encoder/config.json": 1_000,
            "text_encoder/model.safetensors": 492_000_000,
            "text_encoder_2/config.json": 1_000,
            "text_encoder_2/model.safetensors": 2_780_000_000,
            **{f"tokenizer/{name}": size for name, size in _TOKENIZER.items()},
            **{f"tokenizer_2/{name}": size for name, size in _TOKENIZER.items()},
        },
    ),
    Checkpoint(
        name="clip-vit-large-patch14",
        repository="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        licence="MIT (OpenAI's CLIP)",
        purpose="ObjectClear's image encoder; the CLIP metric",
        files={"config.json": 5_000, "preprocessor_config.json": 1_000, "model.safetensors": 1_710_000_000},
    ),
    Checkpoint(
        name="grounding-dino-tiny",
        repository="IDEA-Research/grounding-dino-tiny",
        revision="a2bb814dd30d776dcf7e30523b00659f4f141c71",
        licence="Apache-2.0",
        purpose="compositing's detector for any words",
        files={
            "config.json": 2_000,
            "preprocessor_config.json": 1_000,
            "tokenizer.json": 711_000,
            "tokenizer_config.json": 1_000,
            "model.safetensors": 689_000_000,
        },
    ),
)


class Found(BaseModel):
    """The folder where a checkpoint lies on this machine, and the files that are missing or damaged."""

    model_config = ConfigDict(frozen=True)

    folder: Path | None
    """None if the checkpoint is nowhere."""
    absent: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Weight files that are truncated or are not safetensors."""

    @property
    def usable(self) -> bool:
        """Whether the checkpoint is complete and undamaged."""
        return self.folder is not None and not self.absent and not self.damaged


def find_checkpoint(checkpoint: Checkpoint, folder: Path) -> Found:
    """Look for a checkpoint in ``folder``, then in the hub's cache on this machine. Downloads nothing."""
    place = folder / checkpoint.name
    if not place.is_dir():
        try:
            cached = snapshot_download(
                checkpoint.repository, revision=checkpoint.revision, local_files_only=True
            )
        except LocalEntryNotFoundError:
            return Found(folder=None)
        place = Path(cached)
    return Found(
        folder=place,
        absent=tuple(name for name in checkpoint.files if not (place / name).is_file()),
        damaged=tuple(
            name
            for name in checkpoint.files
            if name.endswith(".safetensors") and (place / name).is_file() and not _whole(place / name)
        ),
    )


def _whole(path: Path) -> bool:
    """Whether the file is as long as its header says."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False
