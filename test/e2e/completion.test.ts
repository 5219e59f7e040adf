/** The running whole, as `npm start` runs it, called with the official client: a real model answers. */
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { admin, audited, newAccount, read, settled } from "../support/platform.ts";
import { type Run, startRun } from "../support/run.ts";

let run: Run;
let model: string;

beforeAll(async () => {
  run = await startRun({ engines: 1 });
  const { data } = await read<{ data: { id: string }[] }>(run, run.demoKey, "/v1/models");
  model = data[0].id;
});
afterAll(() => run?.stop());

const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${run.url}/v1`, apiKey, maxRetries: 0 });
const question = (content: string, max_tokens = 60) => ({
  model,
  messages: [{ role: "user" as const, content }],
  temperature: 0,
  max_tokens,
});

it("answers whole, with usage and cost that equal the ledger's", async () => {
  const answer = await clientOf(run.demoKey).chat.completions.create(
    question("What is the capital of Italy?"),
  );
  expect(answer.choices[0].message.content).toMatch(/Rome/);
  expect(answer.choices[0].finish_reason).toBe("stop");
  const generation = await settled(run, run.demoKey, answer.id);
  expect(generation.ending).toBe("finished");
  expect(generation.usage).toMatchObject({
    prompt_tokens: answer.usage!.prompt_tokens,
    completion_tokens: answer.usage!.completion_tokens,
    source: "backend",
  });
  expect(Math.round((answer.usage as { cost?: number }).cost! * 1e9)).toBe(
    Number(generation.cost_nanodollars),
  );
});

it("streams the same answer for the same price, with the usage chunk last when asked for it", async () => {
  const client = clientOf(run.demoKey);
  const whole = await client.chat.completions.create(question("What is Causeway?", 200));
  const stream = await client.chat.completions.create({
    ...question("What is Causeway?", 200),
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(
    whole.choices[0].message.content,
  );
  expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
  expect(chunks[0].choices[0].delta.role).toBe("assistant");
  expect(chunks.at(-2)!.choices[0].finish_reason).toBe("stop");
  expect(chunks.at(-1)!.choices).toEqual([]);
  expect(chunks.at(-1)!.usage).toEqual(whole.usage);
});

it("answers as the OpenAPI document says, whole and streamed, and errors too", async () => {
  const document = (await (await fetch(`${run.url}/openapi.json`)).json()) as object;
  const ajv = new Ajv2020({ strict: false });
  addFormats(ajv);
  ajv.addSchema(document, "document");
  const check = (name: string, value: unknown) => {
    const valid = ajv.getSchema(`document#/components/schemas/${name}`)!;
    expect([value, valid(value), valid.errors]).toEqual([value, true, null]);
  };
  const ask = async (body: object) => {
    const headers = { authorization: `Bearer ${run.demoKey}`, "content-type": "application/json" };
    return fetch(`${run.url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
  };
  check("Completion", await (await ask(question("Hello", 5))).json());
  const stream = await (await ask({ ...question("Hello", 5), stream: true })).text();
  const data = [...stream.matchAll(/^data: (\{.*)$/gm)].map(([, text]) => JSON.parse(text));
  expect(data.length).toBeGreaterThan(2);
  for (const chunk of data) check("CompletionChunk", chunk);
  check("Error", await (await ask({ ...question("Hello"), model: "none" })).json());
});

it("puts usage on the finish chunk of a client that did not ask", async () => {
  const stream = await clientOf(run.demoKey).chat.completions.create({
    ...question("Hello", 5),
    stream: true,
  });
  const chunks = await Array.fromAsync(stream);
  expect(chunks.at(-1)!.choices[0].finish_reason).not.toBeNull();
  expect(chunks.at(-1)!.usage).toMatchObject({
    completion_tokens: expect.any(Number),
    cost: expect.any(Number),
  });
});

it("keeps to stop, seed and max_completion_tokens", async () => {
  const client = clientOf(run.demoKey);
  const stopped = await client.chat.completions.create({
    ...question("What is the capital of Italy?"),
    stop: "Rome",
  });
  expect(stopped.choices[0].message.content).not.toContain("Rome");
  const drawn = { ...question("Tell me something.", 20), temperature: 1.5, seed: 7 };
  const twice = await Promise.all([
    client.chat.completions.create(drawn),
    client.chat.completions.create(drawn),
  ]);
  expect(twice[0].choices[0].message.content).toBe(twice[1].choices[0].message.content);
  const short = await client.chat.completions.create({
    ...question("What is Causeway?"),
    max_tokens: undefined,
    max_completion_tokens: 3,
  });
  expect(short.choices[0].finish_reason).toBe("length");
  expect(short.usage!.completion_tokens).toBe(3);
});

it("refuses a prompt that is longer than the model's context, and charges nothing", async () => {
  const account = await newAccount(run, "1");
  const refusal = await clientOf(account.key)
    .chat.completions.create(question("word ".repeat(6_000)))
    .catch((error: unknown) => error as InstanceType<typeof OpenAI.APIError>);
  expect(refusal).toMatchObject({ status: 400, code: "context_length_exceeded", param: "messages" });
  expect((refusal as Error).message).toContain("maximum context length is 4096");
  const balance = await read<Record<string, string>>(run, account.key, "/v1/balance");
  expect(balance).toMatchObject({ balance_nanodollars: "1000000000", held_nanodollars: "0" });
});

it("bills a client that leaves for what the engine had generated, at whichever event it leaves", async () => {
  const account = await newAccount(run, "1");
  for (const event of [1, 2, 5]) {
    const stop = new AbortController();
    const stream = await clientOf(account.key).chat.completions.create(
      { ...question("Explain multi-head latent attention.", 400), temperature: 1, stream: true },
      { signal: stop.signal },
    );
    let id = "";
    let seen = 0;
    for await (const chunk of stream) {
      id = chunk.id;
      if (++seen === event) stop.abort();
    }
    const generation = await settled(run, account.key, id);
    if (generation.ending === "finished") continue; // The answer was shorter than the way of the abort.
    expect(generation.ending).toBe("client_left");
    expect(generation.usage.source).toBe("backend");
    // The first chunk is the role: the engine had a token by then.
    expect(generation.usage.completion_tokens).toBeGreaterThanOrEqual(Math.max(1, event - 1));
    const report = await attemptOf(generation.attempts.at(-1)!.id);
    expect(report).toMatchObject({ state: "aborted", completion_tokens: generation.usage.completion_tokens });
  }
  expect((await audited(run, account.id)).clean).toBe(true);
});

it("serves two tenants at once, each billed for its own", async () => {
  const tenants = await Promise.all([newAccount(run, "1"), newAccount(run, "1")]);
  const answers = await Promise.all(
    tenants.flatMap((tenant) =>
      [1, 2, 3].map(async () => {
        const answer = await clientOf(tenant.key).chat.completions.create(
          question("Explain multi-head latent attention.", 30),
        );
        return { tenant, cost: (await settled(run, tenant.key, answer.id)).cost_nanodollars, id: answer.id };
      }),
    ),
  );
  for (const tenant of tenants) {
    const own = answers.filter((answer) => answer.tenant === tenant);
    const cost = own.reduce((sum, answer) => sum + BigInt(answer.cost), 0n);
    const { balance_nanodollars } = await read<{ balance_nanodollars: string }>(
      run,
      tenant.key,
      "/v1/balance",
    );
    expect(BigInt(balance_nanodollars)).toBe(1_000_000_000n - cost);
    const others = answers.find((answer) => answer.tenant !== tenant)!;
    await expect(read(run, tenant.key, `/v1/generation?id=${others.id}`)).rejects.toThrow("404");
  }
});

it("refuses a key from the moment it is revoked, in the middle of a run", async () => {
  const account = await newAccount(run, "1");
  const client = clientOf(account.key);
  const running = await client.chat.completions.create({
    ...question("What is a reservation?"),
    stream: true,
  });
  await admin(run, "DELETE", `/accounts/${account.id}/keys/${account.keyId}`);
  await expect(client.chat.completions.create(question("Hello", 5))).rejects.toMatchObject({ status: 401 });
  // What was admitted before is paid for and goes on.
  expect((await Array.fromAsync(running)).at(-1)!.choices[0].finish_reason).toBe("stop");
});

it("answers 402 when the balance is used up, and never overdraws", async () => {
  const account = await newAccount(run, "0.0005");
  const client = clientOf(account.key);
  let served = 0;
  const refusal = await (async () => {
    for (;;) {
      try {
        await client.chat.completions.create(question("What is a reservation?", 100));
        served++;
      } catch (error) {
        return error as InstanceType<typeof OpenAI.APIError>;
      }
    }
  })();
  expect(refusal.status).toBe(402);
  expect(refusal.code).toBe("insufficient_balance");
  expect(served).toBeGreaterThan(0);
  const { balance_nanodollars } = await read<{ balance_nanodollars: string }>(
    run,
    account.key,
    "/v1/balance",
  );
  expect(BigInt(balance_nanodollars)).toBeGreaterThanOrEqual(0n);
});

it("shows in /v1/usage exactly what the ledger charged", async () => {
  const account = await newAccount(run, "1");
  for (const content of ["Hello", "What is a lease?"])
    await clientOf(account.key).chat.completions.create(question(content, 10));
  expect((await audited(run, account.id)).clean).toBe(true);
  const usage = await read<{ totals: { requests: number; cost_nanodollars: string } }>(
    run,
    account.key,
    "/v1/usage",
  );
  const { balance_nanodollars } = await read<{ balance_nanodollars: string }>(
    run,
    account.key,
    "/v1/balance",
  );
  expect(usage.totals.requests).toBe(2);
  expect(BigInt(usage.totals.cost_nanodollars)).toBe(1_000_000_000n - BigInt(balance_nanodollars));
});

async function attemptOf(id: string) {
  const response = await fetch(`${run.backends[0].url}/causeway/v1/attempts/${id}`, {
    headers: { authorization: `Bearer ${run.backendSecret}` },
  });
  return response.json();
}
