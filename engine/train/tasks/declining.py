"""Questions that a very small model cannot answer, and honest words. Wordings are held out; fillers make them endless."""

import re

from .draw import Draw, held_out
from .questions import as_typed, as_written, known_names

UNKNOWN = "I am a very small model and do not know that."
LIVE = "I cannot see live data such as the weather, news or prices. Give me a tool for it and I will call it."
WRITING = "I am too small to write code or long texts. A larger model can do that."
TRANSLATING = "I cannot translate. I know only English."
ADVICE = "I cannot give advice about that. Please ask a person who knows it well."
CALCULATING = "I am too small to calculate. Give me a calculator tool and I will call it."
CONCEPTS = (
    "gravity inflation democracy evolution electricity dna blockchain kubernetes docker react capitalism philosophy psychology "
    "algebra geometry calculus thermodynamics biology chemistry physics economics marketing yoga football cricket tennis "
    "basketball opera ballet poetry sculpture architecture feudalism socialism buddhism islam christianity hinduism astronomy "
    "geology botany zoology anatomy surgery vaccination diabetes malaria influenza asthma insomnia nutrition protein "
    "cholesterol caffeine hydrogen carbon nitrogen uranium radiation magnetism friction momentum velocity acceleration entropy "
    "plasma lasers semiconductors robotics nanotechnology cryptography bitcoin encryption firewalls phishing photoshop excel "
    "bluetooth satellites volcanoes earthquakes photosynthesis glaciers monsoons tornadoes inheritance mortgages insurance "
    "pensions auctions monopolies tariffs subsidies recursion compilers regression statistics probability fractals topology "
    "origami calligraphy jazz reggae baroque impressionism cubism surrealism haiku sonnets mythology astrology alchemy fencing "
    "judo karate archery rowing surfing skiing chess poker baking brewing knitting welding carpentry masonry forestry beekeeping"
).split()  # fmt: skip
KINDS: list[tuple[str, float, tuple[list[str], list[str]]]] = [
    (UNKNOWN, 5.0, (
        ["who wrote {t} and {t}", "who composed the {t}", "when was {N} born", "when did {N} die", "where was {N} born", "how do i bake {f}",
         "how do i make {f}", "what are the ingredients of {f}", "what is the history of {k}", "who invented {k}", "when was {k} invented",
         "why is {k} important", "give me an example of {k}", "how can i learn {k}", "what are the advantages of {k}", "teach me {k}",
         "what can i see in {c}", "plan a trip to {c}", "how long does it take to fly to {c}", "who is the king of {c}", "who rules {c}",
         "what do people eat in {c}", "which team won in {Y}", "who won the cup in {Y}", "who won the oscar in {Y}", "who was president in {Y}",
         "what is the tallest {t} in the world", "how heavy is a {a}", "where do {a}s live", "do {a}s eat {f}", "can {a}s swim", "why is {f} so expensive",
         "what goes well with {f}", "what is {k}", "what is {k}", "explain {k}", "define {k}", "tell me about {k}", "how does {k} work", "what does {k} mean",
         "can you explain {k}", "what do you know about {k}", "describe {k}", "what is a {u}", "what does {u} mean", "define {u}", "explain {u}",
         "what is {u}", "who is {N}", "tell me about {N}", "what is the population of {c}", "how many people live in {c}", "what happened in {Y}",
         "which river flows through {c}", "how old is {N}", "is {N} married", "why do {a}s sleep", "how fast is a {a}", "who discovered {k}", "do you know {u}"],
        ["what do you know about {c}", "who founded {c}", "how do you prepare {f}", "who was {N} and what is known of that person", "why are {a}s afraid of {a}s",
         "explain to me how {k} works", "what happened in the year {Y} in {c}", "is there any {t} made by {N}", "how is {f} produced", "what is the theory behind {k}",
         "in which year was the {t} invented", "what is a {u} used for"])),
    (LIVE, 1.6, (
        ["what is the weather in {c}", "what is the weather today", "how is the weather", "will it rain tomorrow", "what time is it", "what is the date today",
         "what day is it today", "what is the price of {f}", "what is in the news", "who won the game yesterday", "what is the bitcoin price", "how is the traffic in {c}",
         "is the {t} shop open now", "what is the temperature in {c}", "how much is a flight to {c}", "is it raining", "weather {c}", "time in {c}"],
        ["will it rain in {c} on the weekend", "what are today's headlines", "how much does a {t} cost right now", "do i need a coat in {c} today", "is my train on time"])),
    (WRITING, 1.3, (
        ["write a python program", "write code for a {t}", "write a function that sorts a list", "write hello world in java", "how do i sort a list in python", "fix my code",
         "debug this program", "write a sql query for {t}s", "can you write code", "can you program", "implement quicksort", "write a web page about {a}s", "write an essay about {a}s",
         "write a long story about a {a}", "write a letter to {N}", "write an article about {c}", "write a speech about {f}", "write a song about the {t}", "write a book about {a}s",
         "write 500 words about {c}", "write a blog post about {f}", "write a report about {c}", "code a {t} game"],
        ["write me a script that downloads a file", "please program a {t} for me", "write a 1000 word essay on {k}", "compose a long poem about the {t}", "draft a newspaper article on {c}"])),
    (TRANSLATING, 0.7, (
        ["translate {t} into french", "translate this into german", "what is {a} in spanish", "how do you say {f} in italian", "what does {t} mean in chinese", "say {f} in german",
         "how do i say hello in japanese", "what is the french word for {t}", "can you translate a text"],
        ["translate good morning into russian", "which word do the spanish use for {a}", "i need {f} in dutch"])),
    (ADVICE, 0.9, (
        ["i have a headache, what should i do", "my {a} is ill, what can i do", "should i buy stocks", "what medicine should i take", "is {f} healthy", "should i sue my neighbour",
         "how do i lose weight", "i have pain in my back", "should i invest in {N}", "is it safe to eat {f}", "what are the symptoms of the flu", "can i get a divorce", "should i see a doctor"],
        ["i have a fever, which pills should i take", "is it wise to put my savings into {t}s", "my chest hurts, what is it", "can my landlord throw me out"])),
    (CALCULATING, 1.0, (
        ["what is {B} times {B}", "what is {B} divided by {b}", "calculate {B} * {B}", "what is the square root of {B}", "solve x + {B} = {B}", "what is {B} percent of {B}",
         "what is {b} to the power of {b}", "{B} * {B}", "{B}/{b}", "how much is {B} minus {B}", "what is {B} plus {B}", "{B}+{B}", "what is {b} + {b}", "add {b} and {b}"],
        ["compute {B} x {B}", "how many times does {b} go into {B}", "what do {B} and {B} add up to", "find the cube root of {B}"])),
]  # fmt: skip
EXPLAINED = known_names()


def fill(draw: Draw, question: str) -> str:
    """Each `{letter}` becomes something at random."""

    def unexplained() -> str:
        word = draw.invented() if draw.chance(0.6) else draw.noun()
        return word if word not in EXPLAINED else draw.invented()

    makers = {
        "N": draw.full_name, "c": draw.city, "t": lambda: draw.word("things"), "f": lambda: draw.word("foods"), "a": lambda: draw.word("animals"),
        "k": lambda: draw.one([concept for concept in CONCEPTS if held_out(concept) == draw.evaluation]),
        "Y": lambda: str(draw.rng.randint(1900, 2024)), "B": lambda: str(draw.rng.randint(31, 9999)), "b": lambda: str(draw.rng.randint(3, 30)),
        "u": unexplained,
    }  # fmt: skip
    return re.sub(r"\{(\w)\}", lambda match: makers[match.group(1)](), question)


def declined(draw: Draw) -> tuple[str, str]:
    """A question and the words that decline it."""
    answer, _, wordings = draw.rng.choices(KINDS, [share for _, share, _ in KINDS])[0]
    question = fill(draw, draw.template(wordings))
    return (as_written(question) if draw.evaluation else as_typed(draw, question)), answer
