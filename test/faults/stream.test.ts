/** First byte, tail, abort and commit: what a client sees of a stream, on both ways through the edge. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventsOf, type Faulty, RawClient, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  ask,
  hello,
  newAccount,
  register,
  sell,
  settled,
  startUpstream,
} from "../support/platform.ts";
import type { Upstream } from "../support/upstream.ts";

let edge: Faulty;
let account: Account;
beforeAll(async () => {
  edge = await startFaulty();
  account = await newAccount(edge.run, "100");
});
afterAll(() => edge?.run.stop());

const READ = "read-model";
let openai: Upstream;
beforeAll(async () => {
  openai = await startUpstream();
  await sell(edge.run, [openai], READ, "openai");
});

describe.each([
  ["relay", () => edge.upstream, "test-model"],
  ["reading path", () => openai, READ],
] as const)("on the %s", (way, upstreamOf, model) => {
  it("the first token reaches the client before the backend has made its second", async () => {
    const upstream = upstreamOf();
    const index = upstream.calls.length;
    upstream.behave = (call) => call.token("first");
    const client = new RawClient(edge.run.url, account.key, hello({ stream: true, model }));
    const call = await upstream.call(index);
    await client.sees(/"first"/); // The backend waits for this: a stream that is collected would hang here.
    call.token("second");
    await client.sees(/"second"/);
    call.finish();
    await client.ended;
    expect(eventsOf(client.text).at(-1)).toBe("[DONE]");
  });

  it("the tail is finish, usage with cost and [DONE], in the place that the client asked for", async () => {
    const upstream = upstreamOf();
    upstream.behave = (call) => {
      call.report.cached_tokens = 4;
      call.token("Hi");
      call.finish("length");
    };
    for (const asked of [true, false]) {
      const body = hello({ stream: true, model, ...(asked && { stream_options: { include_usage: true } }) });
      const events = eventsOf(await (await ask(edge.run, account.key, body)).text());
      const [finish, usage] = asked ? events.slice(-3) : events.slice(-2);
      expect(events.at(-1)).toBe("[DONE]");
      expect(events.filter((event) => event.usage).length).toBe(1);
      expect(finish.choices[0].finish_reason).toBe("length");
      const counted = asked ? usage : finish;
      expect(counted.choices.length).toBe(asked ? 0 : 1);
      // 6 at 2 USD a million, 4 at 0.5, 1 at 10: 24,000 nanodollars.
      expect(counted.usage).toMatchObject({
        prompt_tokens: 10,
        completion_tokens: 1,
        total_tokens: 11,
        prompt_tokens_details: { cached_tokens: 4 },
        cost: 0.000024,
      });
    }
  });

  it("a client that leaves aborts the backend within a second or so, and pays for what was generated", async () => {
    const upstream = upstreamOf();
    const index = upstream.calls.length;
    upstream.behave = (call) => {
      call.token("one");
      call.token("two");
    };
    const client = new RawClient(edge.run.url, account.key, hello({ stream: true, model }));
    await client.sees(/"two"/);
    client.leave();
    const call = await upstream.call(index);
    await call.left;
    const generation = await settled(edge.run, account.key, await client.id());
    expect(generation.ending).toBe("client_left");
    if (way === "relay") {
      expect(generation.usage).toMatchObject({ prompt_tokens: 10, completion_tokens: 2, source: "backend" });
      expect(generation.cost_nanodollars).toBe("40000");
      expect(upstream.aborts).toContain(call.attempt);
    } else {
      // No count from the backend: the edge's own, by bytes.
      expect(["edge", "estimate"]).toContain(generation.usage.source);
      expect(generation.usage.completion_tokens).toBeGreaterThan(0);
    }
  });

  it("a first token that is late commits the stream; comments keep it until then", async () => {
    const upstream = upstreamOf();
    const index = upstream.calls.length;
    upstream.behave = () => {};
    const client = new RawClient(edge.run.url, account.key, hello({ stream: true, model }));
    await client.sees(/: waiting/);
    expect(client.text).toMatch(/x-causeway-backend: pending/i);
    const call = await upstream.call(index);
    call.token("late");
    call.finish();
    await client.ended;
    const events = eventsOf(client.text);
    expect(events.some((event) => event.choices?.[0]?.delta?.content === "late")).toBe(true);
    expect(events.at(-1)).toBe("[DONE]");
    const generation = await settled(edge.run, account.key, await client.id());
    expect(generation).toMatchObject({ ending: "finished", attempts: [{ outcome: "served" }] });
  });
});

it("a client that leaves a committed stream before its first token pays for the prompt that was computed", async () => {
  const index = edge.upstream.calls.length;
  edge.upstream.behave = () => {};
  const client = new RawClient(edge.run.url, account.key);
  await client.sees(/: waiting/);
  client.leave();
  await (await edge.upstream.call(index)).left;
  const generation = await settled(edge.run, account.key, await client.id());
  expect(generation).toMatchObject({
    ending: "client_left",
    usage: { prompt_tokens: 10, completion_tokens: 0 },
  });
  expect(generation.cost_nanodollars).toBe("20000");
});

it("streamed, whole and aborted answers cost the same a token", async () => {
  edge.upstream.behave = (call) => {
    for (const token of ["a", "b", "c"]) call.token(token);
    call.finish();
  };
  const streamed = eventsOf(await (await ask(edge.run, account.key, hello({ stream: true }))).text());
  const whole = (await (await ask(edge.run, account.key, hello())).json()) as { usage: unknown };
  expect(whole.usage).toEqual(streamed.at(-2).usage);
  const index = edge.upstream.calls.length;
  edge.upstream.behave = (call) => {
    for (const token of ["a", "b", "c"]) call.token(token);
  };
  const client = new RawClient(edge.run.url, account.key);
  await client.sees(/"c"/);
  client.leave();
  await (await edge.upstream.call(index)).left;
  const aborted = await settled(edge.run, account.key, await client.id());
  expect(Number(aborted.cost_nanodollars)).toBe(Math.round((whole.usage as { cost: number }).cost * 1e9));
});

it("another placement serves when the first dies before its first token, streamed and whole", async () => {
  const [dead, alive] = [await startUpstream((call) => call.die()), await startUpstream()];
  const model = "failover-model";
  await sell(edge.run, [dead], model);
  await register(edge.run, alive, "bknd_alive", model);
  for (const stream of [true, false]) {
    const response = await ask(edge.run, account.key, hello({ model, stream }));
    expect(response.status).toBe(200);
    expect(response.headers.get("x-causeway-backend")).toBe("bknd_alive");
    await response.text();
    const generation = await settled(edge.run, account.key, response.headers.get("x-request-id")!);
    expect(generation.ending).toBe("finished");
    expect(generation.usage.completion_tokens).toBe(2);
  }
});
