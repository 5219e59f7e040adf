/** What a client sends twice, and what it sends slowly: one effect, one specific answer, nothing held for it. */
import { connect } from "node:net";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Faulty, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  ask,
  audited,
  hello,
  newAccount,
  sell,
  settled,
  startUpstream,
} from "../support/platform.ts";
import type { Call } from "../support/upstream.ts";

let edge: Faulty;
let account: Account;
beforeAll(async () => {
  edge = await startFaulty({ UPLOAD_MS: "8000" });
  account = await newAccount(edge.run, "100");
});
afterAll(async () => {
  if (!edge) return;
  const audit = await audited(edge.run, account.id);
  expect(audit.accounts[0]).toMatchObject({ held: "0", open_reservations: 0, findings: [] });
  await edge.run.stop();
});

let models = 0;
async function sold(behave: (call: Call) => unknown): Promise<string> {
  const model = `once-${++models}`;
  await sell(edge.run, [await startUpstream(behave)], model);
  return model;
}
const send = (key: string, body: unknown, bearer = account.key) =>
  ask(edge.run, bearer, body, {
    headers: {
      authorization: `Bearer ${bearer}`,
      "content-type": "application/json",
      "idempotency-key": key,
    },
  });
const codeOf = async (response: Response) =>
  `${response.status} ${((await response.json()) as { error: { code: string } }).error.code}`;

describe("an Idempotency-Key", () => {
  it("runs its request once: in flight and ended are told apart, and the bill has one", async () => {
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let calls = 0;
    let begun: () => void = () => {};
    const running = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const model = await sold(async (call) => {
      calls++;
      begun();
      call.token("slow");
      await gate;
      call.finish();
    });
    const body = hello({ model, stream: true });
    const first = send("k-1", body);
    await running;
    const early = await send("k-1", body);
    expect(early.headers.get("retry-after")).toBe("5");
    expect(early.headers.get("x-should-retry")).toBe("true");
    expect(await codeOf(early)).toBe("409 idempotent_request_in_flight");
    expect(await codeOf(await send("k-1", { ...body, seed: 1 }))).toBe("422 idempotency_key_reused");
    release();
    const answer = await first;
    expect(await answer.text()).toContain("[DONE]");
    const id = answer.headers.get("x-request-id")!;
    await settled(edge.run, account.key, id);
    const late = await send("k-1", body);
    expect(late.headers.get("x-should-retry")).toBe("false");
    expect(late.headers.get("retry-after")).toBeNull();
    const { error } = (await late.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe("idempotent_request_ended");
    expect(error.message).toContain(id);
    expect(calls).toBe(1);
    // OpenAI's own client believes x-should-retry, and does not ask three times.
    const client = new OpenAI({ apiKey: account.key, baseURL: `${edge.run.url}/v1`, maxRetries: 3 });
    const asked = client.chat.completions.create(body as never, { headers: { "idempotency-key": "k-1" } });
    await expect(asked).rejects.toMatchObject({ status: 409, code: "idempotent_request_ended" });
    // The same key of another API key is another one.
    const other = await newAccount(edge.run, "1");
    expect((await send("k-1", body, other.key)).status).toBe(200);
  });

  it("may be sent again after a failure that delivered nothing, and runs", async () => {
    let calls = 0;
    const model = await sold((call) => {
      if (++calls <= 1) return call.die();
      call.token("now");
      call.finish();
    });
    const body = hello({ model });
    const failed = await send("k-2", body);
    expect(await codeOf(failed)).toBe("502 backend_failed");
    // The backend is looked at again before it is asked again: until then the key may be sent any number of times.
    let again: Response;
    do again = await send("k-2", body);
    while (again.status === 502 || again.status === 503);
    expect(again.status).toBe(200);
    await again.text();
    expect(await codeOf(await send("k-2", body))).toBe("409 idempotent_request_ended");
  });

  it("of a stream that broke after tokens were out has ended: they cannot be taken back", async () => {
    const model = await sold(async (call) => {
      call.token("half");
      await new Promise((resolve) => setTimeout(resolve, 100));
      call.die();
    });
    const body = hello({ model, stream: true });
    const broken = await send("k-3", body);
    expect(await broken.text()).not.toContain("[DONE]");
    expect(await codeOf(await send("k-3", body))).toBe("409 idempotent_request_ended");
  });
});

describe("a body that trickles", () => {
  it("is a 408 when its time is over, and its connection is not held", async () => {
    const { hostname, port } = new URL(edge.run.url);
    const socket = connect(Number(port), hostname);
    let said = "";
    socket.setEncoding("utf8").on("data", (data) => {
      said += data;
    });
    socket.on("error", () => {});
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${account.key}\r\nContent-Length: 1000000\r\n\r\n{`,
    );
    const timer = setInterval(() => socket.write(" "), 50);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    try {
      while (!/request_timeout/.test(said) && !socket.closed)
        await Promise.race([closed, new Promise((resolve) => socket.once("data", resolve))]);
    } finally {
      clearInterval(timer);
      socket.destroy();
    }
    expect(said).toMatch(/^HTTP\/1\.1 408 /);
  });
});

describe("large requests", () => {
  it("count until they end, not until they are read: one too many is told to come again", async () => {
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    let begun = 0;
    let all: () => void = () => {};
    const running = new Promise<void>((resolve) => {
      all = resolve;
    });
    const model = await sold(async (call) => {
      if (++begun === 4) all();
      call.token("held");
      await gate;
      call.finish();
    });
    const large = { messages: [{ role: "user", content: "x".repeat(7.9 * 1024 * 1024) }] };
    const held = Array.from({ length: 4 }, () =>
      ask(edge.run, account.key, hello({ model, stream: true, ...large })),
    );
    // One that was refused would never be begun: it says so instead of being waited for.
    const refused = held.map(async (asked) => {
      const answer = await asked;
      if (!answer.ok) throw new Error(`refused: ${answer.status} ${await answer.text()}`);
      await running;
    });
    await Promise.race([running, Promise.all(refused)]);
    // Small enough to be out before the edge refuses it in the middle.
    const more = { messages: [{ role: "user", content: "x".repeat(700_000) }] };
    const fifth = await ask(edge.run, account.key, hello({ model, ...more }));
    expect(await codeOf(fifth)).toBe("503 overloaded");
    release();
    for (const answer of await Promise.all(held)) expect(await answer.text()).toContain("[DONE]");
    const after = await ask(edge.run, account.key, hello({ model, ...large }));
    expect(after.status).toBe(200);
    await after.text();
  });
});
