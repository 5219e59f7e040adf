"""Writes what `npm run eval:model` asks: held-out names, pairs, values and wordings, one case a line.

A case is a conversation up to the assistant's turn, what that turn must be (`check`), and the tokens that it would be
written in (`target`, for the validation loss). Dialogues are not ours to commit: their cases go beside the sources.
"""

import json
import os
import random
from collections.abc import Callable

from .make_tokenizer import documentation
from .sources.debian import is_prose
from .tasks.calls import generated_calls
from .tasks.declining import KINDS, declined
from .tasks.dialogues import Dialogues, read_dialogues
from .tasks.draw import Draw
from .tasks.everyday import everyday
from .tasks.extraction import extraction
from .tasks.facts import Fact, facts
from .tasks.lookup import context_and_questions, converse
from .tasks.questions import DEFINITIONS, TOPICS, as_written
from .text.template import ASSISTANT, BOS, Episode, Message, render
from .text.tokenizer import Encoder

CONTEXT = 2048
ANSWER_ROOM = 64
LOOKUPS, LONG_LOOKUPS, MANY_FACTS = 50, 30, 40
CALLS, EVERYDAY, OBJECTS, DECLINED = 100, 100, 60, 100
DIALOGUES = 25
COFFEE_HELD_OUT = 20


class Prose:
    """Filler that training never saw: the sentences of the project's own documentation."""

    def __init__(self) -> None:
        lines = {" ".join(line.split()) for text in documentation() for line in text.split("\n")}
        self.lines = sorted(line for line in lines if is_prose(line))

    def take(self, rng: random.Random, characters: int) -> str:
        taken: list[str] = []
        while sum(len(line) + 1 for line in taken) < characters:
            taken.append(rng.choice(self.lines))
        return "\n".join(taken)[:characters].rsplit(" ", 1)[0]


def turn(message: Message) -> dict:
    """A message as OpenAI's API has it."""
    if not message.calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments)}}
        for n, c in enumerate(message.calls)
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def api_messages(episode: Episode, upto: int) -> list[dict]:
    messages = [{"role": "system", "content": episode.system}] if episode.system else []
    last: list[dict] = []
    for message in episode.messages[:upto]:
        said = turn(message)
        if message.role == "tool":
            said["tool_call_id"] = next((c["id"] for m in reversed(last) for c in m.get("tool_calls", [])), "call_0")
        messages.append(said)
        last.append(said)
    return messages


def case(measure: str, episode: Episode, at: int, check: dict) -> dict:
    """The case that asks for message `at` of an episode."""
    wanted = episode.messages[at]
    alone = "".join(text for text, _ in render(Episode([wanted])) if text not in (BOS, ASSISTANT))
    found = {"measure": measure, "messages": api_messages(episode, at)}
    if episode.tools:
        found["tools"] = [{"type": "function", "function": tool} for tool in episode.tools]
    return found | {"check": check, "target": alone}


def prompt_tokens(encoder: Encoder, episode: Episode) -> int:
    return len(encoder.weighted(render(Episode(episode.messages[:-1], episode.system, episode.tools)))[0])


def lookups(encoder: Encoder, draw: Draw) -> list[dict]:
    prose = Prose()
    filler = lambda characters: prose.take(draw.rng, characters)  # noqa: E731

    def asked(measure: str, number: int, least: int, most: int, make: Callable[[], tuple[str, list[Fact]]]) -> list[dict]:
        cases = []
        while len(cases) < number:
            context, facts_asked = make()
            episode = converse(draw, context, facts_asked)
            if least <= prompt_tokens(encoder, episode) <= most:
                check = {"kind": "contains", "value": facts_asked[0].value}
                cases.append(case(measure, episode, len(episode.messages) - 1, check))
        return cases

    def among(tokens: int) -> Callable[[], tuple[str, list[Fact]]]:
        size = lambda: int(tokens * draw.rng.uniform(0.8, 1.25))  # noqa: E731
        return lambda: context_and_questions(draw, size(), filler, density=0.2, count=draw.rng.randint(8, 12), questions=1)

    def many() -> tuple[str, list[Fact]]:
        known = facts(draw, draw.rng.randint(15, 30))
        return "\n".join(fact.statement for fact in known), [draw.one(known)]

    end = CONTEXT - ANSWER_ROOM
    return [
        *asked("look-up among 8 to 12 facts at 1,000 tokens", LOOKUPS, 940, 1060, among(1000)),
        *asked("look-up among 8 to 12 facts near the context's end", LONG_LOOKUPS, end - 120, end, among(2000)),
        *asked("look-up among 15 to 30 facts", MANY_FACTS, 100, 1000, many),
    ]


def calls(draw: Draw) -> list[dict]:
    found = []
    for measure, number, make in (
        ("tool calls, generated", CALLS, lambda: generated_calls(draw, turns=1)),
        ("tool calls, everyday tools in free wording", EVERYDAY, lambda: everyday(draw, plain=True)),
    ):
        for _ in range(number):
            episode = make()
            at = next(index for index, message in enumerate(episode.messages) if message.calls)
            call = episode.messages[at].calls[0]
            check = {"kind": "call", "name": call.name, "arguments": call.arguments}
            found.append(case(measure, episode, at, check))
    return found


def questions(draw: Draw) -> list[dict]:
    names = {"platform": "questions about Causeway", "field": "questions about the field", "self": "questions about the model", "talk": "small talk"}
    found = []
    for kind, measure in names.items():
        for topic in TOPICS[kind]:
            asked = [*topic.held_out]
            asked += [draw.one(DEFINITIONS[1]).format(topic.names[0])] if topic.names else []
            for question in asked:
                episode = Episode([Message("user", as_written(question)), Message("assistant", topic.answer)])
                found.append(case(measure, episode, 1, {"kind": "text", "value": topic.answer}))
    for _ in range(DECLINED):
        question, answer = declined(draw)
        episode = Episode([Message("user", question), Message("assistant", answer)])
        found.append(case("declining", episode, 1, {"kind": "one of", "values": [answer for answer, _, _ in KINDS]}))
    return found


def objects(draw: Draw) -> list[dict]:
    found = []
    for _ in range(OBJECTS):
        episode = extraction(draw)
        check = {"kind": "json", "value": json.loads(episode.messages[-1].content)}
        found.append(case("JSON on request", episode, 1, check))
    return found


def dialogue_cases(encoder: Encoder, name: str, dialogues: list[dict]) -> list[dict]:
    """Every assistant's turn of some dialogues: calls must be the same; where none came, none may come."""
    source, found = Dialogues(dialogues), []
    for index in range(len(dialogues)):
        episode = source.episode(Draw(random.Random(0)), index, as_written=True)
        for at, message in enumerate(episode.messages):
            before = Episode(episode.messages[: at + 1], episode.system, episode.tools)
            if message.role != "assistant" or prompt_tokens(encoder, before) > CONTEXT - 2 * ANSWER_ROOM:
                continue
            if message.calls:
                check = {"kind": "call", "name": message.calls[0].name, "arguments": message.calls[0].arguments}
                found.append(case(f"{name}: calls", episode, at, check))
            elif episode.messages[at - 1].role == "user":
                found.append(case(f"{name}: words and no call", episode, at, {"kind": "no call"}))
    return found


def people(encoder: Encoder, sources: str) -> list[dict]:
    development = read_dialogues(os.path.join(sources, "sgd-dev.jsonl.gz"))
    random.Random("evaluation").shuffle(development)
    seen = [d for d in development if not d["unseen"]][:DIALOGUES]
    unseen = [d for d in development if len(d["unseen"]) == len(d["services"])][:DIALOGUES]
    coffee = read_dialogues(os.path.join(sources, "taskmaster4-coffee.jsonl.gz"))[:COFFEE_HELD_OUT]
    return [
        *dialogue_cases(encoder, "people's dialogues, seen services", seen),
        *dialogue_cases(encoder, "people's dialogues, unseen services", unseen),
        *dialogue_cases(encoder, "people's orders of coffee", coffee),
    ]


def write_cases(path: str, cases: list[dict]) -> None:
    with open(path, "w") as file:
        file.writelines(json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n" for one in cases)
    print(f"{len(cases):5} cases, {os.path.getsize(path) / 1e3:.0f} kB: {path}")


def write_evaluation(sources: str, tokenizer: str, folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    encoder = Encoder(tokenizer)
    for name, make in (("lookup", lambda d: lookups(encoder, d)), ("calls", calls), ("questions", questions), ("json", objects)):
        write_cases(os.path.join(folder, f"{name}.jsonl"), make(Draw(random.Random(f"evaluation {name}"), evaluation=True)))
    write_cases(os.path.join(sources, "dialogues.jsonl"), people(encoder, sources))
