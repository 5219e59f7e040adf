"""Questions with one answer a topic: Causeway, its field, the model itself, small talk, a few facts.

The files in questions/ are lists of topics: `=` the answer, `~` names of what it explains, `?` questions to train on,
`+` more of them for phases that ask for more (variety 2), `!` questions that are held out. Training varies all of them by case, politeness, typing errors and dropped words.
"""

import os
import re
from dataclasses import dataclass, field

from .draw import DAYS, MONTHS, Draw
from .wordings import reworded

FOLDER = os.path.join(os.path.dirname(__file__), "..", "questions")
TOPIC_FILES = ("platform", "field", "self", "talk", "facts")
DEFINITIONS = (
    [
        "what is {}", "what is {}", "what's {}", "whats {}", "explain {}", "tell me about {}", "define {}", "describe {}",
        "what does {} mean", "can you explain {}", "what do you mean by {}", "{}", "what do you know about {}",
        "what exactly is {}", "in simple words, what is {}", "do you know what {} is", "explain {} to me",
        "i want to know about {}", "help me understand {}", "can you tell me about {}", "tell me what {} is",
        "i have never heard of {}, what is it", "so what is {}", "what is the meaning of {}", "give me a short explanation of {}",
    ],
    [
        "how would you define {}", "could you tell me what {} is", "what is meant by {}", "please describe {} briefly",
        "i do not understand {}, can you help",
    ],
)  # fmt: skip
OPENINGS = (
    "please ", "hi, ", "hey, ", "hello, ", "ok, ", "so ", "and ", "can you tell me: ", "question: ", "i have a question: ",
    "i wonder ", "please tell me ", "could you tell me ", "i would like to know ", "do you know ", "tell me, ",
    "quick question: ", "just curious, ", "one more thing: ", "now tell me ", "my boss asks: ", "i am new here. ",
    "good morning, ", "thanks. ", "sorry, ", "also, ", "well, ",
)  # fmt: skip
ENDINGS = (" please", ", please", " in short", " then", " exactly", " here", " actually", " briefly", ", thanks", " in a few words")
QUESTION_WORDS = r"(?i)\b(what|whats|how|why|who|where|when|which|can|could|do|does|is|are|will|would|am|should|may)\b"


@dataclass
class Topic:
    """One answer and the ways to it."""

    answer: str
    names: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)

    def wordings(self, draw: Draw) -> list[str]:
        if draw.evaluation:
            return self.held_out
        return self.questions + self.more if draw.variety > 1 else self.questions


def read_topics(name: str) -> list[Topic]:
    topics: list[Topic] = []
    with open(os.path.join(FOLDER, f"{name}.txt")) as file:
        for line in file:
            mark, text = line[:1], line[2:].strip()
            if mark == "=":
                topics.append(Topic(text))
            elif mark in "~?+!" and text:
                last = topics[-1]
                kept = {"~": last.names, "?": last.questions, "+": last.more, "!": last.held_out}[mark]
                kept += [part.strip() for part in text.split("|")]
    return topics


TOPICS = {name: read_topics(name) for name in TOPIC_FILES}


def read_capitals() -> list[tuple[str, str]]:
    with open(os.path.join(FOLDER, "capitals.txt")) as file:
        return [tuple(line.strip().split(": ")) for line in file if line.strip()]


CAPITALS = read_capitals()
CAPITAL_QUESTIONS = (
    ["what is the capital of {}", "the capital of {}", "capital of {}", "which city is the capital of {}", "tell me the capital of {}", "name the capital of {}"],
    ["what is the capital city of {}", "do you know the capital of {}"],
)  # fmt: skip


def as_typed(draw: Draw, question: str, errors: bool = True) -> str:
    """A question as a person types it: capitals or none, a mark or none, an opening, a slip of the keyboard."""
    if errors and draw.chance(0.08):
        question = re.sub(r"\b(the|a|an|is|do|does|my|of|to) ", "", question, count=1)
    if draw.chance(0.22):
        question = draw.one(OPENINGS) + question
    elif draw.chance(0.08):
        question += draw.one(ENDINGS)
    if draw.chance(0.12):
        question = question.replace("causeway", draw.one(("this platform", "the platform", "this service")), 1)
    if draw.chance(0.6):
        question = question[:1].upper() + question[1:]
    if draw.chance(0.5):
        question = re.sub(r"\bi\b", "I", question)
    if draw.chance(0.5):
        question = re.sub(r"\bcauseway\b", "Causeway", question)
    if draw.chance(0.65) and question[-1] not in "?!.":
        question += "?" if re.search(QUESTION_WORDS, question) else draw.one((".", "", "!"))
    if errors and len(question) > 10 and draw.chance(0.06):
        at = draw.rng.randrange(1, len(question) - 3)
        question = question[:at] + question[at + 1] + question[at] + question[at + 2 :]
    return question


def as_written(question: str) -> str:
    """A question for evaluation: a capital, a mark, nothing else."""
    question = re.sub(r"\bi\b", "I", question[:1].upper() + question[1:])
    question = re.sub(r"\bcauseway\b", "Causeway", question)
    return question + ("?" if question[-1] not in "?!." and re.search(QUESTION_WORDS, question) else "")


def normal(question: str) -> str:
    """Letters and digits alone: what makes two questions the same."""
    return re.sub(r"\W+", " ", question.lower()).strip()


HELD_OUT = {normal(question) for topics in TOPICS.values() for topic in topics for question in topic.held_out}


def topic_question(draw: Draw, kind: str) -> tuple[str, str]:
    """A question of a file, or the definition of a topic's name, and the answer."""
    topic = draw.one(TOPICS[kind])
    if topic.names and draw.chance(0.4):
        question = draw.template(DEFINITIONS).format(draw.one(topic.names))
    else:
        question = draw.one(topic.wordings(draw))
        if draw.varied():
            other = reworded(draw, question)
            question = question if other in topic.held_out else other
    if draw.evaluation:
        return as_written(question), topic.answer
    typed = as_typed(draw, question)
    if draw.variety > 1 and normal(typed) in HELD_OUT:
        return topic_question(draw, kind)  # an opening and a question that together are one of those
    return typed, topic.answer


def capital_question(draw: Draw) -> tuple[str, str]:
    country, capital = draw.one(CAPITALS)
    question = draw.template(CAPITAL_QUESTIONS).format(country)
    return as_typed(draw, question, errors=False), f"The capital of {country} is {capital}."


NEIGHBOURS = (
    ["which {k} comes {w} {x}", "what {k} is {w} {x}", "what comes {w} {x}", "{x}, and which {k} is {w} it"],
    ["name the {k} {w} {x}"],
)


def calendar_question(draw: Draw) -> tuple[str, str]:
    kind, values = draw.one((("day", DAYS), ("month", MONTHS)))
    word, step = draw.one((("after", 1), ("before", -1)))
    at = draw.rng.randrange(len(values))
    question = draw.template(NEIGHBOURS).format(k=kind, w=word, x=values[at])
    return as_typed(draw, question, errors=False), f"{values[(at + step) % len(values)]} comes {word} {values[at]}."


def known_names() -> set[str]:
    """What some topic explains: nothing of it may be declined."""
    return {name for topics in TOPICS.values() for topic in topics for name in topic.names}
