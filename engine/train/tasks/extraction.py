"""JSON on request: facts in words, wanted as an object with given keys."""

from ..text.template import Episode, Message, compact
from . import wordings
from .draw import Draw
from .facts import upper, value

KEYS = {
    "name": ("full_name", "the name is {}"), "city": ("city", "the city is {}"), "age": ("small", "the age is {}"),
    "food": ("food", "the food is {}"), "animal": ("animal", "the animal is a {}"), "colour": ("colour", "the colour is {}"),
    "day": ("day", "the day is {}"), "count": ("number", "the count is {}"), "plant": ("plant", "the plant is a {}"),
    "friend": ("name", "the friend is {}"), "job": ("job", "the job is {}"), "email": ("email", "the email address is {}"),
    "code": ("code", "the code is {}"), "date": ("date", "the date is {}"), "time": ("time", "the time is {}"),
    "price": ("number", "the price is {}"), "item": ("thing", "the item is a {}"), "title": ("phrase", "the title is {}"),
    "owner": ("name", "the owner is {}"), "place": ("place", "the place is the {}"),
}  # fmt: skip
PERSON = (
    ["{name} is {age} years old and lives in {city}.", "{name}, {age}, from {city}.", "My friend {name} from {city} turned {age}."],
    ["In {city} I met {name}, who is {age}."],
)
ORDER = (
    ["{name} ordered {count} {item}s for {price} euros.", "{count} {item}s at {price} euros for {name}.", "Please bill {name} {price} euros for {count} {item}s."],
    ["For {price} euros {name} receives {count} {item}s."],
)
MEETING = (
    ["{name} has a meeting on {date} at {time} in {city}.", "On {date} at {time} we meet {name} in {city}.", "Meeting with {name}, {city}, {date}, {time}."],
    ["{city} is where {name} will meet us on {date}, {time}."],
)
STORIES = [PERSON, ORDER, MEETING]
INTEGERS = ("age", "count", "price")
WISHES = (
    [
        "Write this as JSON with the keys {k}: {t}", "{t} Give me JSON with the keys {k}.", "Turn this into JSON ({k}). {t}",
        "Extract {k} as JSON: {t}", "{t}\nJSON with {k}, please.", "Answer in JSON with the fields {k}.\n{t}", "JSON ({k}): {t}",
    ],
    ["Make a JSON object of {k} out of this: {t}", "{t} I need it as a JSON object. Keys: {k}.", "Reply with a JSON object that has {k}. {t}"],
)  # fmt: skip


def extraction(draw: Draw) -> Episode:
    """A text and the object that it asks for; the keys come in the order of the request."""
    if draw.chance(0.45):
        template = draw.template(draw.one(STORIES))
        keys = [key for key in KEYS if f"{{{key}}}" in template]
        values = {key: value(draw, KEYS[key][0]) for key in keys}
        text = template.format(**values)
    else:
        keys = draw.rng.sample(list(KEYS), draw.one((2, 3, 4, 5)))
        values = {key: value(draw, KEYS[key][0]) for key in keys}
        said = [
            wordings.saying(draw, key, values[key]) if draw.varied() else KEYS[key][1].format(values[key])
            for key in draw.rng.sample(keys, len(keys))
        ]
        text = upper(", ".join(said)) + "."
    wanted = draw.rng.sample(keys, draw.rng.randint(2, len(keys)) if draw.chance(0.3) else len(keys))
    names = ", ".join(wanted)
    wish = wordings.object_wish(draw, names, text) if draw.varied() else draw.template(WISHES).format(k=names, t=text)
    found = {key: int(values[key]) if key in INTEGERS else values[key] for key in wanted}
    return Episode([Message("user", wish), Message("assistant", compact(found))])
