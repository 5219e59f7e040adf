"""Look-up: facts among each other and among plain text, then questions about some of them."""

from ..text.template import Episode, Message
from .draw import Draw
from .facts import Fact, facts

CHARACTERS_A_TOKEN = 2.5
CHARACTERS_A_FACT = 42
CHARACTERS_A_QUESTION = 85
ACKNOWLEDGEMENTS = ["Noted.", "All right.", "I will remember that.", "Thank you, I have read it.", "OK."]


def place(draw: Draw, statements: list[str], filler: list[str]) -> str:
    """One text: the statements in order, pieces of filler anywhere between them."""
    cuts = sorted(draw.rng.randint(0, len(statements)) for _ in filler)
    lines: list[str] = []
    for index in range(len(statements) + 1):
        lines += [text for cut, text in zip(cuts, filler) if cut == index]
        lines += statements[index : index + 1]
    if draw.chance(0.3):
        return " ".join(lines)
    return "\n".join(lines)


def lookup(draw: Draw, tokens: int, text, **wanted) -> Episode:
    """An episode of about `tokens`; `wanted` as in `context_and_questions`."""
    return converse(draw, *context_and_questions(draw, tokens, text, **wanted))


def context_and_questions(
    draw: Draw, tokens: int, text, density: float | None = None, count: int | None = None, questions: int | None = None
) -> tuple[str, list[Fact]]:
    """A text and the facts of it to ask for. `text(characters)` gives filler, `density` is the share of the facts."""
    characters = tokens * CHARACTERS_A_TOKEN
    density = draw.one((1.0, 1.0, 0.5, 0.5, 0.15)) if density is None else density
    question_share = 0.35 if questions is None else questions * CHARACTERS_A_QUESTION / characters
    context = characters * max(0.3, 1 - question_share)
    known = facts(draw, count or max(1, min(80, int(context * density / CHARACTERS_A_FACT))))
    statements = [fact.statement for fact in known]
    room = context - sum(len(statement) + 1 for statement in statements)
    filler = []
    while room > 60 and density < 1:
        piece = text(int(min(room, draw.rng.randint(80, 600))))
        filler.append(piece)
        room -= len(piece) + 1
    asked = min(len(known), questions or max(1, int(characters * question_share / CHARACTERS_A_QUESTION)))
    return place(draw, statements, filler), draw.rng.sample(known, asked)


def converse(draw: Draw, context: str, asked: list[Fact]) -> Episode:
    """The context in the user's turn with the first question, in a turn before it, or in the system message."""
    messages = [message for fact in asked for message in (Message("user", fact.question), Message("assistant", fact.answer))]
    where = draw.rng.random()
    if where < 0.15:
        return Episode(messages, system=context)
    if where < 0.3:
        return Episode([Message("user", context), Message("assistant", draw.one(ACKNOWLEDGEMENTS)), *messages])
    if where < 0.36 and len(asked) == 1:
        messages[0].content = f"{messages[0].content}\n{context}"
        return Episode(messages)
    messages[0].content = f"{context}{draw.one((chr(10), chr(10), chr(10) * 2, ' '))}{messages[0].content}"
    return Episode(messages)
