"""A cycle whose trainings take two processes ends as one whose trainings take one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flows.rorem.cycle import rorem_cycle
from flows.rorem.phases import PhaseOutcome
from tasks.registry.store import network_at
from tasks.storage.workspace import Workspace
from tests.flows.rorem.test_cycle import small

pytestmark = pytest.mark.slow


def test_two_processes_end_as_one(tmp_path: Path, prefect_server: None) -> None:
    # Noise of candidates follows from a model's hash, so growth would differ by more than floating error.
    alike = {"acceptance": "none", "distil": True, "distillation": {"steps": 3}}
    spaces: list[Workspace] = []
    for processes in (1, 2):
        config = small(tmp_path / str(processes), distributed={"processes": processes}, **alike)
        rorem_cycle(config)
        spaces.append(Workspace.existing(config.workspace))
    one, two = (s.ledger().results.all("phase", PhaseOutcome) for s in spaces)
    assert [o.result.name for o in one] == [o.result.name for o in two]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(second.losses.means, first.losses.means, rtol=1e-4)
    weights = [
        network_at(s.root / o[-1].standing.remover.folder).unet.state_dict()
        for s, o in zip(spaces, (one, two), strict=True)
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5)
