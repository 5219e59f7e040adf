import { fork } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  type EngineProcess,
  modelFolder,
  outcome,
  spawnEngine,
  startEngine,
} from "../../test/fixtures/engine/process.ts";

let engine: EngineProcess | undefined;
afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

const question = { model: "causeway-probe", messages: [{ role: "user", content: "What is Causeway?" }] };

async function stream(id: string, body: object = {}): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const response = await engine!.fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "x-causeway-attempt-id": id },
    body: JSON.stringify({ ...question, stream: true, ...body }),
  });
  const reader = response.body!.getReader();
  await reader.read();
  return reader;
}

async function rest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read())
    text += new TextDecoder().decode(read.value);
  return text;
}

describe("the engine's process", () => {
  it("says once that it is ready, on stdout and over IPC, and answers", async () => {
    const child = spawnEngine([
      "--model",
      modelFolder,
      "--port",
      "0",
      "--region",
      "eu-west",
      "--name",
      "a-name",
      "--variant",
      "strict",
    ]);
    const [message] = await once(child, "message");
    expect(message).toMatchObject({ ready: true, model: "a-name", contextLength: 4096, region: "eu-west" });
    const health = await (await fetch(`http://127.0.0.1:${message.port}/health`)).json();
    expect(health).toMatchObject({
      status: "ok",
      model: "a-name",
      region: "eu-west",
      boot_id: message.boot_id,
    });
    const ended = outcome(child);
    child.kill("SIGINT");
    const { code, stdout, stderr } = await ended;
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toEqual(message);
    expect(stderr).toContain("100 % of");
    expect(stderr).toContain("wasm f32 strict");
  });

  it("answers within moments of its start, and then uses no processor, whatever threads it has", async () => {
    const started = performance.now();
    engine = await startEngine("--threads", "2");
    const ready = performance.now() - started;
    const reader = await stream("cold.1", { max_tokens: 40 });
    const first = performance.now() - started;
    console.log(`cold start: ready after ${ready.toFixed(0)} ms, first token after ${first.toFixed(0)} ms`);
    expect(await rest(reader)).toContain("[DONE]");
    // A time to measure over, not to wait for something. Ticks are hundredths of a second of user and system time.
    const ticks = () => {
      const fields = readFileSync(`/proc/${engine!.child.pid}/stat`, "utf8").split(") ")[1].split(" ");
      return Number(fields[11]) + Number(fields[12]);
    };
    const before = ticks();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(ticks() - before).toBeLessThanOrEqual(10);
  });

  it("exits when its parent does", async () => {
    const child = fork(
      new URL("./main.ts", import.meta.url).pathname,
      ["--model", modelFolder, "--port", "0"],
      {
        env: { ...process.env, CAUSEWAY_ENGINE_SECRET: "s" },
        silent: true,
      },
    );
    await once(child, "message");
    const exited = once(child, "exit");
    child.disconnect();
    expect((await exited)[0]).toBe(0);
  });

  it("drains on SIGTERM: refuses new requests, finishes what runs, and exits 0", async () => {
    engine = await startEngine();
    const exited = once(engine.child, "exit");
    const reader = await stream("drained.1");
    engine.child.kill("SIGTERM");
    let status = 200;
    // The signal comes when it comes; from then on every new request is refused.
    while (status === 200) {
      const body = JSON.stringify({ ...question, max_tokens: 1 });
      status = (
        await engine.fetch("/v1/chat/completions", { method: "POST", body }).catch(() => ({ status: 503 }))
      ).status;
    }
    expect(status).toBe(503);
    expect(await rest(reader)).toContain("[DONE]");
    expect((await exited)[0]).toBe(0);
  });

  it("gives up draining after its time, and ends the stream with an error", async () => {
    engine = await startEngine("--drain-seconds", "0");
    const exited = once(engine.child, "exit");
    // The model repeats itself on this until its context is full.
    const reader = await stream("cut.1", { messages: [{ role: "user", content: "ha ".repeat(25) }] });
    engine.child.kill("SIGTERM");
    const text = await rest(reader);
    expect(text).toContain("shutting_down");
    expect(text).not.toContain("[DONE]");
    expect((await exited)[0]).toBe(0);
  });
});

describe("a start that cannot succeed is one line on stderr and exit code 1:", () => {
  let folder: string | undefined;
  afterEach(() => {
    if (folder) rmSync(folder, { recursive: true });
    folder = undefined;
  });

  async function complaint(argv: string[], environment: Record<string, string> = {}): Promise<string> {
    const { code, stdout, stderr } = await outcome(spawnEngine(argv, environment));
    expect(code).toBe(1);
    expect(stdout).toBe("");
    const lines = stderr
      .trimEnd()
      .split("\n")
      .filter((line) => !/ loading | built /.test(line));
    expect(lines).toHaveLength(1);
    return lines[0];
  }

  function copyOfModel(): string {
    folder = mkdtempSync(join(tmpdir(), "engine-model-"));
    cpSync(modelFolder, folder, { recursive: true });
    return folder;
  }

  it("no secret", async () => {
    const line = await complaint(["--model", modelFolder, "--port", "0"], { CAUSEWAY_ENGINE_SECRET: "" });
    expect(line).toContain("CAUSEWAY_ENGINE_SECRET is not set");
  });

  it("wrong options", async () => {
    expect(await complaint(["--port", "0"])).toContain("--model DIR is required");
    expect(await complaint(["--model", "x", "--port", "65536"])).toContain("--port must be");
    expect(await complaint(["--model", "x", "--port", "0", "--speed", "9"])).toContain("--speed");
    const model = ["--model", "x", "--port", "0"];
    expect(await complaint([...model, "--weights", "int4"])).toContain("--weights must be f32 or int8");
    expect(await complaint([...model, "--threads", "0"])).toContain("--threads must be");
    const variant = ["--model", modelFolder, "--port", "0", "--variant", "exact"];
    expect(await complaint(variant)).toContain(
      'no f32 kernels "exact" on this processor: there are fma, strict',
    );
  });

  it("no folder", async () => {
    expect(await complaint(["--model", "/nowhere/at-all", "--port", "0"])).toContain(
      "/nowhere/at-all: is not a folder",
    );
  });

  it("a taken port", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    expect(await complaint(["--model", modelFolder, "--port", `${port}`])).toContain(`port ${port} is taken`);
    other.close();
  });

  it("truncated weights", async () => {
    const path = join(copyOfModel(), "model.safetensors");
    truncateSync(path, 5_000_000);
    const line = await complaint(["--model", folder!, "--port", "0"]);
    expect(line).toMatch(
      /model\.safetensors: tensor "[^"]+" ends at byte \d+ of the data, but the file holds \d+/,
    );
  });

  it("missing weights, a damaged configuration, a damaged tokenizer", async () => {
    rmSync(join(copyOfModel(), "model.safetensors"));
    expect(await complaint(["--model", folder!, "--port", "0"])).toContain(
      "model.safetensors: cannot be opened",
    );
    const config = readFileSync(join(modelFolder, "config.json"), "utf8");
    writeFileSync(join(folder!, "config.json"), config.replace('"hidden_size": 256', '"hidden_size": -1'));
    expect(await complaint(["--model", folder!, "--port", "0"])).toContain("config.json: hidden_size");
    truncateSync(join(folder!, "tokenizer.json"), 1_000);
    expect(await complaint(["--model", folder!, "--port", "0"])).toContain("tokenizer.json: is not JSON");
  });
});
