"""Trains the tokenizer on text of everything that the curriculum has, and of the project's own documentation."""

import glob
import os
import random
from collections.abc import Iterator

from .batches import read_sources
from .tasks.calls import generated_calls
from .tasks.draw import Draw, read_words
from .tasks.extraction import extraction
from .tasks.dialogues import Dialogues
from .tasks.facts import facts
from .tasks.text import PlainText
from .text.template import SPECIAL_TOKENS, Episode, render
from .text.tokenizer import train_tokenizer

REPOSITORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GENERATED = 12_000
DIALOGUES_TAKEN = 4
DOCUMENTATION_TIMES = 60
FIELD_TIMES = 2_000


def plain(episode: Episode) -> str:
    return "\n".join(text for text, _ in render(episode) if text not in SPECIAL_TOKENS)


def documentation() -> list[str]:
    """The project's README files, which say what the model shall say of Causeway."""
    found = sorted(glob.glob(f"{REPOSITORY}/*.md"))
    for part in ("functions", "router", "engine", "migrations", "test"):
        found += sorted(glob.glob(f"{REPOSITORY}/{part}/**/README.md", recursive=True))
    texts = []
    for path in found:
        if "node_modules" not in path:
            with open(path) as file:
                texts.append(file.read())
    return texts


def texts(documents: list[str], dialogues: dict[str, Dialogues]) -> Iterator[str]:
    draw = Draw(random.Random("tokenizer"))
    yield from documents[::6]
    for source in dialogues.values():
        for index in range(0, len(source.dialogues), DIALOGUES_TAKEN):
            yield plain(source.episode(draw, index))
    for _ in range(GENERATED):
        yield plain(generated_calls(draw))
        yield plain(extraction(draw))
        yield "\n".join(f"{fact.statement} {fact.question} {fact.answer}" for fact in facts(draw, 6))
    for _ in range(DOCUMENTATION_TIMES):
        yield from documentation()
    field = " ".join(read_words("field"))
    for _ in range(FIELD_TIMES):
        yield field


def make_tokenizer(sources: str, out: str) -> None:
    documents = PlainText(os.path.join(sources, "text.json.gz")).documents
    train_tokenizer(texts(documents, read_sources(sources))).save(out)
