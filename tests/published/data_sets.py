"""Small data sets in the layouts in which their authors publish them, written without our own code."""

import json
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 320, 240
"""Of all images, in pixels, unless a test sets others."""
SAMPLE_CLIP = Path(__file__).parents[2] / "tasks/sources/sample/pedestrians.mp4"
COLOURS = ((220, 40, 40), (40, 60, 220), (240, 200, 30), (30, 200, 90))


def photo(seed: int, width: int | None = None, height: int | None = None) -> Image.Image:
    """Blurred noise of low contrast: no two seeds look alike."""
    width, height = width or WIDTH, height or HEIGHT
    small = np.random.default_rng(seed).integers(60, 200, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def polygon(seed: int, width: int | None = None, height: int | None = None) -> list[int]:
    """A hexagon away from the border: x, y, x, y …"""
    width, height = width or WIDTH, height or HEIGHT
    rng = np.random.default_rng(1000 + seed)
    x, y = rng.uniform(0.35, 0.65) * width, rng.uniform(0.4, 0.6) * height
    angles = np.arange(6) * np.pi / 3 + rng.uniform(0, 1)
    radius = 0.22 * height
    return [round(v) for a in angles for v in (x + radius * np.cos(a), y + radius * np.sin(a))]


def drawn(image: Image.Image, points: list[int], seed: int) -> Image.Image:
    with_object = image.copy()
    ImageDraw.Draw(with_object).polygon(points, fill=COLOURS[seed % len(COLOURS)])
    return with_object


def mask_of(points: list[int], width: int | None = None, height: int | None = None) -> np.ndarray:
    """H×W bool."""
    width, height = width or WIDTH, height or HEIGHT
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return np.asarray(mask) > 0


def rord(folder: Path, scenes: int = 12, frames: int = 3) -> Path:
    """As AIHub publishes it: ``jpg/SCENE`` with the ground truth last, ``M/SCENE`` with polygons."""
    for number in range(scenes):
        scene = f"MOV{number:03d}_S01"
        truth = photo(number)
        for part in ("jpg", "M"):
            (folder / "Training" / part / scene).mkdir(parents=True, exist_ok=True)
        for frame in range(frames):
            points = polygon(10 * number + frame)
            stem = f"{scene}_F{frame + 1:04d}"
            drawn(truth, points, frame).save(folder / f"Training/jpg/{scene}/{stem}.jpg", quality=95)
            doubled = [2 * value for value in points]
            annotations = [
                {"Class_ID": "F38", "segmentation": doubled},
                {"Class_ID": "BO30", "segmentation": [0, 0, 60, 0, 60, 60, 0, 60]},
                {"Class_ID": "F38", "segmentation": [5, 5]},
            ]
            content = {
                "Raw_Data_Info.": {"Resolution": f"{2 * WIDTH}, {2 * HEIGHT}"},
                "Learning_Data_Info.": {"Annotation": annotations},
            }
            (folder / f"Training/M/{scene}/{stem}_M.json").write_text(json.dumps(content))
        truth.save(folder / f"Training/jpg/{scene}/{scene}_G0001.jpg", quality=95)
    return folder


def rord_prepared(folder: Path, scenes: int = 3, frames: int = 2) -> Path:
    """As its authors' program prepares it: ``img``, ``gt`` and inverted ``mask``, all PNG."""
    for part in ("img", "gt", "mask"):
        (folder / "train" / part).mkdir(parents=True, exist_ok=True)
    for number in range(scenes):
        truth = photo(number)
        for frame in range(frames):
            points, name = polygon(10 * number + frame), f"MOV{number:03d}_F{frame + 1:04d}.png"
            drawn(truth, points, frame).save(folder / "train/img" / name)
            truth.save(folder / "train/gt" / name)
            Image.fromarray(np.where(mask_of(points), 0, 255).astype(np.uint8)).save(
                folder / "train/mask" / name
            )
    return folder


def mulan(folder: Path, images: int = 6, layers: int = 2) -> Path:
    """``annotations/NAME.p.zl`` beside ``images/NAME.jpg``, as numpy and Pillow pickle them."""
    for part in ("annotations", "images"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        behind, name = photo(200 + number), f"{number:012d}"
        masks = [mask_of(polygon(500 + 10 * number + layer)) for layer in range(layers)]
        whole = np.asarray(behind).copy()
        for layer, mask in enumerate(masks):
            whole[mask] = COLOURS[layer]
        Image.fromarray(whole).save(folder / f"images/{name}.png")
        content = {
            "captioning": {"llava": "details"},
            "background": _layer(whole, ~np.any(masks, axis=0), np.asarray(behind)),
            "image": {"llava": "a caption", "blip2": "a caption"},
            "instances": {
                layer: _instance(
                    whole, mask, np.any([np.zeros_like(mask), *masks[layer + 1 :]], axis=0), layer
                )
                for layer, mask in enumerate(masks)
            },
        }
        (folder / f"annotations/{name}.p.zl").write_bytes(zlib.compress(pickle.dumps(content)))
    return folder


def _layer(whole: np.ndarray, shown: np.ndarray, complete: np.ndarray) -> dict:
    """What the image shows of a layer, and what must be added to complete it."""
    delta = np.where(shown[..., None], 0, complete).astype(np.uint8)
    return {"llava": "text", "blip2": "text", "original_image_mask": shown, "inpainted_delta": delta}


def _instance(whole: np.ndarray, mask: np.ndarray, hidden: np.ndarray, layer: int) -> dict:
    complete = np.zeros_like(whole)
    complete[mask] = COLOURS[layer]
    alpha = Image.fromarray((mask * 255).astype(np.uint8))
    return {**_layer(whole, mask & ~hidden, complete), "instance_alpha": alpha}


def openimages_v7(folder: Path, images: int = 40) -> Path:
    """``images/``, the CSV of masks, V7's class file and 16 archives of masks, none of them unpacked."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    archives: dict[str, list[tuple[str, bytes]]] = {digit: [] for digit in "0123456789abcdef"}
    rows = ["MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"]
    for number in range(images):
        image_id = f"{(number * 7919 + 11) % 16:x}{number:015x}"
        points = polygon(number)
        drawn(photo(400 + number), points, number).save(folder / f"images/{image_id}.jpg", quality=95)
        name = f"{image_id}_m0{number % 4}_abcd.png"
        written = BytesIO()
        Image.fromarray(mask_of(points)).save(written, "PNG")
        archives[image_id[0]].append((name, written.getvalue()))
        rows.append(f"{name},{image_id},/m/0{number % 4},box,0,1,0,1,0.9,x")
    for digit, members in archives.items():
        with zipfile.ZipFile(folder / f"train-masks-{digit}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
    (folder / "train-annotations-object-segmentation.csv").write_text("\n".join(rows) + "\n")
    names = ("Dog", "Car", "Chair", "Hat")
    lines = ["LabelName,DisplayName", *(f"/m/0{n},{name}" for n, name in enumerate(names))]
    (folder / "oidv7-class-descriptions-boxable.csv").write_text("\n".join(lines) + "\n")
    return folder


def div2k(folder: Path, images: int = 8) -> Path:
    """``DIV2K_train_HR/0001.png …``, ``Flickr2K/000001.png …`` and a folder of reduced images."""
    for part in ("DIV2K_train_HR", "Flickr2K", "DIV2K_train_LR_bicubic"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(images):
        photo(600 + number).save(folder / f"DIV2K_train_HR/{number + 1:04d}.png")
        photo(700 + number, HEIGHT, WIDTH).save(folder / f"Flickr2K/{number + 1:06d}.png")
    photo(600, WIDTH // 2, HEIGHT // 2).save(folder / "DIV2K_train_LR_bicubic/0001x2.png")
    return folder


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, from a run of 0 on."""
    flat = [bool(value) for column in mask.T for value in column]
    counts = [len(list(group)) for _, group in groupby(flat)]
    return [0, *counts] if flat[0] else counts


def compressed(counts: list[int]) -> str:
    """Run lengths as COCO's API writes them."""
    letters = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            group, value = value & 31, value >> 5
            is_last = value == (-1 if group & 16 else 0)
            letters.append(chr(48 + (group if is_last else group | 32)))
            if is_last:
                break
    return "".join(letters)


def coco(folder: Path, images: int = 40) -> Path:
    """``annotations/instances_train2017.json`` with polygons and run lengths, ``train2017/*.jpg``."""
    for part in ("annotations", "train2017"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    listed, annotations = [], []
    for number in range(images):
        points, name = polygon(800 + number), f"{number + 1:012d}.jpg"
        drawn(photo(800 + number), points, number).save(folder / f"train2017/{name}", quality=95)
        listed.append({"id": number + 1, "file_name": name, "width": WIDTH, "height": HEIGHT})
        counts = runs_of(mask_of(points))
        forms = (
            [points],
            {"size": [HEIGHT, WIDTH], "counts": compressed(counts)},
            {"size": [HEIGHT, WIDTH], "counts": counts},
        )
        annotation = {
            "id": number,
            "image_id": number + 1,
            "category_id": 17 + number % 2,
            "iscrowd": 0,
            "segmentation": forms[number % 3],
        }
        annotations.append(annotation)
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    (folder / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return folder


def sa1b(folder: Path, images: int = 40) -> Path:
    """``sa_000000/sa_1.jpg`` with ``sa_1.json`` beside it."""
    (folder / "sa_000000").mkdir(parents=True, exist_ok=True)
    for number in range(1, images + 1):
        points, stem = polygon(900 + number), f"sa_000000/sa_{number}"
        drawn(photo(900 + number), points, number).save(folder / f"{stem}.jpg", quality=95)
        segmentation = {"size": [HEIGHT, WIDTH], "counts": compressed(runs_of(mask_of(points)))}
        content = {
            "image": {"image_id": number, "width": WIDTH, "height": HEIGHT, "file_name": f"sa_{number}.jpg"},
            "annotations": [{"id": number, "segmentation": segmentation, "predicted_iou": 0.97}],
        }
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def clips(folder: Path, count: int = 2) -> Path:
    """The shipped clip, and clips of a square that crosses other grounds."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLE_CLIP, folder / "pedestrians.mp4")
    for number in range(count - 1):
        writer = cv2.VideoWriter(
            str(folder / f"square{number}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (WIDTH, HEIGHT)
        )
        for frame in _crossing(np.asarray(photo(300 + number))):
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
    return folder


def _crossing(ground: np.ndarray) -> Iterator[np.ndarray]:
    for place in range(60):
        frame = ground.copy()
        left = 10 + 4 * place
        frame[100:140, left : left + 40] = (230, 30, 30)
        yield frame
