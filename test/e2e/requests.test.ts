/** What an account can read about its requests a moment later: every ending, on every way through the edge. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Faulty, RawClient, startFaulty } from "../support/faulty.ts";
import {
  type Account,
  admin,
  ask,
  eventually,
  hello,
  newAccount,
  read,
  register,
  sell,
  settled,
  startUpstream,
} from "../support/platform.ts";
import type { Call, Upstream } from "../support/upstream.ts";

const READ = "requests-read";
const TWO = "requests-two";
const CANARY = "canary-7f3a";

let edge: Faulty;
let account: Account;
let openai: Upstream;
let [first, second]: Upstream[] = [];
beforeAll(async () => {
  edge = await startFaulty();
  [openai, first, second] = await Promise.all([startUpstream(), startUpstream(), startUpstream()]);
  await sell(edge.run, [openai], READ, "openai");
  await sell(edge.run, [first, second], TWO);
  account = await newAccount(edge.run, "100");
});
afterAll(() => edge?.run.stop());

interface Span {
  name: string;
  attempt: number | null;
  start_ms: number;
  end_ms: number;
  outcome: string | null;
}
interface Detail {
  ending: string;
  spans: Span[];
  placements: { attempt: number; candidates: { backend: string; chosen: boolean; cost: number | null }[] }[];
}

const answers = (call: Call) => {
  call.token("Hi");
  call.finish();
};
const body = (more: object) =>
  hello({ messages: [{ role: "user", content: `Tell me of ${CANARY}` }], ...more } as Record<
    string,
    unknown
  >);

/** A request that has ended, from the list as soon as it is there, and by itself. */
async function seen(id: string) {
  await settled(edge.run, account.key, id);
  const list = await read<{ data: { request_id: string; outcome: string; failed_over: boolean }[] }>(
    edge.run,
    account.key,
    "/v1/requests?limit=5",
  );
  const row = list.data.find((one) => one.request_id === id)!;
  const detail = await read<Detail>(edge.run, account.key, `/v1/requests/${id}`);
  const { spans } = detail;
  for (const { start_ms, end_ms } of spans) expect(end_ms).toBeGreaterThanOrEqual(start_ms);
  for (const [i, span] of spans.entries())
    if (i > 0) expect(span.start_ms).toBeGreaterThanOrEqual(spans[i - 1].start_ms);
  expect(spans[0]).toMatchObject({ name: "admit", start_ms: 0 });
  expect(spans.at(-1)!.name).toBe("settle");
  expect(JSON.stringify(detail)).not.toContain(CANARY);
  return { row, detail, steps: spans.map(({ name, outcome }) => (outcome ? `${name}: ${outcome}` : name)) };
}

const SERVED = ["admit", "route: placed", "attempt: served", "first_token", "decode: finished", "settle"];

describe.each([
  ["relay", () => edge.upstream, {}, true],
  ["reading path", () => openai, { model: READ }, true],
  ["whole answer", () => edge.upstream, {}, false],
] as const)("on the %s", (_way, upstreamOf, model, stream) => {
  it("a request that was served is listed at once, with its steps and whom it was placed between", async () => {
    upstreamOf().behave = answers;
    const response = await ask(edge.run, account.key, body({ ...model, stream }));
    await response.text();
    const { row, detail, steps } = await seen(response.headers.get("x-request-id")!);
    expect(row).toMatchObject({ outcome: "finished", failed_over: false });
    expect(steps).toEqual(SERVED);
    expect(detail.placements).toHaveLength(1);
    expect(detail.placements[0].candidates.filter(({ chosen }) => chosen)).toHaveLength(1);
  });

  it("a request that its backend refused is listed as refused, with the attempt", async () => {
    upstreamOf().behave = (call) => call.refuse(400, { error: { message: "no" } });
    const response = await ask(edge.run, account.key, body({ ...model, stream }));
    expect(response.status).toBe(400);
    const { row, steps } = await seen(response.headers.get("x-request-id")!);
    expect(row.outcome).toBe("refused");
    expect(steps).toEqual(["admit", "route: placed", "attempt: refused", "settle"]);
  });
});

describe("a stream", () => {
  it("that its backend broke is listed as failed, its decode too", async () => {
    edge.upstream.behave = (call) => {
      call.token("Hi");
      call.die();
    };
    const response = await ask(edge.run, account.key, body({ stream: true }));
    await response.text();
    const { row, steps } = await seen(response.headers.get("x-request-id")!);
    expect(row.outcome).toBe("failed");
    expect(steps.slice(-2)).toEqual(["decode: backend_failed", "settle"]);
  });

  it("that its client left is listed as left", async () => {
    const upstream = edge.upstream;
    const index = upstream.calls.length;
    upstream.behave = (call) => call.token("Hi");
    const client = new RawClient(edge.run.url, account.key, body({ stream: true }));
    const id = await client.id();
    await client.sees(/"Hi"/);
    client.leave();
    const call = await upstream.call(index);
    // workerd sees that it left when a byte is written.
    const writing = setInterval(() => call.token("more"), 100);
    await call.left;
    clearInterval(writing);
    const { row, steps } = await seen(id);
    expect(row.outcome).toBe("client_left");
    expect(steps).toContain("decode: client_left");
  });

  it("that failed over shows each attempt and what each was placed between", async () => {
    const fails = (call: Call) => call.refuse(503, {}, { "retry-after": "1" });
    // Whichever is asked first refuses.
    let asked = 0;
    for (const upstream of [first, second])
      upstream.behave = (call) => (asked++ === 0 ? fails(call) : answers(call));
    const response = await ask(edge.run, account.key, body({ model: TWO, stream: true }));
    await response.text();
    const { row, detail, steps } = await seen(response.headers.get("x-request-id")!);
    expect(row).toMatchObject({ outcome: "finished", failed_over: true });
    expect(steps).toEqual([
      "admit",
      "route: placed",
      "attempt: refused",
      "route: placed",
      ...SERVED.slice(2),
    ]);
    const chosen = detail.placements.map(({ candidates }) => candidates.find((one) => one.chosen)!.backend);
    expect(new Set(chosen).size).toBe(2);
    // Both were candidates of the first placement; the second says why the other was none.
    expect(detail.placements[0].candidates.map(({ backend }) => backend).sort()).toEqual([...chosen].sort());
  });
});

describe("a region", () => {
  it("whose only backend fails is told to be down, and to be back", async () => {
    const lone = await startUpstream();
    await sell(edge.run, [], "requests-lone");
    await admin(edge.run, "PUT", "/regions/lone", { name: "Lone", zone: "oc" });
    await register(edge.run, lone, "bknd_lone", "requests-lone", "causeway", "lone");
    const kinds = async () =>
      (
        await read<{ events: { region: string; kind: string }[] }>(edge.run, account.key, "/v1/regions")
      ).events
        .filter(({ region }) => region === "lone")
        .map(({ kind }) => kind);
    const state = async () =>
      (await read<{ data: { id: string; state: string }[] }>(edge.run, account.key, "/v1/regions")).data.find(
        ({ id }) => id === "lone",
      )?.state;
    await eventually(async () => ((await state()) === "healthy" ? true : undefined), "it to be healthy");
    lone.health = { status: "error", code: 500 };
    await eventually(async () => ((await kinds())[0] === "region.down" ? true : undefined), "it to be down");
    expect(await state()).toBe("down");
    lone.health = { status: "ok", code: 200 };
    await eventually(
      async () => ((await kinds())[0] === "region.recovered" ? true : undefined),
      "it to be back",
    );
    expect(await state()).toBe("healthy");
    expect(await kinds()).toEqual(["region.recovered", "region.down"]);
  });
});
