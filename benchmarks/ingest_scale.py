"""Measure whether an image of a large pool costs more to ingest than one of a small pool.

The pool has OpenImages' layout: a CSV of N masks. Every row names one of 100 real JPEG files of 768×512 and
one of 20 masks, with one of 500 classes. All are different samples. The ledger already holds N other samples
and N other images with random hashes: what it holds at the end of such an ingest.

A process does what an ingest does once: the digest of the files, the count of what was found, the sorted
table of records, and the reading of the ledger's hashes. Then it ingests a shard at the start, in the middle
and near the end of the table. The cost of an image is its share of the first plus its share of the second.
The rows between are not ingested. Few images are new to the ledger there. So the search for near images is
measured with 64 looks that are new, and added to the cost of every image. ``ratio`` is this cost at N rows,
divided by that at 10,000. Processor time is measured, so other work on the machine matters little. Each size
is a process of its own. ``peak_mb`` is its peak memory.

A second part reads some shards in one process, and then with workers. ``speedup`` is of wall time, and holds
for a machine without other work. ``cpu_speedup`` says what the measured processor times allow on as many
free cores: time in one process, divided by the longer of the busiest process and an equal share of all.

Run: python -m benchmarks.ingest_scale [--rows 100000] [--full] [--images 64] [--workers 2] [--json]

``--full`` is a million rows.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._machine import machine
from benchmarks._processes import ends_in_time
from data_specs.scene_image import SceneImage
from data_specs.shard import SampleRow, ShardRef
from tasks.execution.executor import ProcessesConfig, Workers
from tasks.execution.local_executors import open_workers
from tasks.sources.count_files import find_all
from tasks.sources.ingest import Cursor, IngestWork, Intake, ingest_files
from tasks.sources.read_ahead import ReadAhead, ReadWork, read_part, reading_ahead
from tasks.sources.readers import PoolSource, reading_folder, record_table
from tasks.sources.scenes import Look, SceneFacts, Scenes
from tasks.sources.source_files import files_digest
from tasks.storage.workspace import Workspace

SMALL, FULL = 10_000, 1_000_000
_IMAGES, _MASKS, _CLASSES = 100, 20, 500
_HEIGHT, _WIDTH, _SIZE_PX = 512, 768, 512
_PART = 50_000
_SHARDS = 4
"""Number of shards of the second part."""
_KEY_DIGITS = 20
_NEW = 64
"""Number of new images whose near images are searched."""


@ends_in_time
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help=f"more than {SMALL}")
    parser.add_argument("--full", action="store_true", help=f"{FULL} rows")
    parser.add_argument("--images", type=int, default=64, help="number of images of a shard")
    parser.add_argument("--workers", type=int, default=2, help="0: without the second part")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    rows = FULL if arguments.full else arguments.rows
    if rows <= SMALL:
        parser.error(f"--rows must be above {SMALL}: the cost is divided by that of {SMALL}")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".ingest_scale-") as folder:
        sizes = [_measured(Path(folder) / str(size), size, arguments.images) for size in (SMALL, rows)]
        pool = Path(folder) / str(SMALL) / "pool"
        parallel = _parallel(Path(folder), pool, arguments) if arguments.workers else {}
    figures = {
        "ratio": round(sizes[1]["ms_an_image"] / sizes[0]["ms_an_image"], 3),
        "peak_mb": sizes[1]["peak_mb"],
        **parallel,
        "sizes": sizes,
        "machine": machine(),
    }
    _print(figures, arguments.as_json)


def _measured(place: Path, rows: int, images: int) -> dict[str, Any]:
    """The figures of one size. A process makes the pool and the ledger, another one ingests."""
    spawned = multiprocessing.get_context("spawn")
    for function, arguments in ((make, (place, rows)), (measure, (place, rows, images))):
        process = spawned.Process(target=function, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{function.__name__} with {rows} rows ended with {process.exitcode}")
    return json.loads((place / "figures.json").read_text())


def make(place: Path, rows: int) -> None:
    """Write the pool and fill the ledger."""
    _make_pool(place / "pool", rows)
    ledger, rng = Workspace.open(place / "workspace").ledger(), np.random.default_rng(rows)
    for first in range(0, rows, _PART):
        names = [f"{number:0{_KEY_DIGITS}x}" for number in range(first, min(first + _PART, rows))]
        hashes = rng.integers(-(2**63), 2**63 - 1, len(names)).tolist()
        thumbnails = rng.integers(0, 256, (len(names), 192), dtype=np.uint8)
        ledger.scenes.record(
            [
                SceneImage(name, name, "train", None, hash, thumbnail.tobytes())
                for name, hash, thumbnail in zip(names, hashes, thumbnails, strict=True)
            ]
        )
        ref = ShardRef(
            name=f"000-pool-{first:07}-0",
            stage="pool",
            round=0,
            index=first,
            samples=len(names),
            size_bytes=0,
            sha256="0" * 64,
            index_sha256="0" * 64,
            input_digest=f"filled {first}",
        )
        samples = [SampleRow(name, name, "train", position) for position, name in enumerate(names)]
        ledger.shards.commit(ref, samples)


def _make_pool(pool: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (pool / part).mkdir(parents=True)
    for number in range(_IMAGES):
        coarse = rng.integers(0, 256, (24, 36, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(-6, 7, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(pool / f"images/i{number:03}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    for number in range(_MASKS):
        mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
        cv2.circle(mask, (200 + 15 * number, 150 + 10 * number), 60 + 2 * number, 255, -1)
        cv2.imwrite(str(pool / f"masks/m{number:02}.png"), mask)
    with (pool / "train-annotations-object-segmentation.csv").open("w") as file:
        file.write("MaskPath,ImageID,LabelName\n")
        for row in range(rows):
            combination, image = divmod(row, _IMAGES)
            label, mask = divmod(combination, _MASKS)
            file.write(f"m{mask:02}.png,i{image:03},/m/{label % _CLASSES}\n")
    names = (f"/m/{label},thing {label}\n" for label in range(_CLASSES))
    (pool / "class-descriptions-boxable.csv").write_text("".join(names))


def measure(place: Path, rows: int, images: int) -> None:
    """Ingest three shards, and write what they cost. Runs in a process of its own."""
    workspace, source = Workspace.open(place / "workspace"), _source(place / "pool")
    _warm_up(place / "warm", source)
    begun = time.process_time()
    digest = files_digest(source, reading_folder(workspace))
    listed = find_all(source).records
    table = record_table(workspace, source, digest)
    scenes = Scenes(workspace.ledger())  # Reads the hashes of all images that the ledger has.
    once = time.process_time() - begun
    assert listed == len(table) == rows, "every row is a record"
    spent: list[float] = []
    for index, start in enumerate((0, rows // 2, rows - 2 * images)):
        begun = time.process_time()
        intake = ingest_files(workspace, _work(source, digest, images, index, Cursor(records=start)))
        spent.append(time.process_time() - begun)
        assert not intake.rejects, "every row is a new sample"
    search_ms = _search_ms(scenes)
    figures = {
        "rows": rows,
        "ms_an_image": round(1000 * (once / rows + sum(spent) / len(spent) / images) + search_ms, 3),
        "once_s": round(once, 2),
        "once_us_a_row": round(1e6 * once / rows, 1),
        "search_ms_an_image": round(search_ms, 3),
        "shard_ms_an_image": [round(1000 * seconds / images, 2) for seconds in spent],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
    }
    (place / "figures.json").write_text(json.dumps(figures))


def _search_ms(scenes: Scenes) -> float:
    """Processor time of finding what is near a new image and its mirror image, ms."""
    rng = np.random.default_rng(5)

    def look() -> Look:
        return Look(np.uint64(rng.integers(0, 2**63)), rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))

    images = [SceneFacts(f"new {n}", look(), look(), None, "new", 0.1, 0.1) for n in range(_NEW)]
    begun = time.process_time()
    scenes.look_up(images)
    for facts in images:
        scenes.choose(facts)
    return 1000 * (time.process_time() - begun) / len(images)


def _source(pool: Path) -> PoolSource:
    return PoolSource(path=pool, size_px=_SIZE_PX, class_cap=1_000_000, excluded_classes=())


def _work(source: PoolSource, digest: str, images: int, index: int, start: Cursor) -> IngestWork:
    return IngestWork(
        round=0,
        index=index,
        image_format="jpeg",
        source=source,
        files_digest=digest,
        shard_samples=images,
        start=start,
    )


def _warm_up(place: Path, source: PoolSource) -> None:
    """Import and open everything once, in another workspace and with another pool."""
    _make_pool(place / "pool", 40)
    workspace = Workspace.open(place / "workspace")
    small = _source(place / "pool")
    ingest_files(workspace, _work(small, "warm", 8, 0, Cursor()))


class _Reader:
    """Gives parts to processes, and adds up their processor time."""

    def __init__(self, workspace: Workspace, workers: Workers, count: int) -> None:
        self._workspace = workspace
        self._workers = workers
        self._threads = ThreadPoolExecutor(count)
        self.seconds: list[float] = []

    def submit(self, work: ReadWork) -> Future[None]:
        return self._threads.submit(self._run, work)

    def _run(self, work: ReadWork) -> None:
        done = self._workers.run("read", read_part, self._workspace, work)
        self.seconds.append(done.seconds.cpu)


def _parallel(folder: Path, pool: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One process against workers: wall time, and what the processor times allow."""
    source, images, count = _source(pool), arguments.images, arguments.workers
    warm = Workspace.open(folder / "warm")
    _shards(warm, source, 8, None, 1)
    wall, cpu = _timed(Workspace.open(folder / "one"), source, images, None)
    workers = open_workers(ProcessesConfig(count=count))
    # Every process starts and imports.
    _shards(warm, source.model_copy(update={"size_px": 256}), 8, _Reader(warm, workers, count), count)
    many = Workspace.open(folder / "many")
    reader = _Reader(many, workers, count)
    parallel_wall, own_cpu = _timed(many, source, images, reader)
    workers_cpu = sum(reader.seconds)
    busiest = max(own_cpu, workers_cpu / count)
    return {
        "workers": count,
        "speedup": round(wall / parallel_wall, 2),
        "cpu_speedup": round(cpu / max(busiest, (own_cpu + workers_cpu) / count), 2),
        "cpu_s_one_process": round(cpu, 2),
        "cpu_s_workers": round(workers_cpu, 2),
        "cpu_s_beside_workers": round(own_cpu, 2),
    }


def _timed(
    workspace: Workspace, source: PoolSource, images: int, reader: _Reader | None
) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    _shards(workspace, source, images, reader, _SHARDS)
    return time.perf_counter() - wall, time.process_time() - cpu


def _shards(
    workspace: Workspace, source: PoolSource, images: int, reader: _Reader | None, shards: int
) -> None:
    """Ingest some shards, one after the other."""
    digest, start, intake = files_digest(source, reading_folder(workspace)), Cursor(), None
    ahead = None
    if reader is not None:
        first = ReadWork(index=0, source=source, files_digest=digest, image_format="jpeg", first=0, stop=0)
        ahead = ReadAhead(workspace, first, images, reader.submit, shards)
    for index in range(shards):
        work = _work(source, digest, images, index, start)
        intake = _taken_in(workspace, work, ahead)
        start = intake.end


def _taken_in(workspace: Workspace, work: IngestWork, ahead: ReadAhead | None) -> Intake:
    if ahead is None:
        return ingest_files(workspace, work)
    with reading_ahead(ahead):
        return ingest_files(workspace, work)


def _print(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    table = Table(
        "rows", "ms an image", "once, s", "µs a row, once", "search, ms", "ms an image, by shard", "peak MB"
    )
    for size in figures["sizes"]:
        shards = ", ".join(str(value) for value in size["shard_ms_an_image"])
        once = (str(size["once_s"]), str(size["once_us_a_row"]), str(size["search_ms_an_image"]))
        table.add_row(str(size["rows"]), str(size["ms_an_image"]), *once, shards, str(size["peak_mb"]))
    console = Console()
    console.print(table)
    console.print({name: value for name, value in figures.items() if name != "sizes"})


if __name__ == "__main__":
    main()
