"""Schema-Guided Dialogue with SGD-X, and Taskmaster-4, converted to conversations with tools. None of it is committed here.

- github.com/google-research-datasets/dstc8-schema-guided-dialogue at e852981a, CC BY-SA 4.0: Abhinav Rastogi, Xiaoxue Zang,
  Srinivas Sunkara, Raghav Gupta, Pranav Khaitan; SGD-X: Harrison Lee and others; Google. What becomes of it stays CC BY-SA 4.0.
- github.com/google-research-datasets/Taskmaster at d92cb6af, TM-4-2024, CC BY 4.0: Bill Byrne, Saravanan Ganesh; Google LLC.

A line of the result: {"id", "services", "unseen", "date"?, "tools", "messages"}; `unseen` are services that training lacks.
"""

import collections
import gzip
import json
import os
import random
import re
import subprocess

from ..text.template import compact

SGD_COMMIT, TASKMASTER_COMMIT = "e852981a", "d92cb6af"
TODAY = "2019-03-01"  # of every dialogue of SGD
RESULTS, FIELDS_OF_ONE, FIELDS_OF_SEVERAL = 3, 6, 4
COFFEE_DIALOGUES, COFFEE_OF_A_SCENARIO, COFFEE_RESULT = 1600, 80, 600
COFFEE_ABOUT = {
    "get_menu_items": "Search the menu", "add_order_item": "Add a menu item to the order",
    "get_order_details": "Show the current order", "finish_order": "Send the order off to be made",
}  # fmt: skip


class Repository:
    """A clone, bare or not, read at one commit."""

    def __init__(self, path: str, commit: str):
        self.path, self.commit = path, commit

    def git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", "-C", self.path, *arguments], check=True, capture_output=True).stdout

    def json(self, name: str):
        return json.loads(self.git("show", f"{self.commit}:{name}"))

    def files(self, folder: str) -> list[str]:
        """Those whose content the clone has: a partial one lacks the largest."""
        lines = self.git("ls-tree", "-r", "-l", self.commit, folder).decode().splitlines()
        return [line.split("\t")[1] for line in lines if line.split()[3] != "BAD"]


# ---- Schema-Guided Dialogue


def slot_type(slot: dict) -> dict:
    """A slot as a JSON schema: categories of True and False are booleans, of digits integers, others enumerations."""
    values = slot["possible_values"]
    if not slot["is_categorical"]:
        return {"type": "string"}
    if {value.lower() for value in values} <= {"true", "false"}:
        return {"type": "boolean"}
    if values and all(re.fullmatch(r"\d+", value) for value in values):
        return {"type": "integer"}
    return {"type": "string", "enum": values}


def typed(value: str, type_: str | None):
    if type_ == "boolean" and value in ("True", "False"):
        return value == "True"
    return int(value) if type_ == "integer" and re.fullmatch(r"\d+", value) else value


def service_tools(service: dict) -> list[dict]:
    """An intent becomes a tool, with its required and then its optional slots."""
    slots = {slot["name"]: slot for slot in service["slots"]}
    tools = []
    for intent in service["intents"]:
        properties = {}
        optional = intent["optional_slots"]
        for name in [*intent["required_slots"], *optional]:
            properties[name] = {**slot_type(slots[name]), "description": slots[name]["description"]}
            default = optional.get(name) if isinstance(optional, dict) else None
            if default and default != "dontcare":
                properties[name]["default"] = typed(default, properties[name]["type"])
        schema = {"type": "object", "properties": properties, "required": list(intent["required_slots"])}
        tools.append({"name": intent["name"], "description": intent["description"], "parameters": schema})
    return tools


def offered_later(turns: list[dict], service: str, types: dict) -> tuple[list[str], list[dict]]:
    """Of a call's results, what the rest of the dialogue uses: slots that are spoken of, and offers, up to the next call."""
    used: list[str] = []
    offers: list[dict] = []
    for number, turn in enumerate(turns):
        for frame in (frame for frame in turn["frames"] if frame["service"] == service):
            if number and "service_call" in frame:
                return used, offers
            if turn["speaker"] == "SYSTEM":
                offer = {}
                for action in frame["actions"]:
                    if action["slot"] in types and action["slot"] not in used:
                        used.append(action["slot"])
                    if action["act"] == "OFFER" and action["canonical_values"]:
                        offer[action["slot"]] = action["canonical_values"][0]
                offers += [offer] if offer else []
    return used, offers


def shortened(results: list[dict], used: list[str], offers: list[dict], asked: dict, types: dict, rng: random.Random) -> list[dict]:
    """At most three results, those that are offered; of each the fields that are used and a few more."""
    kept: list[int] = []
    for offer in offers:
        match = next((n for n, row in enumerate(results) if all(row.get(k) == v for k, v in offer.items())), None)
        if match is not None and match not in kept and len(kept) < RESULTS:
            kept.append(match)
    if not kept and results:
        kept = [0]
    if len(kept) == 1 and len(results) > 1 and rng.random() < 0.5:
        kept.append(rng.choice([n for n in range(len(results)) if n not in kept]))
    rows = []
    for row in (results[n] for n in sorted(kept)):
        fields = [name for name in used if name in row]
        room = max(0, (FIELDS_OF_ONE if len(kept) == 1 else FIELDS_OF_SEVERAL) - len(fields))
        fields += [name for name in row if name not in fields and name not in asked][:room]
        rows.append({name: typed(value, types.get(name)) for name, value in row.items() if name in fields})
    return rows


def sgd_dialogue(dialogue: dict, services: dict, rng: random.Random) -> list[dict]:
    """The turns as messages: a service call becomes a tool call and its result, before what the system says."""
    messages = []
    for number, turn in enumerate(dialogue["turns"]):
        if turn["speaker"] == "USER":
            messages.append({"role": "user", "content": turn["utterance"]})
            continue
        for frame in (frame for frame in turn["frames"] if "service_call" in frame):
            types = {slot["name"]: slot_type(slot)["type"] for slot in services[frame["service"]]["slots"]}
            call, results = frame["service_call"], frame["service_results"]
            arguments = {k: typed(v, types.get(k)) for k, v in call["parameters"].items() if v != "dontcare"}
            used, offers = offered_later(dialogue["turns"][number:], frame["service"], types)
            rows = shortened(results, used, offers, call["parameters"], types, rng)
            messages.append({"role": "assistant", "content": "", "tool_calls": [{"name": call["method"], "arguments": arguments}]})
            messages.append({"role": "tool", "content": compact({"count": len(results), "results": rows})})
        messages.append({"role": "assistant", "content": turn["utterance"]})
    return messages


def sgd(repository: Repository, split: str, trained: set[str], rng: random.Random) -> list[dict]:
    services = {service["service_name"]: service for service in repository.json(f"{split}/schema.json")}
    lines = []
    for path in repository.files(f"{split}/"):
        for dialogue in repository.json(path) if "dialogues_" in path else []:
            tools = [tool for name in dialogue["services"] for tool in service_tools(services[name])]
            if len({tool["name"] for tool in tools}) < len(tools):
                continue  # two services with a tool of one name
            unseen = [name for name in dialogue["services"] if name not in trained]
            messages = sgd_dialogue(dialogue, services, rng)
            head = {"id": dialogue["dialogue_id"], "services": dialogue["services"], "unseen": unseen, "date": TODAY}
            lines.append(head | {"tools": tools, "messages": messages})
    return lines


def sgd_x(repository: Repository) -> dict:
    """Five other wordings of each service's tools and parameters, in the same order."""
    found: dict[str, list] = {}
    for split in ("train", "dev", "test"):
        own = repository.json(f"{split}/schema.json")
        for version in range(1, 6):
            for service, other in zip(own, repository.json(f"sgd_x/data/v{version}/{split}/schema.json")):
                pairs = {kind: list(zip(service[kind], other[kind])) for kind in ("intents", "slots")}
                said = {kind: {a["name"]: [b["name"], b["description"]] for a, b in pairs[kind]} for kind in pairs}
                found.setdefault(service["service_name"], []).append(said)
    return found


# ---- Taskmaster-4


def loaded(text: str):
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


def coffee_messages(dialogue: dict, seen: dict[str, collections.Counter]) -> tuple[list[dict], set[str]] | None:
    """Utterances of one speaker are joined; annotated API calls become tool calls. None where an annotation is broken."""
    messages: list[dict] = []
    names: set[str] = set()
    whole = True
    for utterance in dialogue["utterances"]:
        text, role = utterance["text"].strip(), utterance["speaker"]
        if messages and messages[-1]["role"] == role and not messages[-1].get("tool_calls"):
            messages[-1]["content"] += " " + text
        else:
            messages.append({"role": role, "content": text})
        calls: dict[str, list] = {}
        for annotation in utterance["annotations"]:
            context = annotation.get("context", "").split("_")[-1]
            if annotation["name"] == "api_call":
                calls[context] = [annotation["value"], None, None]
            elif annotation["name"] == "request" and context in calls:
                calls[context][1] = loaded(annotation["value"])
            elif annotation["name"] == "response" and context in calls:
                calls[context][2] = annotation["value"]
        for name, request, response in calls.values():
            if not isinstance(request, dict) or response is None or loaded(response) is None:
                whole = False
                continue
            if name == "get_order_details" and len(response) > COFFEE_RESULT:
                whole = False
            names.add(name)
            seen[name].update(request.keys())
            numbers = {k: int(v) if isinstance(v, str) and k == "quantity" and v.isdigit() else v for k, v in request.items()}
            messages.append({"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": numbers}]})
            messages.append({"role": "tool", "content": compact(loaded(response))[:COFFEE_RESULT]})
    ends_well = messages and messages[0]["role"] == "user" and messages[-1]["role"] == "assistant"
    return (messages, names) if whole and ends_well else None


def coffee(repository: Repository, rng: random.Random) -> list[dict]:
    """1,600 dialogues, at most 80 of a scenario; the schemas are inferred from the calls."""
    raw = [one for path in repository.files("TM-4-2024/data/") for one in repository.json(path)]
    rng.shuffle(raw)
    seen: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    scenarios: collections.Counter = collections.Counter()
    lines: list[dict] = []
    for dialogue in raw:
        converted = coffee_messages(dialogue, seen)
        if converted is None or scenarios[dialogue["scenario"]] >= COFFEE_OF_A_SCENARIO:
            continue
        scenarios[dialogue["scenario"]] += 1
        messages, names = converted
        head = {"id": dialogue["conversation_id"], "services": ["TM4_coffee"], "unseen": []}
        lines.append(head | {"messages": messages, "names": sorted(names)})
        if len(lines) == COFFEE_DIALOGUES:
            break
    for line in lines:
        line["tools"] = [coffee_tool(name, seen[name]) for name in line.pop("names")]
    return lines


def coffee_tool(name: str, parameters: collections.Counter) -> dict:
    types = {k: {"type": "integer" if k == "quantity" else "string"} for k, count in parameters.items() if count > 20}
    about = COFFEE_ABOUT.get(name, name.replace("_", " ").capitalize())
    return {"name": name, "description": about, "parameters": {"type": "object", "properties": types, "required": []}}


# ---- all of it


def write(path: str, text: str) -> None:
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(text.encode())
    print(f"{os.path.getsize(path) / 1e6:.2f} MB: {path}")


def prepare(sgd_clone: str, taskmaster_clone: str, out: str) -> None:
    os.makedirs(out, exist_ok=True)
    schema, master = Repository(sgd_clone, SGD_COMMIT), Repository(taskmaster_clone, TASKMASTER_COMMIT)
    rng = random.Random(11)
    trained = {service["service_name"] for service in schema.json("train/schema.json")}
    made = {f"sgd-{split}": sgd(schema, split, trained, rng) for split in ("dev", "test", "train")}
    made["taskmaster4-coffee"] = coffee(master, rng)
    for name, lines in made.items():
        write(os.path.join(out, f"{name}.jsonl.gz"), "".join(compact(line) + "\n" for line in lines))
    write(os.path.join(out, "sgd-x-variants.json.gz"), compact(sgd_x(schema)))
