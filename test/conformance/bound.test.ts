/**
 * Never under-hold: what the edge sends has at most as many tokens as the edge held for it, counted by the engine's
 * own template and tokenizer, with tools, calls and results of every kind.
 */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { encodePrompt } from "../../engine/server/prompt.ts";
import { parseChatRequest as parseInEngine } from "../../engine/server/schema.ts";
import { ChatTemplate } from "../../engine/tokenizer/chat-template.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { inputBound } from "../../functions/admission/bound.ts";
import { dialects } from "../../functions/dispatch/dialects/by-kind.ts";
import { requestBody } from "../../functions/dispatch/dialects/request.ts";
import { type ChatRequest, parseChatRequest } from "../../functions/surfaces/openai/schema.ts";

const shipped = join(import.meta.dirname, "../../engine/model");
const CONTEXT = 1_000_000;

/** Tells of no tools, as DeepSeek V3.1's own: the engine tells of them in the model card's words. */
const silent = `{{ bos_token }}{% for m in messages %}{{ "<｜User｜>" + (m.content or "") }}
{%- for call in m.tool_calls or [] %}{{ "<｜tool▁call▁begin｜>" + call.function.name + "<｜tool▁sep｜>" + call.function.arguments }}
{%- endfor %}{% endfor %}{{ "<｜Assistant｜></think>" }}`;

let folder: string;
let tokenizer: Tokenizer;
const templates: ChatTemplate[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bound-"));
  cpSync(join(shipped, "tokenizer_config.json"), join(folder, "tokenizer_config.json"));
  writeFileSync(join(folder, "chat_template.jinja"), silent);
  tokenizer = await Tokenizer.load(shipped);
  templates.push(await ChatTemplate.load(shipped), await ChatTemplate.load(folder));
});
afterAll(() => rmSync(folder, { recursive: true }));

const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 60 }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom("", "<｜tool▁calls▁begin｜>", "漢字かな", "🙂🙂", "<b>&'", "\u0000\u0001\n\t"),
);
const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 });
const parameters = fc.record({
  type: fc.constant("object"),
  properties: fc.dictionary(name, fc.record({ type: fc.constant("string"), enum: fc.array(text) }), {
    maxKeys: 6,
  }),
  required: fc.array(name, { maxLength: 3 }),
  more: fc.jsonValue({ maxDepth: 5, stringUnit: "grapheme" }),
});
const tool = fc.record({ name, description: text, parameters });
const call = fc.record({ name, arguments: fc.jsonValue().map((value) => JSON.stringify(value)) });
const message = fc.oneof(
  fc.record({ role: fc.constantFrom("system", "developer", "user"), content: text }),
  fc.record({
    role: fc.constant("assistant"),
    content: fc.oneof(text, fc.constant(null)),
    tool_calls: fc.array(
      call.map((made) => ({ id: "call_1", function: made })),
      { maxLength: 3 },
    ),
  }),
  fc.record({ role: fc.constant("tool"), content: text, tool_call_id: fc.constant("call_1") }),
);
const body = fc.record({
  model: fc.constant("m"),
  messages: fc.array(message, { minLength: 1, maxLength: 5 }),
  tools: fc.array(
    tool.map((told) => ({ type: "function", function: told })),
    { maxLength: 4 },
  ),
});

it("a prompt has at most the tokens that are held for it", () => {
  let withTools = 0;
  fc.assert(
    fc.property(body, fc.constantFrom(0, 1), (sent, which) => {
      const request = parseChatRequest(sent) as ChatRequest;
      expect(request).not.toHaveProperty("status");
      const asked = {
        request,
        servedAs: "m",
        maxOutput: 1,
        salt: "s",
        attempt: "req_X.1",
        relayed: true,
      } as const;
      const chat = parseInEngine(JSON.parse(JSON.stringify(requestBody(dialects.causeway, asked))));
      const model = { tokenizer, template: templates[which], contextLength: CONTEXT } as Parameters<
        typeof encodePrompt
      >[1];
      if (chat.tools.length > 0) withTools++;
      expect(encodePrompt(chat, model).length).toBeLessThanOrEqual(inputBound(request, CONTEXT));
    }),
    { numRuns: 150 },
  );
  expect(withTools).toBeGreaterThan(25);
});
