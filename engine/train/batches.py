"""Rows of episodes. A batch is a pure function of the recipe's seed, the step and the cursor of each dialogue source."""

import gzip
import json
import os
import random
from collections.abc import Callable

import torch
from torch import Tensor

from .curriculum import SEED, Phase
from .tasks.calls import generated_calls
from .tasks.conversation import conversation
from .tasks.copying import copying
from .tasks.dialogues import Dialogues, read_dialogues
from .tasks.draw import Draw
from .tasks.everyday import everyday
from .tasks.extraction import extraction
from .tasks.lookup import lookup
from .tasks.text import PlainText
from .text.template import BOS, SPECIAL_TOKENS, Episode, render
from .text.tokenizer import VOCABULARY, Encoder

LEAST_ROOM = 8
TEXT_WEIGHT = 0.5
SHORTEST_LOOKUP, SHORTEST_DIALOGUE = 90, 600
# Mean tokens of an episode, at most the row: turns shares of tokens into shares of episodes.
LENGTHS: dict[str, Callable[[int], float]] = {
    "copying": lambda row: min(row, 1000) * 0.67,
    "lookup": lambda row: row * 0.68,
    "calls": lambda row: min(row, 200),
    "extraction": lambda row: 75,
    "everyday": lambda row: min(row, 190),
    "conversation": lambda row: min(row, 110),
    "text": lambda row: min(row, 400),
    "sgd": lambda row: min(row, 900),
    "taskmaster": lambda row: min(row, 440),
}
Weighted = tuple[list[int], list[float]]
TASKMASTER_HELD_OUT = 40


def read_sources(sources: str) -> dict[str, Dialogues]:
    """The dialogues to train on."""
    with gzip.open(os.path.join(sources, "sgd-x-variants.json.gz"), "rt") as file:
        variants = json.load(file)
    coffee = read_dialogues(os.path.join(sources, "taskmaster4-coffee.jsonl.gz"))[TASKMASTER_HELD_OUT:]
    return {
        "sgd": Dialogues(read_dialogues(os.path.join(sources, "sgd-train.jsonl.gz")), variants),
        "taskmaster": Dialogues(coffee),
    }


class Batches:
    """Makes the batches of a run; `cursor` is what has been taken of each dialogue source, and goes into checkpoints."""

    def __init__(self, sources: str, tokenizer: str):
        self.encoder = Encoder(tokenizer)
        self.bos = self.encoder.special[BOS]
        self.text = PlainText(os.path.join(sources, "text.json.gz"))
        self.dialogues = read_sources(sources)
        self.cursor = {name: 0 for name in self.dialogues}

    def batch(self, step: int, phase: Phase) -> tuple[Tensor, Tensor]:
        """Ids and loss weights, each [rows, context + 1]."""
        rows, width = phase.tokens_a_step // phase.context, phase.context + 1
        ids = torch.zeros(rows, width, dtype=torch.long)
        weights = torch.zeros(rows, width)
        draw = Draw(random.Random(f"{SEED}/{step}"), variety=phase.variety)
        names = list(phase.mix)
        shares = [phase.mix[name] / LENGTHS[name](phase.context) for name in names]
        for row in range(rows):
            filled = 0
            while filled < phase.context - LEAST_ROOM:
                room = width - filled
                kind = self.fitting(draw.rng.choices(names, shares)[0], filled, room, phase.context)
                episode, weight = self.episode(kind, draw, room)
                taken = len(episode[:room])
                ids[row, filled : filled + taken] = torch.tensor(episode[:room])
                weights[row, filled : filled + taken] = torch.tensor(weight[:room])
                filled += taken
        return ids, weights

    def fitting(self, kind: str, filled: int, room: int, context: int) -> str:
        """Another kind at the end of a row that the drawn one would mostly be cut off by."""
        if kind == "lookup" and filled and room < SHORTEST_LOOKUP:
            return "text"
        if kind in self.dialogues and filled and room < min(SHORTEST_DIALOGUE, context * 0.6):
            return "conversation"
        return kind

    def episode(self, kind: str, draw: Draw, room: int) -> Weighted:
        """One episode of a task, not much longer than the room that is left."""
        filler = lambda characters: self.text.take(draw.rng, characters)  # noqa: E731
        match kind:
            case "text":
                ids = self.encoder.encode(filler(int(min(room, draw.rng.randint(64, 512)) * 3.2)))
                return [self.bos, *ids], [0.0] + [TEXT_WEIGHT] * len(ids)
            case "copying":
                ids, weights = copying(draw, room, VOCABULARY, len(SPECIAL_TOKENS), self.encoder.encode, filler)
                return [self.bos, *ids], [0.0, *weights]
            case "lookup":
                return self.encode(lookup(draw, int(room * draw.rng.uniform(0.4, 0.97)), filler))
            case "calls":
                return self.encode(generated_calls(draw, room))
            case "extraction":
                return self.encode(extraction(draw))
            case "everyday":
                return self.encode(everyday(draw, room))
            case "conversation":
                return self.encode(conversation(draw))
            case "sgd" | "taskmaster":
                source = self.dialogues[kind]
                index = source.numbered(SEED, self.cursor[kind])
                self.cursor[kind] += 1
                return self.encode(source.episode(draw, index))
        raise ValueError(f"no task is called {kind}")

    def encode(self, episode: Episode) -> Weighted:
        return self.encoder.weighted(render(episode))
