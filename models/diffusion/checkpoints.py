"""Find published checkpoints: the full profile's own on this machine, and others by their name on the hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import httpx  # The one that the hub's client raises.
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

from data_specs.errors import InputError, first_line

_TOKENIZER = {"tokenizer_config.json": 1_000, "vocab.json": 1_000_000, "merges.txt": 500_000}


class Checkpoint(BaseModel):
    """Published weights, pinned to a revision of their repository on the Hugging Face hub."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name of its folder."""
    repository: str = ""
    """On the hub. Empty for a file of a website, which is then ``url``."""
    revision: str | None = None
    """None: not known here, so the newest one is fetched."""
    url: str = ""
    """A pickle, which ``cleanplate model convert`` turns into safetensors."""
    kind: str = ""
    """The kind that ``cleanplate model convert`` takes, for a ``url``."""
    licence: str
    purpose: str
    optional: bool = False
    """Whether another checkpoint of the list does the same."""
    files: dict[str, int]
    """Path within its folder → approximate number of bytes. Only the files that are needed."""

    @property
    def size_bytes(self) -> int:
        """Approximate size of all files together, bytes."""
        return sum(self.files.values())

    def fetch_command(self, folder: Path) -> str:
        """The shell command that downloads it into ``folder``. It needs a network."""
        if self.url:
            file = folder / self.url.rpartition("/")[2]
            return (
                f"curl -L --create-dirs -o {file} {self.url} && "
                f"cleanplate model convert {self.kind} {file} {folder / self.name}"
            )
        pinned = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {self.repository}{pinned} --local-dir {folder / self.name} " + " ".join(
            f"--include '{file}'" for file in self.files
        )


CHECKPOINTS = (
    # Where a revision is known, it is pinned. Those of the other perception checkpoints are unknown
    # (decision 0070). The names of the folders are those of docs/guides/full-size.md.
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
        purpose="ObjectClear's image encoder",
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
    Checkpoint(
        name="mask2former",
        repository="facebook/mask2former-swin-large-ade-semantic",
        licence="MIT",
        purpose="compositing's segmenter of the ground",
        files={"config.json": 80_000, "preprocessor_config.json": 1_000, "model.safetensors": 866_000_000},
    ),
    Checkpoint(
        name="depth-anything",
        repository="depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf",
        licence="CC-BY-NC-4.0",
        purpose="compositing's depth in metres",
        files={"config.json": 2_000, "preprocessor_config.json": 1_000, "model.safetensors": 1_341_000_000},
    ),
    Checkpoint(
        name="sam-vit-h",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
        kind="sam",
        licence="Apache-2.0",
        purpose="compositing's segmenter of objects",
        files={"model.safetensors": 2_564_000_000},
    ),
    Checkpoint(
        name="yolo11x",
        url="https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11x.pt",
        kind="yolo",
        licence="AGPL-3.0",
        purpose="compositing's detector of trained classes, in Grounding DINO's place",
        optional=True,
        files={"model.safetensors": 228_000_000},
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
        if not checkpoint.repository:
            return Found(folder=None)
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


# A checkpoint by its name on the hub, such as diffusers/stable-diffusion-xl-1.0-inpainting-0.1.

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = "weights"
"""Where the pages keep what was downloaded."""
_SMALL_FILES = (".json", ".txt", ".model")
"""Settings and tokenizers."""


def published_folder(name: str | Path) -> Path:
    """The folder that a name means: a folder on this machine, or else a repository of the hub.

    A repository is downloaded into the hub's cache, without the files that no class here reads. Offline, the
    cache alone is used. A path below a folder that is here, or below ``weights``, is never a repository: a
    stranger's network must not take the place of a folder that is missing.

    Args:
        name: A folder, or ``owner/name``.

    Returns:
        The folder. A name of neither kind comes back as a path that does not exist.

    Raises:
        InputError: If it looks like a repository that is neither reachable nor in the cache.
    """
    folder, text = Path(name), str(name)
    is_local = folder.exists() or folder.parent.is_dir() or folder.parts[:1] == (_WEIGHTS,)
    if is_local or not _HUB_NAME.fullmatch(text):
        return folder
    revision = next((listed.revision for listed in CHECKPOINTS if listed.repository == text), None)
    try:
        files = needed_files(HfApi().list_repo_files(text, revision=revision))
        return Path(snapshot_download(text, revision=revision, allow_patterns=files))
    except (httpx.HTTPError, OSError, RuntimeError, ValueError, HFValidationError) as error:
        cached = None if isinstance(error, RepositoryNotFoundError) else _in_cache(text, revision)
        if cached is not None:
            return cached
        raise InputError(
            text,
            f"is no folder here, and the hub does not give it ({first_line(error)}); where there is a "
            f"network, run `hf download {text} --local-dir FOLDER`, and name that folder",
        ) from error


def needed_files(names: Sequence[str]) -> list[str]:
    """The files of a repository that classes here read: settings, tokenizers and its parts' safetensors.

    fp16 files are left out where their plain twins exist, and so are pickles and whole pipelines in one file.

    Args:
        names: All files of the repository.
    """
    parted = any(name.startswith("unet/") for name in names)
    own = [name for name in names if "/" in name or not parted or name == "model_index.json"]
    plain = {name.rpartition("/")[0] for name in own if name.endswith(".safetensors") and ".fp16" not in name}
    return [
        name
        for name in own
        if name.endswith((*_SMALL_FILES, ".safetensors"))
        and not (".fp16" in name and name.rpartition("/")[0] in plain)
    ]


def _in_cache(repository: str, revision: str | None) -> Path | None:
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None
