"""Facts that are made up, sentences that state them, questions that ask for them, answers.

Two kinds: attributes ("the price of the red lamp is 45") and relations ("Ana works as a baker"). Wordings are pairs of
lists: for training, and held out for evaluation.
"""

from dataclasses import dataclass

from . import wordings
from .draw import DAYS, MONTHS, Draw

# attribute: what kind of value it has
ATTRIBUTES = {
    "access code": "code", "account number": "number", "age": "small", "birthday": "date", "badge number": "number",
    "best friend": "name", "book title": "phrase", "capacity": "number", "capital": "city", "code": "code",
    "code word": "word", "colour": "colour", "contact": "full_name", "deadline": "date", "destination": "city",
    "director": "full_name", "email address": "email", "favourite animal": "animal", "favourite colour": "colour",
    "favourite food": "food", "favourite plant": "plant", "height": "number", "home town": "city", "key": "code",
    "leader": "full_name", "length": "number", "location": "place", "manager": "full_name", "meal": "food",
    "meeting room": "place", "motto": "phrase", "nickname": "word", "number": "number", "opening time": "time",
    "order number": "code", "owner": "name", "partner": "name", "password": "code", "place": "place", "price": "number",
    "project": "phrase", "room number": "number", "secret word": "word", "serial number": "code", "start date": "date",
    "symbol": "animal", "teacher": "name", "ticket number": "code", "version": "number", "weight": "number",
}  # fmt: skip

# the share of the plainest wording in training: what is learned on it first carries over to the others
PLAIN = 0.35

STATEMENTS = (
    [
        "The {a} of {e} is {v}.", "{E} has the {a} {v}.",
        "For {e}, the {a} is {v}.", "{V} is the {a} of {e}.", "Remember that the {a} of {e} is {v}.",
        "Note: the {a} of {e} is {v}.", "{E}: {a} {v}.", "{a} of {e}: {v}", "{e} - {a}: {v}",
        "The {a} that belongs to {e} is {v}.", "Everyone knows that {v} is the {a} of {e}.", "As for {e}, its {a} is {v}.",
        "If anyone asks, the {a} of {e} is {v}.", "We were told that the {a} of {e} is {v}.",
        "{E} was given {v} as its {a}.", "In our list the {a} of {e} is {v}.", "The {a} of {e} used to be unknown; it is {v}.",
        "Write down {v} as the {a} of {e}.", "- {e}: {a} = {v}", "{E} uses {v} as {a}.",
    ],
    [
        "You should know that {e} has {v} for its {a}.", "When it comes to {e}, the {a} is {v}.",
        "The {a} for {e} was set to {v}.", "It turned out that the {a} of {e} is {v}.",
        "According to the office, {v} is the {a} for {e}.", "* {a} ({e}): {v}",
    ],
)  # fmt: skip

QUESTIONS = (
    [
        "What is the {a} of {e}?", "Tell me the {a} of {e}.",
        "What was the {a} of {e}?", "I forgot the {a} of {e}. What is it?", "Do you know the {a} of {e}?",
        "Which {a} does {e} have?", "{E}: what is the {a}?", "Can you find the {a} of {e}?", "the {a} of {e}?",
        "And the {a} of {e}?", "Please give me the {a} of {e}.", "I need the {a} of {e}.",
        "Look up the {a} of {e}, please.", "What did I say is the {a} of {e}?", "what's the {a} of {e}",
    ],
    [
        "Could you remind me what the {a} of {e} is?", "What {a} belongs to {e}?", "I am looking for the {a} of {e}.",
        "According to the text, what is the {a} of {e}?", "Say the {a} of {e}.", "What would be the {a} of {e}?",
    ],
)  # fmt: skip

SHORT = (
    ["Answer only.", "Answer with the value only.", "Just the answer.", "In as few words as possible.", "Only the value, please."],
    ["Give nothing but the answer.", "Reply with the bare value."],
)


@dataclass(frozen=True)
class Relation:
    """`{s}` is a person, `{v}` the value."""

    value: str
    statements: tuple[list[str], list[str]]
    questions: tuple[list[str], list[str]]
    answer: str


RELATIONS = [
    Relation("city", (["{s} lives in {v}.", "{s} moved to {v} last year.", "The home of {s} is in {v}."], ["You will find {s} at home in {v}."]),
             (["Where does {s} live?", "In which city does {s} live?", "Which city is the home of {s}?"], ["Do you know which city {s} lives in?"]), "{s} lives in {v}."),
    Relation("job", (["{s} works as a {v}.", "{s} is a {v}.", "{s} became a {v}."], ["{s} earns a living as a {v}."]),
             (["What does {s} do for a living?", "What is the job of {s}?", "What does {s} work as?"], ["Which profession does {s} have?"]), "{s} works as a {v}."),
    Relation("thing", (["{s} bought a {v}.", "{s} went to the shop and bought a {v}.", "What {s} bought is a {v}."], ["{s} came back from the shop with a {v}."]),
             (["What did {s} buy?", "Which thing did {s} buy?", "Tell me what {s} bought."], ["Do you recall what {s} bought?"]), "{s} bought a {v}."),
    Relation("food", (["{s} ordered {v}.", "{s} asked for {v} at lunch.", "{s} will have the {v}."], ["The {v} is for {s}, who ordered it."]),
             (["What did {s} order?", "Which food did {s} order?", "What is {s} having?"], ["What should I bring {s}, going by the order?"]), "{s} ordered {v}."),
    Relation("day", (["{s} arrives on {v}.", "{s} will come on {v}.", "We expect {s} on {v}."], ["{v} is the day when {s} arrives."]),
             (["When does {s} arrive?", "On which day will {s} come?", "When do we expect {s}?"], ["On what day can we meet {s}?"]), "{s} arrives on {v}."),
    Relation("animal", (["{s} has a {v}.", "{s} keeps a {v} as a pet.", "The pet of {s} is a {v}."], ["At home {s} looks after a {v}."]),
             (["Which pet does {s} have?", "What animal does {s} keep?", "What is the pet of {s}?"], ["What kind of pet is with {s}?"]), "{s} has a {v}."),
    Relation("number", (["{s} paid {v} euros.", "{s} owes us {v} euros and paid them.", "The bill of {s} was {v} euros."], ["It cost {s} {v} euros in all."]),
             (["How much did {s} pay?", "How many euros did {s} pay?", "What was the bill of {s}?"], ["What sum did {s} pay?"]), "{s} paid {v} euros."),
    Relation("city", (["{s} is flying to {v}.", "{s} booked a trip to {v}.", "Next week {s} travels to {v}."], ["The tickets of {s} are for {v}."]),
             (["Where is {s} flying to?", "Which city is {s} travelling to?", "Where does {s} travel next week?"], ["To which city is {s} going?"]), "{s} is travelling to {v}."),
    Relation("name", (["{s} is married to {v}.", "{s} married {v}.", "The wedding of {s} and {v} was in May."], ["{s} has {v} as a spouse."]),
             (["Who is {s} married to?", "Whom did {s} marry?", "Who is the partner of {s}?"], ["Who did {s} have the wedding with?"]), "{s} is married to {v}."),
    Relation("place", (["{s} is in the {v}.", "{s} is waiting in the {v}.", "I saw {s} in the {v}."], ["Right now {s} sits in the {v}."]),
             (["Where is {s}?", "In which place is {s} waiting?", "Where can I find {s}?"], ["Do you know where {s} is right now?"]), "{s} is in the {v}."),
    Relation("month", (["{s} was born in {v}.", "The birthday of {s} is in {v}.", "{s} celebrates a birthday in {v}."], ["Each {v} it is the birthday of {s}."]),
             (["In which month was {s} born?", "When is the birthday of {s}?", "Which month is {s} born in?"], ["What is the birth month of {s}?"]), "{s} was born in {v}."),
    Relation("plant", (["{s} planted a {v}.", "{s} grows a {v} in the garden.", "In the garden of {s} stands a {v}."], ["There is a {v} that {s} planted."]),
             (["What did {s} plant?", "Which plant does {s} grow?", "What stands in the garden of {s}?"], ["What grows where {s} gardens?"]), "{s} planted a {v}."),
]  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One made-up fact. `key` says what it is about: two facts of an episode never share it."""

    key: tuple[str, str]
    statement: str
    question: str
    answer: str
    value: str


def upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def value(draw: Draw, kind: str) -> str:
    """A random value of a kind, as text."""
    match kind:
        case "number":
            return str(draw.number())
        case "small":
            return str(draw.rng.randint(2, 99))
        case "colour":
            return draw.word("colours")
        case "place":
            return draw.word("places")
        case "animal" | "food" | "plant" | "thing" | "job":
            return draw.word(kind + "s")
        case "day":
            return draw.one(DAYS)
        case "month":
            return draw.one(MONTHS)
        case "word":
            return draw.noun() if draw.chance(0.5) else draw.invented()
        case _:
            return getattr(draw, kind)()


def entity(draw: Draw) -> str:
    """What a fact is about."""
    kind = draw.rng.random()
    if kind < 0.25:
        return draw.name()
    if kind < 0.35:
        return draw.full_name()
    if kind < 0.55:
        return f"the {draw.word('colours')} {draw.word('things')}"
    if kind < 0.7:
        return f"the {draw.word('adjectives')} {draw.word('things')}"
    if kind < 0.78:
        return f"the {draw.word('animals')} in the {draw.word('places')}"
    if kind < 0.86:
        return f"the {draw.word('things')} of {draw.name()}"
    if kind < 0.93:
        return f"{draw.one(('room', 'team', 'order', 'unit', 'box', 'line', 'file', 'store'))} {draw.one((draw.code(), str(draw.number(10, 999)), draw.invented().capitalize()))}"
    return f"{draw.one(('the town of', 'the company', 'the ship', 'project', 'the village of'))} {draw.invented().capitalize()}"


def attribute_fact(draw: Draw, about: str) -> Fact:
    attribute = draw.one(list(ATTRIBUTES))
    text = value(draw, ATTRIBUTES[attribute])
    values = {"a": attribute, "e": about, "E": upper(about), "v": text, "V": upper(text) if text.islower() else text}
    question = wordings.question(draw, attribute, about) if draw.varied() else upper(draw.template(QUESTIONS, PLAIN).format(**values))
    answer = f"The {attribute} of {about} is {text}."
    if draw.chance(0.25):
        question, answer = f"{question} {draw.template(SHORT)}", text
    if draw.varied():
        return Fact((about, attribute), wordings.statement(draw, attribute, about, text), question, answer, text)
    return Fact((about, attribute), upper(draw.template(STATEMENTS, PLAIN).format(**values)), question, answer, text)


def relation_fact(draw: Draw) -> Fact:
    number = draw.rng.randrange(len(RELATIONS))
    relation, subject, text = RELATIONS[number], draw.name(), value(draw, RELATIONS[number].value)
    values = {"s": subject, "v": text}
    question = draw.template(relation.questions).format(**values)
    answer = relation.answer.format(**values)
    if draw.chance(0.2):
        question, answer = f"{question} {draw.template(SHORT)}", text
    said = draw.template(relation.statements).format(**values)
    if draw.varied():
        said = wordings.framed(draw, said)
        question = f"{draw.one(('', '', 'Hey, ', 'And ', 'Tell me: ', 'Now, '))}{question}"
    return Fact((subject, f"relation {number}"), said, question, answer, text)


def facts(draw: Draw, count: int) -> list[Fact]:
    """Different facts. Several of them are about the same thing, or give the same attribute of another."""
    abouts = [entity(draw) for _ in range(max(2, count * 2 // 3))]
    found: dict[tuple[str, str], Fact] = {}
    while len(found) < count:
        fact = relation_fact(draw) if draw.chance(0.25) else attribute_fact(draw, draw.one(abouts))
        found.setdefault(fact.key, fact)
    return list(found.values())
