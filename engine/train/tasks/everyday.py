"""Tools as a developer would try them first (weather, mail, alarms), asked for in free wording; questions/everyday.txt lists them.

Requests and values are held out; the names of these tools are not, there are too few of them.
"""

import os
from dataclasses import dataclass, field

from ..text.template import Call, Episode, Message, compact
from .draw import Draw
from .facts import upper, value
from .questions import FOLDER, as_typed, topic_question

OPTIONAL_OFFERED, OPTIONAL_SAID = 0.6, 0.25
CHOICES = {
    "unit": ("celsius", "fahrenheit"), "priority": ("low", "medium", "high"), "mode": ("car", "train", "bike"),
    "region": ("us-east", "eu-west", "ap-east"), "weather": "sunny cloudy rainy windy foggy clear snowy stormy".split(),
    "done": ("ok", "done", "success", "sent"), "order": ("shipped", "delayed", "packed", "delivered", "on its way"),
    "cuisine": "Italian Mexican Chinese Indian Thai Greek Japanese French Turkish Spanish vegetarian Korean".split(),
    "currency": "USD EUR GBP JPY CHF CAD AUD dollars euros pounds yen francs".split(),
    "language": "French German Spanish Italian Chinese Japanese Russian Greek Dutch Polish Turkish Arabic".split(),
    "stars": (3, 4, 5, 4.5, 3.5),
}  # fmt: skip
SAID = {
    "unit": " in {}", "small": ", {n} {}", "language": ", {n} {}", "email": ", {n} {}", "phrase": ', {n} "{}"', "priority": ", {} priority",
    "number": ", {n} {}", "place": ", in the {}", "name": ", {n} {}", "mode": " by {}", "thing": ", {n} {}", "region": " in {}",
}  # fmt: skip
FAILURES = ("timeout", "not found", "no permission", "service unavailable", "invalid {p}", "unknown {p}", "quota exceeded", "try again later")
DECLINED = ["I have no tool for that.", "None of my tools can do that."]


@dataclass
class Parameter:
    names: list[str]
    kind: str
    type: str
    choices: list[str]
    ask: str = ""
    optional: bool = False


@dataclass
class EverydayTool:
    names: list[str] = field(default_factory=list)
    about: str = ""
    parameters: list[Parameter] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    results: list[tuple[list[str], str]] = field(default_factory=list)
    say: str = ""


def parts(text: str, by: str = "|") -> list[str]:
    return [part.strip() for part in text.split(by)]


def read_tools() -> list[EverydayTool]:
    tools: list[EverydayTool] = []
    with open(os.path.join(FOLDER, "everyday.txt")) as file:
        for line in file:
            if line.startswith("? "):
                tools[-1].requests += parts(line[2:])
            elif line.startswith("! "):
                tools[-1].held_out += parts(line[2:])
            elif line.strip() and not line.startswith("#"):
                read_line(tools, *parts(line.partition(":")[0] + "\n" + line.partition(":")[2], "\n")[:2])
    return tools


def read_line(tools: list[EverydayTool], key: str, text: str) -> None:
    match key:
        case "name":
            tools.append(EverydayTool(names=parts(text)))
        case "about":
            tools[-1].about = text
        case "param" | "optional":
            names, kind, type_, ask = (parts(text, ";") + [""])[:4]
            choices = parts(type_) if "|" in type_ else []
            kept = Parameter(parts(names), kind, "string" if choices else type_, choices, ask, key == "optional")
            tools[-1].parameters.append(kept)
        case "result":
            for one in parts(text, ";"):
                names, _, kind = one.partition("=")
                tools[-1].results.append((parts(names), kind.strip()))
        case "say":
            tools[-1].say = text


TOOLS = read_tools()


def everyday_value(draw: Draw, kind: str):
    """A value as JSON has it."""
    if kind in CHOICES:
        return draw.one(CHOICES[kind])
    match kind:
        case "number":
            return draw.number()
        case "small":
            return draw.rng.randint(2, 60)
        case "degrees":
            return draw.rng.randint(1, 38)
        case "flag":
            return True
        case "onoff":
            return draw.chance(0.5)
        case "expression":
            a, b, c, sign = draw.number(), draw.number(), draw.number(2, 99), draw.one("+-*/")
            return draw.one((f"{a} {sign} {b}", f"{a}{sign}{b}", f"{a} {sign} {b} {draw.one('+-')} {c}", f"({a} + {b}) {sign} {c}"))
        case "topic":
            return draw.one((f"{draw.word('animals')}s", draw.full_name(), draw.phrase(), f"the history of {draw.city()}", f"{draw.word('foods')} recipes"))
        case "task":
            return f"{draw.one(('buy', 'sell', 'call about', 'clean', 'feed', 'check', 'bring', 'pack', 'repair'))} the {draw.noun()}"
        case "url":
            return f"https://{draw.noun()}.{draw.one(('com', 'org', 'net'))}/{draw.noun()}"
        case "symbol":
            return "".join(draw.one("ABCDEFGHIKLMNOPRSTUVX") for _ in range(draw.one((3, 4))))
        case "path":
            return f"{draw.one(('/', '/home/', '~/', 'docs/', 'src/'))}{draw.noun()}{draw.one(('.txt', '.md', '.json', '.ts'))}"
        case "invented":
            return draw.invented()
        case _:
            return value(draw, kind)


def shown(value) -> str:
    """A value as a person writes it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


class Offer:
    """One tool of one episode, under names drawn for it."""

    def __init__(self, draw: Draw, kind: EverydayTool):
        self.kind = kind
        offered = [p for p in kind.parameters if not p.optional or draw.chance(OPTIONAL_OFFERED)]
        self.parameters = [(draw.one(p.names), p) for p in offered]
        properties = {n: {"type": p.type} | ({"enum": p.choices} if p.choices else {}) for n, p in self.parameters}
        name = draw.one(kind.names) if draw.chance(0.85) else f"{draw.one(('my', 'do', 'api', 'tool'))}_{kind.names[0]}"
        required = [n for n, p in self.parameters if not p.optional]
        schema = {"type": "object", "properties": properties, "required": required}
        about = draw.one((kind.about, kind.about, f"{kind.about}.", ""))
        self.schema = {"name": name, "description": about, "parameters": schema}

    def wish(self, draw: Draw) -> tuple[str, dict, list[str]]:
        """A request, its arguments in the schema's order, and the required ones as they were written."""
        values: dict[str, object] = {}
        texts, tail = [], ""
        for name, parameter in self.parameters:
            if not parameter.optional:
                values[name] = everyday_value(draw, parameter.kind)
                texts.append(shown(values[name]))
            elif parameter.kind in SAID and draw.chance(OPTIONAL_SAID):
                values[name] = everyday_value(draw, parameter.kind)
                tail += SAID[parameter.kind].format(values[name], n=name.replace("_", " "))
        request = draw.one(self.kind.held_out if draw.evaluation else self.kind.requests)
        return request.format(*texts) + tail, values, texts

    def reply(self, draw: Draw, texts: list[str]) -> tuple[dict, str]:
        """A result and what is said of it."""
        if draw.chance(0.12):
            error = draw.one(FAILURES).format(p=self.parameters[0][0])
            return draw.one(({"error": error}, {"status": "error", "message": error})), f"That did not work: {error}."
        names = [draw.one(names) for names, _ in self.kind.results]
        values = [everyday_value(draw, kind) for _, kind in self.kind.results]
        result = dict(zip(names, values))
        if draw.chance(0.3):
            result = {"ok": True} | result
        if draw.chance(0.15):
            result = {"data": result}
        given = {f"r{i}": v for i, v in enumerate(values)} | {f"k{i}": n.replace("_", " ") for i, n in enumerate(names)}
        return result, self.kind.say.format(*texts, **given)


def everyday(draw: Draw, tokens: int = 1024, plain: bool = False) -> Episode:
    """A conversation with one to four such tools; between calls a question, a missing value, a wish that no tool fits."""
    short = tokens < 220 and not plain
    count = 1 if short else draw.one((1, 1, 2, 3, 4))
    kinds = draw.rng.sample(TOOLS, count + 1)
    offers = [Offer(draw, kind) for kind in kinds[:count]]
    if len({offer.schema["name"] for offer in offers}) < count:
        return everyday(draw, tokens, plain)
    messages: list[Message] = []
    for _ in range(1 if plain or short else draw.one((1, 1, 2, 3))):
        choice = 1.0 if plain else draw.rng.random()
        if choice < 0.12:
            question, answer = topic_question(draw, draw.one(("platform", "field", "self", "talk")))
            messages += [Message("user", question), Message("assistant", answer)]
        elif choice < 0.2:
            wish = Offer(draw, kinds[count]).wish(draw)[0]
            messages += [Message("user", upper(wish)), Message("assistant", draw.one(DECLINED))]
        else:
            messages += call_turn(draw, draw.one(offers), plain)
    system = draw.one(("", "", "You are a helpful assistant.", "You are a helpful assistant.", "Answer briefly.", f"Today is {draw.date()}."))
    return Episode(messages, system="" if plain else system, tools=[offer.schema for offer in offers])


def call_turn(draw: Draw, offer: Offer, plain: bool) -> list[Message]:
    wish, arguments, texts = offer.wish(draw)
    required = [p for _, p in offer.parameters if not p.optional]
    messages = []
    if not plain and len(required) == 1 and len(arguments) == 1 and required[0].ask and draw.chance(0.12):
        about = offer.kind.about[0].lower() + offer.kind.about[1:]
        vague = draw.one((f"Please {about}.", f"I want to {about}.", f"Can you {about}?", f"{offer.kind.about}, please."))
        given = draw.one(("{}", "{}.", "{} please", "use {}", "I mean {}")).format(texts[0])
        messages += [Message("user", vague), Message("assistant", required[0].ask), Message("user", given)]
    else:
        literal = any(mark in wish for mark in "@/\"'")
        messages.append(Message("user", upper(wish) if plain or literal else as_typed(draw, wish, errors=False)))
    messages.append(Message("assistant", calls=[Call(offer.schema["name"], arguments)]))
    if not plain:
        result, said = offer.reply(draw, texts)
        messages += [Message("tool", compact(result)), Message("assistant", said)]
    return messages
