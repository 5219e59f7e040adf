/** A request that takes longer than its deadline: stopped at the backend, and billed by the table of endings. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { eventsOf, type Faulty, RawClient, startFaulty } from "../support/faulty.ts";
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

let edge: Faulty;
let account: Account;
beforeAll(async () => {
  edge = await startFaulty({ REQUEST_DEADLINE_MS: "2500", IDLE_MS: "30000", FIRST_TOKEN_MS: "30000" });
  account = await newAccount(edge.run, "1");
});
afterAll(() => edge?.run.stop());

it("in a stream costs what was generated until then, and ends with an error event", async () => {
  const index = edge.upstream.calls.length;
  edge.upstream.behave = (call) => {
    call.token("one");
    call.token("two");
  };
  const response = await ask(edge.run, account.key, hello({ stream: true }));
  const events = eventsOf(await response.text());
  expect(events.at(-1)).toMatchObject({ error: { code: "backend_timeout" } });
  const generation = await settled(edge.run, account.key, response.headers.get("x-request-id")!);
  expect(generation).toMatchObject({
    ending: "deadline",
    usage: { completion_tokens: 2, source: "backend" },
  });
  // 10 tokens in at 2 USD a million, 2 out at 10.
  expect(generation.cost_nanodollars).toBe("40000");
  expect(edge.upstream.aborts).toContain((await edge.upstream.call(index)).attempt);
});

it("before the first token, or in a whole answer, is a 504 and costs nothing", async () => {
  for (const behave of [() => {}, (call: { token: (text: string) => void }) => call.token("half")]) {
    edge.upstream.behave = behave;
    const response = await ask(edge.run, account.key, hello());
    expect(response.status).toBe(504);
    expect(response.headers.get("retry-after")).toMatch(/^([1-9]|[1-5]\d|60)$/);
    await response.text();
    const generation = await settled(edge.run, account.key, response.headers.get("x-request-id")!);
    expect(generation).toMatchObject({ ending: "deadline", cost_nanodollars: "0" });
  }
  expect((await audited(edge.run, account.id)).accounts[0]).toMatchObject({ held: "0", findings: [] });
});

it.each(["causeway", "openai"] as const)(
  "a client that stops reading is ended by the deadline and pays for what was generated (%s)",
  async (kind) => {
    // More than the sockets on the way can hold, and within what so many tokens may be.
    const text = "x".repeat(128 * 1024);
    const upstream = await startUpstream((call) => {
      const flow = setInterval(() => call.token(text), 40);
      call.left.then(() => clearInterval(flow));
    });
    const model = `unread-${kind}`;
    await sell(edge.run, [upstream], model, kind);
    const client = new RawClient(
      edge.run.url,
      account.key,
      hello({ stream: true, model, max_tokens: 4_000 }),
    );
    const id = await client.id();
    client.pause();
    await (await upstream.call(0)).left;
    const generation = await settled(edge.run, account.key, id, 15_000);
    expect(generation.ending).toBe("deadline");
    expect(BigInt(generation.cost_nanodollars)).toBeGreaterThan(0n);
    client.leave();
  },
);
