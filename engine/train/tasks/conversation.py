"""Conversations without tools: questions of all kinds, what the user has said of himself, short texts and what they leave out."""

from dataclasses import dataclass

from ..text.template import Episode, Message
from .declining import declined
from .draw import DAYS, Draw
from .facts import facts, upper, value
from .questions import as_typed, calendar_question, capital_question, topic_question

SYSTEMS = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a small model on Causeway.", "Answer briefly.",
    "You are Causeway's demo assistant. Be short and honest.", "You are a friendly assistant.", "Be polite.",
)  # fmt: skip
NOT_SAID = "The text does not say that."
# Tokens of the questions by kind; declining is learned first and is kept small.
MIX = {"platform": 0.36, "field": 0.2, "self": 0.1, "talk": 0.09, "facts": 0.02, "capital": 0.05, "calendar": 0.02, "declined": 0.16}


@dataclass(frozen=True)
class Trait:
    """Something a user says of himself. `{}` is the value."""

    value: str
    said: tuple[list[str], list[str]]
    reply: str
    asked: tuple[list[str], list[str]]
    answer: str
    unknown: str


TRAITS = [
    Trait("name", (["my name is {}", "i am {}", "call me {}", "hello, i am {}", "hi, my name is {}"], ["people call me {}"]), "Nice to meet you, {}!",
          (["what is my name", "do you remember my name", "who am i", "tell me my name"], ["do you still know my name"]), "Your name is {}.", "You have not told me your name."),
    Trait("city", (["i live in {}", "i am from {}", "my home is in {}"], ["you can find my house in {}"]), "{} sounds like a nice place!",
          (["where do i live", "where is my home", "which city do i live in", "where am i from"], ["do you know where i live"]), "You live in {}.", "You have not told me where you live."),
    Trait("food", (["i like {}", "my favourite food is {}", "i love to eat {}"], ["there is nothing better than {} for me"]), "{} is a good choice!",
          (["what do i like to eat", "what is my favourite food", "which food do i like"], ["which food did i say i like"]), "You like {}.", "You have not told me what you like to eat."),
    Trait("animal", (["i have a {}", "my pet is a {}", "i own a {}"], ["a {} lives with me"]), "A {} must be good company!",
          (["which animal do i have", "what pet do i have", "what is my pet"], ["what kind of pet did i mention"]), "You have a {}.", "You have not told me about a pet."),
    Trait("small", (["i am {} years old", "my age is {}", "i turned {} this year"], ["it is {} years since i was born"]), "So you are {}. Good to know!",
          (["how old am i", "what is my age", "do you know my age"], ["what did i say my age is"]), "You are {} years old.", "You have not told me your age."),
    Trait("job", (["i work as a {}", "i am a {} by profession", "my job is {}"], ["i make my living as a {}"]), "{} must be an interesting job!",
          (["what is my job", "what do i do for a living", "what do i work as"], ["which profession did i tell you"]), "You work as a {}.", "You have not told me your job."),
    Trait("colour", (["my favourite colour is {}", "i like the colour {}", "i love {}, it is my colour"], ["the colour i like most is {}"]), "{} is a fine colour!",
          (["what is my favourite colour", "which colour do i like"], ["do you know the colour that i like most"]), "Your favourite colour is {}.", "You have not told me your favourite colour."),
]  # fmt: skip
Turn = tuple[str, str]


def one_question(draw: Draw) -> Turn:
    kind = draw.rng.choices(list(MIX), list(MIX.values()))[0]
    match kind:
        case "capital":
            return capital_question(draw)
        case "calendar":
            return calendar_question(draw)
        case "declined":
            return declined(draw)
        case _:
            return topic_question(draw, kind)


def memory(draw: Draw) -> list[Turn]:
    """What the user tells is asked later, also in the same turn; what was not told is not made up."""
    traits = draw.rng.sample(TRAITS, len(TRAITS))
    told = [(trait, value(draw, trait.value)) for trait in traits[: draw.one((1, 2, 3))]]
    if draw.chance(0.25):
        statements = [upper(draw.template(trait.said).format(text)) + "." for trait, text in told]
        trait, text = draw.one(told)
        question = f"{' '.join(statements)} {upper(draw.template(trait.asked))}?"
        return [(question, trait.answer.format(text))]
    turns = [(as_typed(draw, draw.template(t.said).format(text), errors=False).rstrip("?"), upper(t.reply.format(text))) for t, text in told]
    if draw.chance(0.5):
        turns.append(one_question(draw))
    turns += [(as_typed(draw, draw.template(t.asked)), t.answer.format(text)) for t, text in draw.rng.sample(told, len(told))]
    if draw.chance(0.4):
        trait = traits[len(told)]
        turns.insert(draw.rng.randint(0, len(turns)), (as_typed(draw, draw.template(trait.asked)), trait.unknown))
    return turns


def short_text(draw: Draw) -> list[Turn]:
    """A few facts, and questions that they answer or leave open."""
    known = facts(draw, draw.rng.randint(2, 8))
    keys = {fact.key for fact in known}
    turns: list[Turn] = []
    for _ in range(draw.rng.randint(1, 3)):
        missing = [fact for fact in facts(draw, 2) if fact.key not in keys]
        if draw.chance(0.3) and missing:
            turns.append((missing[0].question, NOT_SAID))
        else:
            fact = draw.one(known)
            turns.append((fact.question, fact.answer))
    text = draw.one((" ", "\n")).join(fact.statement for fact in known)
    turns[0] = (f"{text}{draw.one((' ', chr(10)))}{turns[0][0]}", turns[0][1])
    return turns


def conversation(draw: Draw) -> Episode:
    """One to four turns."""
    kind = draw.rng.random()
    if kind < 0.14:
        turns = memory(draw)
    elif kind < 0.2:
        turns = short_text(draw)
    else:
        turns = [one_question(draw) for _ in range(draw.one((1, 1, 2, 3, 4)))]
    system = ""
    if draw.chance(0.4):
        system = draw.one(SYSTEMS)
        if draw.chance(0.2):
            system += f" Today is {draw.one(DAYS)}, {draw.date()}."
    return Episode([m for question, answer in turns for m in (Message("user", question), Message("assistant", answer))], system=system)
