import { expect, it } from "vitest";
import { readCases } from "./cases.ts";
import { isRight, isValidCall } from "./check.ts";

const say = (content: string) => ({ content });
const call = (name: string, args: string) => ({
  content: null,
  tool_calls: [{ function: { name, arguments: args } }],
});

it("counts an answer only where it is what was asked for", () => {
  const number = { kind: "contains", value: "45" } as const;
  expect(isRight(number, say("The price is 45."))).toBe(true);
  expect(isRight(number, say("The price is 1450."))).toBe(false);
  expect(isRight(number, call("get_price", '{"price":45}'))).toBe(false);
  expect(isRight({ kind: "text", value: "Yes.  No." }, say(" Yes. No.\n"))).toBe(true);
  expect(isRight({ kind: "text", value: "Yes." }, say("Yes. And more."))).toBe(false);
  expect(isRight({ kind: "one of", values: ["a", "b"] }, say("b"))).toBe(true);
  expect(isRight({ kind: "json", value: { a: 1, b: "x" } }, say('{"b":"x","a":1}'))).toBe(true);
  expect(isRight({ kind: "json", value: { a: 1 } }, say('{"a":"1"}'))).toBe(false);
  expect(isRight({ kind: "json", value: { a: 1 } }, say('Here: {"a":1}'))).toBe(false);
});

it("counts a call only with the same name and all the same arguments", () => {
  const wanted = { kind: "call", name: "set", arguments: { room: "hall", on: true } } as const;
  expect(isRight(wanted, call("set", '{"on":true,"room":"hall"}'))).toBe(true);
  expect(isRight(wanted, call("set", '{"room":"hall","on":true,"more":1}'))).toBe(false);
  expect(isRight(wanted, call("sets", '{"room":"hall","on":true}'))).toBe(false);
  expect(isRight(wanted, call("set", '{"room":'))).toBe(false);
  expect(isRight(wanted, say("set"))).toBe(false);
  expect(isRight({ kind: "no call" }, call("set", "{}"))).toBe(false);
  expect(isRight({ kind: "no call" }, say(""))).toBe(false);
});

it("calls a call valid when it could be executed", () => {
  const parameters = { properties: { room: {}, on: {} }, required: ["room"] };
  const tools = [{ type: "function", function: { name: "set", parameters } }];
  expect(isValidCall(call("set", '{"room":"hall"}'), tools)).toBe(true);
  expect(isValidCall(call("set", '{"on":true}'), tools)).toBe(false);
  expect(isValidCall(call("set", '{"room":"hall","x":1}'), tools)).toBe(false);
  expect(isValidCall(call("get", '{"room":"hall"}'), tools)).toBe(false);
});

it("has cases whose wanted turn is right by their own check", () => {
  for (const { check, target } of readCases(undefined)) {
    if (check.kind === "call") continue;
    const content = target.replace("<｜end▁of▁sentence｜>", "");
    expect(isRight(check, say(content)), content).toBe(true);
  }
});
