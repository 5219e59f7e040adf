"""Dialogues between people who play user and assistant, with tool calls: SGD and Taskmaster-4, as sources/ converts them.

SGD-X's other wordings rename tools, parameters and result fields at random, so that names are read and not known.
"""

import gzip
import json
import random

from ..text.template import Call, Episode, Message, compact
from .draw import Draw

RENAMED_SHARE = 0.6
SPARE_TOOLS_SHARE = 0.25


def read_dialogues(path: str) -> list[dict]:
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


class Dialogues:
    """One source. `episode` is a pure function of its number, so the run keeps a number and no generator's state."""

    def __init__(self, dialogues: list[dict], variants: dict | None = None):
        self.dialogues = dialogues
        self.variants = variants or {}

    def numbered(self, seed: int, taken: int) -> int:
        """Which dialogue comes after `taken` others: each once a pass, every pass in another order."""
        passes, position = divmod(taken, len(self.dialogues))
        order = list(range(len(self.dialogues)))
        random.Random(f"{seed}/{passes}").shuffle(order)
        return order[position]

    def episode(self, draw: Draw, index: int, as_written: bool = False) -> Episode:
        source = self.dialogues[index]
        renamed = self.variants and not as_written and draw.chance(RENAMED_SHARE)
        names = Renaming(source, self.variants, draw.rng.randint(0, 4)) if renamed else Renaming(source, {}, 0)
        tools = [names.tool(tool) for tool in source["tools"]]
        if not as_written and draw.chance(SPARE_TOOLS_SHARE):
            self.add_spare_tools(draw, tools)
        messages = [names.message(message) for message in source["messages"]]
        return Episode(messages, system=f"Today is {source['date']}." if "date" in source else "", tools=tools)

    def add_spare_tools(self, draw: Draw, tools: list[dict]) -> None:
        """Tools of another dialogue, which this one does not need."""
        present = {tool["name"] for tool in tools}
        for tool in draw.one(self.dialogues)["tools"][: draw.rng.randint(1, 2)]:
            if tool["name"] not in present:
                tools.insert(draw.rng.randint(0, len(tools)), tool)


class Renaming:
    """The names of one dialogue's tools, parameters and fields in another wording; without variants, its own."""

    def __init__(self, source: dict, variants: dict, number: int):
        self.tools: dict[str, tuple[str, str]] = {}
        self.slots: dict[str, dict[str, str]] = {}
        self.order = {tool["name"]: list(tool["parameters"]["properties"]) for tool in source["tools"]}
        self.calling = ""
        for service in source["services"] if variants else []:
            wording = variants[service][number]
            for tool, said in wording["intents"].items():
                self.tools[tool] = tuple(said)
                self.slots[tool] = {slot: said[0] for slot, said in wording["slots"].items()}

    def tool(self, tool: dict) -> dict:
        name, description = self.tools.get(tool["name"], (tool["name"], tool.get("description", "")))
        slots, schema = self.slots.get(tool["name"], {}), tool["parameters"]
        properties = {slots.get(slot, slot): kind for slot, kind in schema["properties"].items()}
        required = [slots.get(slot, slot) for slot in schema.get("required", [])]
        return {"name": name, "description": description, "parameters": {"properties": properties, "required": required}}

    def message(self, message: dict) -> Message:
        if message["role"] == "tool":
            return Message("tool", self.result(message["content"]))
        calls = [self.call(call) for call in message.get("tool_calls", [])]
        return Message(message["role"], " ".join(message["content"].split()), calls)

    def call(self, call: dict) -> Call:
        """Arguments in the order of the schema, which is the only order that can be learned."""
        self.calling = call["name"]
        order, slots = self.order.get(self.calling, []), self.slots.get(self.calling, {})
        known = sorted(call["arguments"], key=lambda slot: order.index(slot) if slot in order else len(order))
        name = self.tools.get(self.calling, (self.calling,))[0]
        return Call(name, {slots.get(slot, slot): call["arguments"][slot] for slot in known})

    def result(self, content: str) -> str:
        slots = self.slots.get(self.calling)
        if not slots:
            return content
        found = json.loads(content)
        found["results"] = [{slots.get(k, k): v for k, v in row.items()} for row in found["results"]]
        return compact(found)
