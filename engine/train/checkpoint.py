"""The state of a run on disk: all that the next step depends on, replaced in one move."""

import json
import os
from dataclasses import asdict, dataclass, field

import torch

from .model.network import CausewayModel
from .optimizer.muon_clip import MuonClip

STATE, LOG = "state.pt", "log.jsonl"


@dataclass
class Progress:
    """Where a run stands. Batches depend on the step and the cursor only, so no generator has to be kept."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cursor: dict[str, int] = field(default_factory=dict)


def save(folder: str, progress: Progress, model: CausewayModel, optimizer: MuonClip) -> None:
    """Writes beside the old state, flushes, and only then takes its place: a crash leaves one whole state."""
    temporary = os.path.join(folder, STATE + ".new")
    state = {"progress": asdict(progress), "model": model.state_dict(), "optimizer": optimizer.state()}
    with open(temporary, "wb") as file:
        torch.save(state | {"torch_rng": torch.get_rng_state()}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, os.path.join(folder, STATE))


def load(folder: str, model: CausewayModel, optimizer: MuonClip) -> Progress:
    """The last state of a folder, or a fresh beginning."""
    path = os.path.join(folder, STATE)
    if not os.path.exists(path):
        return Progress()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    progress = Progress(**state["progress"])
    cut_log(os.path.join(folder, LOG), progress.step)
    return progress


def cut_log(path: str, step: int) -> None:
    """Drops what was logged after the state: those steps are done again."""
    if os.path.exists(path):
        with open(path) as file:
            kept = [line for line in file if json.loads(line).get("step", 0) <= step]
        with open(path, "w") as file:
            file.writelines(kept)


def append_log(folder: str, entry: dict) -> None:
    with open(os.path.join(folder, LOG), "a") as file:
        file.write(json.dumps(entry) + "\n")
