import { expect, it } from "vitest";
import { withToolsInSystemPrompt } from "./system-prompt.ts";

const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather.",
      parameters: { type: "object", properties: { city: { type: "string" } } },
    },
  },
  { type: "function", function: { name: "now" } },
];

// The text is that of DeepSeek V3.1's model card.
const told = `## Tools
You have access to the following tools:

### get_weather
Description: The weather.

Parameters: {"type": "object", "properties": {"city": {"type": "string"}}}

### now
Description: 

Parameters: {}

IMPORTANT: ALWAYS adhere to this exact format for tool use:
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>{{additional_tool_calls}}<｜tool▁calls▁end｜>

Where:

- \`tool_call_name\` must be an exact match to one of the available tools
- \`tool_call_arguments\` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces
`;

it("tells tools in the words of the model card", () => {
  expect(withToolsInSystemPrompt([{ role: "user", content: "Hi" }], tools)).toEqual([
    { role: "system", content: `\n\n${told}` },
    { role: "user", content: "Hi" },
  ]);
});

it("tells them after the last system message", () => {
  const messages = ["A", "B"].map((content) => ({ role: "system", content }));
  expect(withToolsInSystemPrompt([...messages, { role: "user", content: "Hi" }], tools)[1]).toEqual({
    role: "system",
    content: `B\n\n${told}`,
  });
});
