"""A quick look at a model in training: how many held-out answers it would give exactly, each token given the right ones before."""

import os
import random

import torch
from torch import Tensor

from .model.network import CausewayModel
from .tasks.calls import generated_calls
from .tasks.draw import Draw
from .tasks.extraction import extraction
from .tasks.lookup import lookup
from .tasks.text import PlainText
from .text.template import EOS, render
from .text.tokenizer import Encoder

EPISODES = 40
ROWS = 8


class Measurement:
    """Held-out episodes of each task. The engine's own measurement (`npm run eval:model`) is the one to publish."""

    def __init__(self, sources: str, encoder: Encoder):
        self.end = encoder.special[EOS]
        text = PlainText(os.path.join(sources, "text.json.gz"), evaluation=True)
        draw = Draw(random.Random("measurement"), evaluation=True)
        filler = lambda characters: text.take(draw.rng, characters)  # noqa: E731
        seen = Draw(random.Random("measurement"))

        def made(make) -> list:
            return [encoder.weighted(render(make())) for _ in range(EPISODES)]

        self.sets = {
            "lookup, seen wordings": (128, made(lambda: lookup(seen, 110, filler, density=1.0, questions=1))),
            "lookup": (128, made(lambda: lookup(draw, 110, filler, density=1.0, questions=1))),
            "lookup of 8 at 400": (512, made(lambda: lookup(draw, 400, filler, density=0.3, count=8, questions=1))),
            "lookup of 8 at 900": (1024, made(lambda: lookup(draw, 900, filler, density=0.3, count=8, questions=1))),
            "calls": (128, made(lambda: generated_calls(draw, turns=1))),
            "extraction": (128, made(lambda: extraction(draw))),
        }

    @torch.no_grad()
    def of(self, model: CausewayModel, context: int) -> dict:
        """For each task that the context has room for: share of exact answers, mean loss of their tokens."""
        model.eval()
        found = {}
        for name, (least, episodes) in self.sets.items():
            if context >= least:
                found[name] = self._score(model, sorted(episodes, key=lambda episode: len(episode[0])))
        model.train()
        return {"exact": {n: e for n, (e, _) in found.items()}, "losses": {n: loss for n, (_, loss) in found.items()}}

    def _score(self, model: CausewayModel, episodes: list) -> tuple[float, float]:
        exact = answers = counted = 0
        loss = 0.0
        for start in range(0, len(episodes), ROWS):
            rows = episodes[start : start + ROWS]
            width = max(len(ids) for ids, _ in rows)
            padded = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
            hidden = model.hidden(padded)
            for row, (ids, weights) in enumerate(rows):
                places = [place for place in range(1, len(ids)) if weights[place] > 0]
                logits = model.logits(hidden[row, [place - 1 for place in places]])
                targets = padded[row, places]
                loss += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
                counted += len(places)
                whole, number = whole_answers(logits.argmax(-1) == targets, targets == self.end)
                exact, answers = exact + whole, answers + number
        return round(exact / max(1, answers), 3), round(loss / max(1, counted), 4)


def whole_answers(right: Tensor, ends: Tensor) -> tuple[int, int]:
    """How many answers are right in every token, and how many there are; an answer goes up to its end token."""
    whole = number = 0
    so_far = True
    for hit, end in zip(right.tolist(), ends.tolist()):
        so_far = so_far and hit
        if end:
            whole, number, so_far = whole + so_far, number + 1, True
    return whole, number
