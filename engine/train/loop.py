"""The training loop: batch, loss, MuonClip, QK-clip, balance; a state every two minutes, a measurement now and then."""

import os
import signal
import subprocess
import time
from datetime import datetime, timezone

import torch

from . import checkpoint
from .batches import Batches
from .checkpoint import Progress
from .curriculum import (
    BALANCE_LOSS,
    BALANCE_STEP,
    PEAK_RATE,
    PLANNED_TOKENS,
    QK_PROBE_STEPS,
    SEED,
    phase_at,
    rate_scale,
)
from .quick_look import Measurement
from .model.config import ModelConfig
from .model.network import CausewayModel
from .optimizer.muon_clip import MuonClip
from .optimizer.qk_clip import qk_clip

SAVE_SECONDS = 120
LOG_STEPS = 10
MEASURE_TOKENS = 300_000


def fresh(muon: bool = True) -> tuple[CausewayModel, MuonClip]:
    """A model with its first random weights, and its optimiser."""
    torch.manual_seed(SEED)
    model = CausewayModel(ModelConfig())
    return model, MuonClip(model, PEAK_RATE, muon=muon)


def train_step(model: CausewayModel, optimizer: MuonClip, batches: Batches, progress: Progress, planned: int = PLANNED_TOKENS) -> dict:
    """One step, and what there is to say of it. Moves `progress` on."""
    phase, scale = phase_at(progress.tokens), rate_scale(progress.step, progress.tokens, planned)
    batches.cursor.update(progress.cursor)
    ids, weights = batches.batch(progress.step, phase)
    probe = progress.step % QK_PROBE_STEPS == 0
    for attention in model.attentions():
        attention.probe = probe
    model.train()
    loss = model.loss(ids, weights)
    mixtures = model.mixtures()
    (loss + BALANCE_LOSS * sum(mixture.imbalance for mixture in mixtures)).backward()
    optimizer.step(scale)
    said = {"loss": loss.item(), "rate": round(scale, 4)}
    if probe:
        said["largest_logit"] = round(max(a.largest_logit.max().item() for a in model.attentions()), 1)
        said["clipped"] = sum(qk_clip(attention) for attention in model.attentions())
    for mixture in mixtures:
        mixture.gate.rebalance(mixture.load, BALANCE_STEP * min(1.0, scale + 0.1))
    said["fullest_expert"] = round(max((m.load.max() / m.load.float().mean()).item() for m in mixtures), 2)
    model.zero_grad(set_to_none=True)
    progress.step += 1
    progress.tokens += phase.tokens_a_step
    progress.cursor = dict(batches.cursor)
    return said


class Deadline:
    """Whether the run shall end after this step: asked by a signal, or by the clock."""

    def __init__(self, until: str | None):
        self.asked = False
        self.at = None
        if until:
            hour, minute = map(int, until.split(":"))
            self.at = datetime.now(timezone.utc).replace(hour=hour, minute=minute, second=0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_) -> None:
        self.asked = True

    def reached(self) -> bool:
        return self.asked or (self.at is not None and datetime.now(timezone.utc) >= self.at)


def recipe_version() -> str:
    """Git's hash of this folder as committed, for the log: which text of the recipe made which steps. It stays the same
    where commits are moved; `git log --format=%H -- engine/train` and `git rev-parse COMMIT:engine/train` find it."""
    here = os.path.dirname(os.path.abspath(__file__))

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "HEAD:./")[:12] + ("-changed" if git("status", "--porcelain", ".") else "")


def run(folder: str, sources: str, tokenizer: str, until: str | None = None, planned: int = PLANNED_TOKENS, muon: bool = True) -> bool:
    """Begins or resumes the run of a folder; True when the planned tokens are done, False when time ended it before."""
    torch.set_num_threads(1)
    os.makedirs(folder, exist_ok=True)
    model, optimizer = fresh(muon)
    batches = Batches(sources, tokenizer)
    measurement = Measurement(sources, batches.encoder)
    progress = checkpoint.load(folder, model, optimizer)
    deadline = Deadline(until)
    counts = model.parameter_counts()
    start = {"event": "start", "step": progress.step, "tokens": progress.tokens, "parameters": counts}
    checkpoint.append_log(folder, start | {"recipe": recipe_version()})
    began = saved = time.monotonic()
    before, losses = progress.seconds, []
    logged, logged_tokens = began, progress.tokens
    while progress.tokens < planned and not deadline.reached():
        measured = progress.tokens // MEASURE_TOKENS
        said = train_step(model, optimizer, batches, progress, planned)
        now = time.monotonic()
        progress.seconds = before + now - began
        losses.append(said["loss"])
        if progress.step % LOG_STEPS == 0:
            speed = (progress.tokens - logged_tokens) / (now - logged)
            entry = said | {"loss": round(sum(losses) / len(losses), 4), "tokens_per_second": round(speed)}
            place = {"step": progress.step, "tokens": progress.tokens, "seconds": round(progress.seconds)}
            checkpoint.append_log(folder, place | {"phase": phase_at(progress.tokens - 1).name} | entry)
            losses, logged, logged_tokens = [], now, progress.tokens
        if progress.tokens // MEASURE_TOKENS > measured:
            entry = {"event": "measured", "step": progress.step, "tokens": progress.tokens}
            checkpoint.append_log(folder, entry | measurement.of(model, phase_at(progress.tokens - 1).context))
        if now - saved > SAVE_SECONDS:
            checkpoint.save(folder, progress, model, optimizer)
            saved = time.monotonic()
    checkpoint.save(folder, progress, model, optimizer)
    checkpoint.append_log(folder, {"event": "end", "step": progress.step, "tokens": progress.tokens})
    return progress.tokens >= planned
