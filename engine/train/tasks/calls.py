"""Tool calls on generated tools: a verb and a noun, some parameters, a request that names their values.

Verb and noun pairs, values and the wordings of requests are held out.
"""

from dataclasses import dataclass

from ..text.template import Call, Episode, Message, compact
from . import wordings
from .draw import DAYS, Draw, held_out
from .facts import upper

VERBS = {
    "get": "get|show me|give me|fetch", "find": "find|look for|search for|locate", "book": "book|reserve",
    "send": "send|deliver|dispatch", "set": "set|change|adjust", "create": "create|make|add", "delete": "delete|remove|erase",
    "check": "check|verify|look at", "order": "order|buy", "play": "play|start", "open": "open", "close": "close|shut",
    "update": "update|modify", "count": "count", "plan": "plan|schedule", "cancel": "cancel|call off", "read": "read",
    "copy": "copy|duplicate", "move": "move", "print": "print", "rename": "rename", "share": "share", "archive": "archive|put away",
    "measure": "measure", "restart": "restart|reboot", "approve": "approve|accept", "reject": "reject|turn down", "export": "export",
}  # fmt: skip
NOUNS = (
    "weather recipe flight room message light alarm note file report ticket song door window meeting invoice parcel photo "
    "table train taxi reminder event list map route price stock email letter contact task folder video story poem lamp "
    "heater camera sensor engine pump valve garden bicycle boat book page form survey order account password backup server "
    "printer battery channel game score team player lesson course exam grade loan budget payment receipt contract offer plan "
    "project webhook region cluster deployment branch release license voucher coupon shipment warehouse vehicle patient visit"
).split()


@dataclass(frozen=True)
class Parameter:
    """What a parameter may be called, its JSON type, and how a request says its value."""

    names: tuple[str, ...]
    type: str
    value: str
    phrases: tuple[list[str], list[str]]
    choices: tuple[str, ...] = ()


PARAMETERS = [
    Parameter(("city", "location", "town"), "string", "city", (["in {}", "for {}", "at {}"], ["over in {}"])),
    Parameter(("person", "name", "recipient", "customer"), "string", "full_name", (["for {}", "with {}", "of {}"], ["on behalf of {}"])),
    Parameter(("date", "day", "on_date"), "string", "date", (["on {}", "for {}", "dated {}"], ["with the date {}"])),
    Parameter(("weekday",), "string", "day", (["on {}", "this {}", "next {}"], ["for the coming {}"])),
    Parameter(("time", "start_time", "at"), "string", "time", (["at {}", "from {}", "starting at {}"], ["for {} sharp"])),
    Parameter(("count", "amount", "quantity", "limit"), "integer", "number", (["{} times", "with a count of {}", "limited to {}"], ["{} in number"])),
    Parameter(("max_price", "price", "budget"), "integer", "number", (["for up to {} euros", "below {} euros", "worth {} euros"], ["costing no more than {} euros"])),
    Parameter(("color", "colour"), "string", "colour", (["in {}", "with the colour {}", "painted {}"], ["coloured {}"])),
    Parameter(("title", "subject", "label"), "string", "phrase", (['called "{}"', 'with the title "{}"', "named {}"], ['under the name "{}"'])),
    Parameter(("place", "near"), "string", "place", (["near the {}", "from the {}", "in the {}"], ["close to the {}"])),
    Parameter(("item", "topic", "kind"), "string", "thing", (["about {}", "regarding {}", "with {}"], ["on the matter of {}"])),
    Parameter(("id", "reference", "code"), "string", "code", (["with the id {}", "number {}", "{}"], ["identified by {}"])),
    Parameter(("email", "address", "to"), "string", "email", (["to {}", "and mail it to {}", "for {}"], ["and let {} have it"])),
    Parameter(("priority", "level"), "string", "choice", (["with {} priority", "at {} priority", "as {} priority"], ["of {} urgency"]), ("low", "medium", "high")),
    Parameter(("size",), "string", "choice", (["in size {}", "of size {}", "({})"], ["sized {}"]), ("small", "large", "huge")),
    Parameter(("format",), "string", "choice", (["as {}", "in {} format", "using {}"], ["formatted as {}"]), ("pdf", "csv", "html")),
    Parameter(("urgent", "notify", "public"), "boolean", "flag", ([], [])),
]  # fmt: skip
REQUESTS = (
    ["Please {}.", "{}.", "{}", "Can you {}?", "Could you {}?", "I want you to {}.", "{}, please.", "Hey, {}.", "I need you to {}.", "Now {}.", "Would you {}?", "I'd like to {}."],
    ["Be so kind as to {}.", "My request: {}.", "Go ahead and {}.", "It would help me if you could {}."],
)  # fmt: skip
NO_TOOL = (
    ["I have no tool for that.", "None of my tools can do that."],
    ["I have no tool for that.", "None of my tools can do that."],
)
NAMED = ("with {n} {v}", "{n} {v}", "{n}: {v}", "({n} {v})", "with the {n} {v}", "where the {n} is {v}", "using {v} as {n}", "and {v} as the {n}", '{n} "{v}"', "the {n} should be {v}", "{v} for {n}", "{n}={v}")
CASES = ("snake", "snake", "snake", "camel", "kebab")


@dataclass(frozen=True)
class Tool:
    schema: dict
    verb: str
    noun: str
    parameters: tuple[tuple[str, Parameter], ...]


def article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def tool_name(case: str, verb: str, noun: str) -> str:
    return verb + upper(noun) if case == "camel" else f"{verb}{'-' if case == 'kebab' else '_'}{noun}"


def argument(draw: Draw, parameter: Parameter):
    """A value as JSON has it."""
    match parameter.value:
        case "choice":
            return draw.one(parameter.choices)
        case "number":
            return draw.number(2)
        case "day":
            return draw.one(DAYS)
        case "flag":
            return True
        case "thing":
            return draw.noun()
        case "colour" | "place":
            return draw.word(parameter.value + "s")
        case kind:
            return getattr(draw, kind)()


def make_tool(draw: Draw, case: str) -> Tool:
    while True:
        verb, noun = draw.one(list(VERBS)), draw.one(NOUNS)
        if held_out(f"{verb} {noun}") == draw.evaluation:
            break
    chosen = draw.rng.sample(PARAMETERS, draw.one((0, 1, 1, 2, 2, 3, 4)))
    named = tuple((draw.one(parameter.names), parameter) for parameter in chosen)
    properties: dict[str, dict] = {}
    required = []
    for name, parameter in named:
        properties[name] = {"type": parameter.type} | ({"enum": list(parameter.choices)} if parameter.choices else {})
        optional = parameter.type == "boolean" or draw.chance(0.3)
        required += [] if optional else [name]
    verb_said = draw.one(VERBS[verb].split("|"))
    description = draw.one(("", f"{upper(verb)} {article(noun)} {noun}", f"{upper(verb_said)} {article(noun)} {noun}", f"{upper(verb)}s the {noun}."))
    schema = {
        "name": tool_name(case, verb, noun),
        "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
    return Tool(schema, verb, noun, named)


def phrase(draw: Draw, name: str, parameter: Parameter, value) -> str:
    """How a request says a value: in the parameter's own words or, with variety, by its name."""
    if draw.varied() and draw.chance(0.4):
        said = name.replace("_", " ")
        return draw.one(NAMED).format(n=said, v=value)
    return draw.template(parameter.phrases).format(value)


def request(draw: Draw, tool: Tool) -> tuple[str, Call]:
    """A wish in words and the call that grants it. Optional parameters are mostly not mentioned, and then stay out."""
    required = tool.schema["parameters"]["required"]
    said = [(n, p) for n, p in tool.parameters if n in required or (p.type != "boolean" and draw.chance(0.35))]
    values = {name: argument(draw, parameter) for name, parameter in said}
    order = draw.rng.sample(said, len(said))
    phrases = " ".join(phrase(draw, name, parameter, values[name]) for name, parameter in order)
    flags = [(n, p) for n, p in tool.parameters if p.type == "boolean" and n not in required]
    if flags and draw.chance(0.3):
        name = flags[0][0]
        values[name] = True
        phrases += f" and make it {name}" if name != "notify" else " and notify everyone"
    wish = f"{draw.one(VERBS[tool.verb].split('|'))} {draw.one(('the', article(tool.noun), 'my', 'this'))} {tool.noun} {phrases}".strip()
    arguments = {name: values[name] for name, _ in tool.parameters if name in values}
    said = wordings.request(draw, wish) if draw.varied() else upper(draw.template(REQUESTS).format(wish))
    return said, Call(tool.schema["name"], arguments)


def result(draw: Draw, tool: Tool) -> tuple[dict, str]:
    """What a tool answers, and what the assistant says of it. Shapes and errors vary, so that they are read."""
    noun = tool.noun
    number, word, name = draw.number(), draw.noun(), draw.full_name()
    match draw.rng.randrange(10):
        case 0:
            return {"ok": True}, "Done."
        case 1:
            return {"status": "success"}, "Done."
        case 2:
            return {"id": number}, f"Done. The id is {number}."
        case 3:
            code = draw.code()
            return {"status": "ok", "reference": code}, f"Done. The reference is {code}."
        case 4:
            error = draw.one((f"no {word} found", f"unknown {noun}", "not allowed", "timeout", f"{draw.city()} is not served"))
            return {"error": error}, f"That did not work: {error}."
        case 5:
            return {"results": []}, f"I found no {noun}."
        case 6:
            return {noun: word, "price": number}, f"The {noun} is {word} and the price is {number}."
        case 7:
            return {"count": number, "owner": name}, f"The count is {number} and the owner is {name}."
        case 8:
            day = draw.date()
            return {"data": {"name": name, "due": day}}, f"The name is {name} and it is due on {day}."
        case _:
            first, second = draw.noun(), draw.noun()
            return {"results": [{"title": first}, {"title": second}]}, f"I found two: {first} and {second}."


def tools_offered(draw: Draw, count: int) -> list[Tool]:
    case = draw.one(CASES)
    found: dict[str, Tool] = {}
    while len(found) < count:
        tool = make_tool(draw, case)
        found.setdefault(tool.schema["name"], tool)
    return list(found.values())


def generated_calls(draw: Draw, tokens: int = 1024, turns: int | None = None, count: int | None = None) -> Episode:
    """One to five tools and one to three wishes. Some wishes fit no tool, and are declined in words."""
    tools = tools_offered(draw, count or draw.one((1, 1, 1, 2) if tokens < 220 else (1, 2, 3, 4, 5)))
    messages: list[Message] = []
    for _ in range(turns or draw.one((1, 1, 1, 2) if tokens < 220 else (1, 2, 3))):
        if turns is None and draw.chance(0.08):
            other = make_tool(draw, "snake")
            if all(other.noun != tool.noun for tool in tools):
                messages += [Message("user", request(draw, other)[0]), Message("assistant", draw.template(NO_TOOL))]
                continue
        tool = draw.one(tools)
        wish, call = request(draw, tool)
        messages += [Message("user", wish), Message("assistant", calls=[call])]
        if turns is None:
            given, said = result(draw, tool)
            messages += [Message("tool", compact(given)), Message("assistant", said)]
    system = draw.one(("", "", "You are a helpful assistant.", "You can call tools."))
    return Episode(messages, system=system, tools=[tool.schema for tool in tools])
