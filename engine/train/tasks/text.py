"""Plain text: to look facts up in, to copy, and a little to learn English from."""

import gzip
import json
import random

HELD_OUT_SHARE = 0.02


class PlainText:
    """Documents of `sources/debian.py`; the last ones are held out."""

    def __init__(self, path: str, evaluation: bool = False):
        with gzip.open(path, "rt") as file:
            documents = json.load(file)
        border = int(len(documents) * (1 - HELD_OUT_SHARE))
        self.documents = documents[border:] if evaluation else documents[:border]

    def take(self, rng: random.Random, characters: int) -> str:
        """About so many characters from the beginning of some paragraph, whole words, on one line or a few."""
        taken: list[str] = []
        size = 0
        while size < characters:
            lines = rng.choice(self.documents).split("\n")
            start = rng.randrange(len(lines))
            for line in lines[start : start + rng.randint(1, 6)]:
                if size < characters:
                    taken.append(line[: characters - size + 8])
                    size += len(taken[-1]) + 1
        text = "\n".join(taken)
        return text.rsplit(" ", 1)[0] if len(text) > characters else text
