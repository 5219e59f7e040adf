/**
 * Messages to the text that the model was trained on: the checkpoint's own Jinja template, run by
 * `@huggingface/jinja` (a small interpreter without access to anything but the values given here).
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { z } from "zod";
import { readJson } from "../checkpoint/config.ts";
import { CheckpointError } from "../checkpoint/error.ts";

export interface ChatMessage {
  readonly role: string;
  readonly content: string | null;
  readonly tool_calls?: readonly unknown[];
  readonly tool_call_id?: string;
  readonly name?: string;
}

/** The template refused the messages, or does something that the interpreter does not know. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

const token = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configSchema = z.looseObject({
  bos_token: token,
  eos_token: token,
  pad_token: token,
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
});

export class ChatTemplate {
  readonly #template: Template;
  /** Names of special tokens and their text, which templates use as variables. */
  readonly #tokens: Readonly<Record<string, string>>;
  /** Whether it tells the model of `tools`. */
  readonly tellsTools: boolean;

  private constructor(source: string, tokens: Readonly<Record<string, string>>) {
    this.#template = new Template(source);
    this.tellsTools = /\btools\b/.test(source);
    this.#tokens = tokens;
  }

  /** Reads chat_template.jinja, or the template in tokenizer_config.json. Errors: CheckpointError. */
  static async load(folder: string): Promise<ChatTemplate> {
    const configPath = join(folder, "tokenizer_config.json");
    const config = configSchema.safeParse(await readJson(configPath));
    if (!config.success) {
      const issue = config.error.issues[0];
      throw new CheckpointError("corrupt", configPath, `${issue.path.join(".") || "it"}: ${issue.message}`);
    }
    const path = join(folder, "chat_template.jinja");
    const file = await readFile(path, "utf8").catch(() => undefined);
    const inConfig = config.data.chat_template;
    const source =
      file ??
      (Array.isArray(inConfig)
        ? inConfig.find(({ name }) => name === "default")?.template
        : (inConfig ?? undefined));
    if (source === undefined)
      throw new CheckpointError("missing", path, "does not exist, nor a template in tokenizer_config.json");
    const tokens: Record<string, string> = {};
    for (const name of ["bos_token", "eos_token", "pad_token"] as const) {
      const value = config.data[name];
      if (value != null) tokens[name] = typeof value === "string" ? value : value.content;
    }
    try {
      return new ChatTemplate(source, tokens);
    } catch (error) {
      throw new CheckpointError("corrupt", path, `is not a Jinja template (${(error as Error).message})`);
    }
  }

  /** The prompt, up to where the assistant's next words begin. Errors: TemplateError. */
  render(messages: readonly ChatMessage[], tools?: readonly unknown[]): string {
    try {
      return this.#template.render({
        ...this.#tokens,
        messages,
        ...(tools ? { tools } : {}),
        add_generation_prompt: true,
      });
    } catch (error) {
      throw new TemplateError((error as Error).message);
    }
  }
}
