"""Wordings put together from parts, for training only: hundreds of ways to say the same teach more than twenty.

The held-out wordings are written by hand beside the plain ones (facts.py, calls.py, extraction.py, questions/) and are
none of these; selftest.py looks.
"""

import re

from .draw import MONTHS, Draw

STATEMENT_OPENINGS = (
    "", "", "", "note that ", "remember: ", "please note that ", "as you may know, ", "by the way, ", "it is written that ",
    "the list says that ", "I heard that ", "they say that ", "my notes say that ", "for the record, ", "just so you know, ",
    "this morning I learned that ", "be aware that ", "FYI: ", "info: ", "in our records, ", "the report states that ",
    "a note on the wall says that ", "{n} says that ", "{n} told me that ", "as {n} wrote, ", "in the year {y}, ", "on page {y}: ",
    "everybody agrees that ", "to be exact, ", "we found out that ", "since {m}, ", "point {d}: ", "{d}. ",
)  # fmt: skip
STATEMENT_CORES = (
    "the {a} of {e} is {v}", "the {a} of {e} is {v}", "{e} has the {a} {v}", "{e} has {v} as {a}", "{v} is the {a} of {e}",
    "the {a} of {e} was {v} all along", "{e}'s {a} is {v}", "the {a} of {e} has been {v} since {m}", "{e} got the {a} {v}",
    "{e} goes by the {a} {v}", "{e} keeps {v} as its {a}", "the {a} which {e} has is {v}", "{e} comes with the {a} {v}",
    "one finds {v} as the {a} of {e}", "{v} serves as the {a} of {e}", "{v} was chosen as the {a} of {e}", "the {a} of {e} changed to {v}",
    "the {a} of {e} equals {v}", "the {a} of {e} reads {v}", "{e} is registered with the {a} {v}", "under {a}, {e} lists {v}",
    "with {e}, the {a} is {v}", "what {e} has as {a} is {v}", "as {a} of {e} we have {v}", "someone put {v} as the {a} of {e}",
    "the {a} of {e} became {v}", "{e} carries the {a} {v}", "the {a} of {e} remains {v}", "for the {a}, {e} has {v}",
)  # fmt: skip
STATEMENT_ENDINGS = (
    "", "", "", "", "", "", ", as always", " at the moment", ", I think", ", as agreed", " in this list", ", they told me", " for now",
    ", according to {n}", " and nothing else", ", which is new", " (checked by {n})", ", as of {m}",
)  # fmt: skip
RECORDS = (
    "{e} | {a} | {v}", "{e} / {a}: {v}", "[{e}] {a}={v}", "{e}, {a}: {v}", '{e} has {a} "{v}"', "{a} of {e} = {v}", "- the {a} of {e}: {v}",
    "{e}: the {a} is {v}", "{v} ({a} of {e})", "{a}, {e}: {v}", "Q: {a} of {e}? A: {v}",
)  # fmt: skip
DIRECT_OPENINGS = (
    "", "", "", "", "hey, ", "quick question: ", "now ", "next question: ", "one more: ", "sorry, ", "tell me, ", "and ", "so ", "please: ",
    "{n} asks: ", "again, ", "in the text above, ", "help me, ", "from the list: ",
)  # fmt: skip
DIRECT_CORES = (
    "what is the {a} of {e}", "what is the {a} of {e}", "what is {e}'s {a}", "which {a} does {e} have", "what does {e} have as {a}", "what was given as the {a} of {e}",
    "which is the {a} of {e}", "what do we know as the {a} of {e}", "what did you read about the {a} of {e}", "what stands there as the {a} of {e}",
    "what is it that {e} has as {a}", "{e} has which {a}", "the {a} of {e} is what", "with which {a} does {e} come", "what {a} does {e} have",
    "can I have the {a} of {e}", "do you have the {a} of {e}", "what is given for {e} under {a}",
)  # fmt: skip
INDIRECT_OPENINGS = (
    "please tell me ", "can you tell me ", "I want to know ", "do you remember ", "my question is ", "someone asked me ", "I wonder ", "let me know ",
    "do you know ", "I would like to hear ", "tell me ", "find out ", "I have to know ", "say again ", "I do not remember ",
)  # fmt: skip
INDIRECT_CORES = (
    "what the {a} of {e} is", "which {a} {e} has", "what {e} has as {a}", "the {a} of {e}", "{e}'s {a}", "what is the {a} of {e}", "what {e}'s {a} is",
    "the {a} that {e} has",
)  # fmt: skip
QUESTION_ENDINGS = ("", "", "", "", " again", ", please", " then", ", do you know", " by the list", " in the text", ", thanks", ", exactly")
LEAD_INS = ("", "", "", "by the way, ", "I heard that ", "{n} says that ", "it seems that ", "yes, ", "note that ", "they say that ", "{d}. ", "last week I was told that ", "as far as I know, ", "- ")
LEAD_OUTS = ("", "", "", "", " I think so, at least.", " {n} told me.", " Good to know.", " That is new.", " So it is.")

REQUEST_OPENINGS = (
    "please ", "can you ", "could you ", "I want you to ", "I need you to ", "would you ", "I'd like you to ", "hey, ", "now ", "and now ", "next, ", "you have to ", "will you please ", "let's ",
    "do me a favour and ", "help me ", "my boss wants me to ", "I have to ", "we need to ", "time to ", "ok, ", "hello! please ", "", "", "it is time to ", "may I ask you to ", "try to ",
)  # fmt: skip
REQUEST_ENDINGS = ("", "", "", "", ", please", " for me", " now", " when you can", ", thanks", " right away", ", ok", " if you can", ", as I said")

WISH_VERBS = ("write", "give me", "return", "produce", "output", "print", "build", "show me", "I want", "please give me", "can I get", "create", "prepare")
WISH_OBJECTS = ("JSON", "a JSON object", "one JSON object", "the data as JSON", "this as JSON", "a JSON", "only JSON", "an object in JSON")
WISH_KEYS = (" with the keys {k}", " with {k}", " that has the fields {k}", " containing {k}", " (fields: {k})", " using the names {k}", " with the fields {k}", ", keys {k}", " of {k}", " for {k}")
WISH_TEXTS = ("{w}: {t}", "{w}. {t}", "{w}.\n{t}", "{t} {w}.", "{t}\n{w}.", "{w}. Text: {t}", "{w} from this: {t}", "Text: {t}\n{w}.", "{w}. Here is the text: {t}", "Input: {t}\n{w}", "{w}, taken from: {t}", '"{t}" {w}.')
SAYINGS = ("the {k} is {v}", "{k}: {v}", "its {k} is {v}", "{v} as {k}", "{k} = {v}", "the {k} {v}", "{v} is the {k}", "with the {k} {v}", "{k} {v}", "as {k} we have {v}", "for {k} take {v}")


def upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def aside(draw: Draw, text: str) -> str:
    """Fills what has nothing to do with the fact: a name, a month, a number."""
    parts = {"{n}": draw.name, "{m}": lambda: draw.one(MONTHS), "{y}": lambda: str(draw.rng.randint(100, 2030)), "{d}": lambda: str(draw.rng.randint(1, 40))}
    for mark, make in parts.items():
        if mark in text:
            text = text.replace(mark, make())
    return text


def statement(draw: Draw, attribute: str, entity: str, value: str) -> str:
    values = {"a": attribute, "e": entity, "v": value}
    if draw.chance(0.15):
        return upper(draw.one(RECORDS).format(**values))
    text = aside(draw, draw.one(STATEMENT_OPENINGS)) + aside(draw, draw.one(STATEMENT_CORES).replace("{m}", draw.one(MONTHS))).format(**values)
    return upper(text + aside(draw, draw.one(STATEMENT_ENDINGS)) + ".")


def question(draw: Draw, attribute: str, entity: str) -> str:
    direct = draw.chance(0.55)
    opening = draw.one(DIRECT_OPENINGS if direct else INDIRECT_OPENINGS)
    core = draw.one(DIRECT_CORES if direct else INDIRECT_CORES).format(a=attribute, e=entity)
    text = aside(draw, opening) + core + draw.one(QUESTION_ENDINGS)
    mark = draw.one(("?", "?", "?", "")) if direct else draw.one((".", ".", "?", ""))
    return (upper(text) if draw.chance(0.85) else text) + mark


def framed(draw: Draw, sentence: str) -> str:
    """A whole sentence with something before or after it."""
    opening = aside(draw, draw.one(LEAD_INS))
    return upper(opening + sentence) + aside(draw, draw.one(LEAD_OUTS))


def request(draw: Draw, wish: str) -> str:
    text = draw.one(REQUEST_OPENINGS) + wish + draw.one(REQUEST_ENDINGS)
    asks = re.match(r"(?i)(can|could|would|will|may) ", text)
    return (upper(text) if draw.chance(0.85) else text) + ("?" if asks and draw.chance(0.8) else draw.one((".", ".", "", "!")))


def object_wish(draw: Draw, keys: str, text: str) -> str:
    wish = draw.one(WISH_VERBS) + " " + draw.one(WISH_OBJECTS) + draw.one(WISH_KEYS).format(k=keys)
    form = draw.one(WISH_TEXTS)
    return form.replace("{w}", upper(wish)).replace("{t}", text)


def saying(draw: Draw, key: str, value: object) -> str:
    return draw.one(SAYINGS).format(k=key, v=value)


# What a question begins with, and what else it may begin with.
BEGINNINGS = (
    ("how do i ", ("how can i ", "how would i ", "how could i ", "in what way do i ", "is there a way to ", "what do i do to ", "i want to ", "i need to ", "how does one ", "show me how to ", "i do not know how to ")),
    ("can i ", ("could i ", "may i ", "is it possible to ", "am i able to ", "would i be able to ", "is it allowed to ", "i want to ", "do you let me ")),
    ("what happens if ", ("what happens when ", "what will happen if ", "what would happen if ", "what is done if ", "what do you do if ", "what if ", "and if ")),
    ("what happens when ", ("what happens if ", "what will happen when ", "what if ", "what do you do when ", "and when ")),
    ("where do i see ", ("where can i see ", "where can i find ", "how do i see ", "where do i find ", "where do you show ", "show me where to see ")),
    ("why did i get ", ("why do i get ", "why am i getting ", "what is the reason for ", "i got ", "i keep getting ", "how come i get ")),
    ("what does ", ("tell me what ", "i wonder what ", "please explain what ")),
    ("which ", ("what ", "tell me which ", "do you know which ")),
    ("do you ", ("does causeway ", "does this platform ", "does it ", "do you really ", "would you ", "will you ")),
    ("does causeway ", ("do you ", "does it ", "does the platform ", "will causeway ")),
    ("is there ", ("do you have ", "does it have ", "is there maybe ", "have you got ")),
    ("how does ", ("tell me how ", "can you explain how ", "in which way does ", "explain how ")),
    ("how is ", ("in what way is ", "tell me how ", "can you explain how ")),
    ("why ", ("tell me why ", "what is the reason why ", "for what reason ", "how come ")),
    ("are you ", ("you are ", "could it be that you are ", "is it true that you are ", "so are you ")),
    ("who ", ("tell me who ", "do you know who ")),
)  # fmt: skip
WORDS = (
    ("a request", ("my request", "one request", "a call", "an api call", "requests")), ("my key", ("an api key", "the key", "my api key")),
    ("money", ("credit", "funds")), ("costs", ("spending", "expenses")), ("a backend", ("a server", "an inference server")), ("answer", ("reply", "response")),
    ("see", ("find", "look at", "read")), ("stop", ("end", "cancel")), ("use", ("work with", "take")), ("fails", ("breaks", "dies", "crashes")),
    ("many", ("lots of", "several")), ("fast", ("quickly", "quick")), ("big", ("large",)), ("made", ("built", "created")),
)  # fmt: skip


def reworded(draw: Draw, question_: str) -> str:
    """A question with another beginning, or another word in it."""
    if draw.chance(0.5):
        for beginning, others in BEGINNINGS:
            if question_.startswith(beginning):
                question_ = draw.one(others) + question_[len(beginning) :]
                break
    if draw.chance(0.35):
        known = [(word, others) for word, others in WORDS if re.search(rf"\b{word}\b", question_)]
        if known:
            word, others = draw.one(known)
            question_ = re.sub(rf"\b{word}\b", draw.one(others), question_, count=1)
    return question_
