/**
 * How a model is told of its tools where its chat template leaves that to the caller, as DeepSeek V3.1's published
 * template does: the words of its model card (section ToolCall), as vLLM's tool_chat_template_deepseekv31.jinja has
 * them.
 */
import { Template } from "@huggingface/jinja";
import type { ChatMessage } from "../tokenizer/chat-template.ts";

// A newline after a block's end and the last one of all are the interpreter's to drop, so each stands twice.
const template = new Template(`## Tools
You have access to the following tools:
{% for tool in tools %}

### {{ tool.function.name }}
Description: {{ tool.function.description or '' }}

Parameters: {{ (tool.function.parameters or {}) | tojson }}
{% endfor %}

IMPORTANT: ALWAYS adhere to this exact format for tool use:
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>{{ '{{additional_tool_calls}}' }}<｜tool▁calls▁end｜>

Where:

- \`tool_call_name\` must be an exact match to one of the available tools
- \`tool_call_arguments\` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces

`);

/** The messages with the tools at the end of the system prompt. */
export function withToolsInSystemPrompt(
  messages: readonly ChatMessage[],
  tools: readonly unknown[],
): ChatMessage[] {
  const text = `\n\n${template.render({ tools })}`;
  const last = messages.findLastIndex(({ role }) => role === "system");
  if (last < 0) return [{ role: "system", content: text }, ...messages];
  return messages.map((message, i) =>
    i === last ? { ...message, content: (message.content ?? "") + text } : message,
  );
}
