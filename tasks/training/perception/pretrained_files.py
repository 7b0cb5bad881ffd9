"""Write a transformers model as its shipped files: float16 weights, config, and image preprocessing."""

from pathlib import Path

from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from models.perception.weights import FILE_NAME, weights_bytes
from tasks.storage.atomic_files import write_durably


def write_pretrained(model: PreTrainedModel, preparation: BaseImageProcessor, folder: Path) -> None:
    """Write the three files that ``from_pretrained`` reads, each atomically."""
    write_durably(folder / FILE_NAME, weights_bytes(model, {"format": "pt"}))
    write_durably(folder / "config.json", model.config.to_json_string().encode())
    write_durably(folder / "preprocessor_config.json", preparation.to_json_string().encode())
