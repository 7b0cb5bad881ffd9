"""ObjectClear's data set at tiny size, in the paper's order (arXiv 2505.22636, section 3).

python docs/examples/objectclear_dataset.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from data_specs.composite import Composite
from data_specs.cutout import Cutout
from data_specs.plate import Plate
from data_specs.reject import Reject
from tasks.objectclear.composite import ComposeConfig, choose_parts, compose
from tasks.objectclear.cutout import cut_out
from tasks.objectclear.export_ober import export_ober
from tasks.objectclear.plate import PlateConfig, synthetic_plate
from tasks.sources.synthetic.samples import SyntheticConfig, as_captured_pair, make_sample
from tasks.storage.shards import encode_composite, write_shard
from tasks.storage.workspace import Workspace

PAIRS, BACKGROUNDS, ATTEMPTS = 40, 6, 20


def main(folder: Path) -> None:
    """Captured pairs become cut-outs, backgrounds become plates, both become composites."""
    # A fixed camera takes each scene with and without the object. Here a renderer does, and knows the masks.
    captures = SyntheticConfig(size_px=128, seed=1)
    pairs = [as_captured_pair(make_sample(captures, number), captures.split) for number in range(PAIRS)]

    # The object and its effect become a layer: equation 1 gives the shadow.
    cutouts = [made for made in map(cut_out, pairs) if isinstance(made, Cutout)]
    print(f"{len(cutouts)} cut-outs of {PAIRS} captured pairs")

    # Backgrounds with flat ground become plates; the ground's depth sets the scale.
    empty, limits = SyntheticConfig(size_px=64, seed=2), PlateConfig(min_side_px=64)
    found = [synthetic_plate(empty, number, limits) for number in range(BACKGROUNDS)]
    plates = [made for made in found if isinstance(made, Plate)]
    print(f"{len(plates)} plates of {BACKGROUNDS} backgrounds")

    # One or two cut-outs whose shadows fall alike stand on one plate.
    composites = [made for number in range(ATTEMPTS) for made in composed(number, plates, cutouts)]
    print(f"{len(composites)} composites of {ATTEMPTS} attempts")

    # The composites go into a shard, and into parquet files in the layout of OBER.
    workspace = Workspace.open(folder / "workspace")
    samples = (encode_composite(each, "png") for each in composites)
    write_shard(workspace, stage="composites", round=0, index=0, input_digest="example", samples=samples)
    for split, rows in export_ober(workspace, folder / "ober").items():
        print(f"{rows} rows of the split {split} in {folder / 'ober'}")


def composed(number: int, plates: list[Plate], cutouts: list[Cutout]) -> list[Composite]:
    """An attempt's composites, one for each object that can be removed; none where it is rejected."""
    rng = np.random.default_rng(number)
    classes = [cutout.shadow_class for cutout in cutouts]
    parts = choose_parts(rng, len(plates), classes, two_object_probability=0.5)
    if isinstance(parts, Reject):
        return []
    made = compose(ComposeConfig(), number, plates[parts.plate], [cutouts[each] for each in parts.cutouts])
    return made if isinstance(made, list) else []


if __name__ == "__main__":
    main(Path(sys.argv[1]))
