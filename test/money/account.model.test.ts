/**
 * Histories, not examples: random commands against the real account object in workerd and a simple model beside
 * it. After every command the books must be right and equal (model.ts says what that is). Clients, backends, D1, the
 * queue and the object's own death are among the commands.
 */
import fc from "fast-check";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { kinds } from "./commands.ts";
import {
  catchQueue,
  env,
  fakeBackend,
  listBackends,
  openAccount,
  passTime,
  report,
  stopClock,
} from "./fixture.ts";
import { compare, type Model, newKey, type Real } from "./model.ts";
import { random } from "./random.ts";

beforeEach(async () => {
  stopClock();
  await listBackends();
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it("an account's books are right after whatever happens, in whatever order", {
  timeout: 3_600_000,
}, async () => {
  const outside: Real["outside"] = { backendUp: true, d1Up: true, queueUp: true, fates: new Map() };
  play(outside);
  let ran = 0;
  const start = async (): Promise<{ model: Model; real: Real }> => {
    Object.assign(outside, { backendUp: true, d1Up: true, queueUp: true, fates: new Map() });
    passTime(1_000);
    const account = await openAccount(1_000);
    const keys = [newKey(account.keyHash, account.keyId)];
    const model: Model = {
      balance: 1_000,
      last: 1,
      mark: 0,
      epoch: 1,
      keys,
      budgets: { day: null, month: null },
      onces: new Map(),
      credits: new Map([["opening", 1_000]]),
      open: new Map(),
      closed: new Map(),
      backendUp: true,
      d1Up: true,
    };
    const real: Real = { account, stub: account.stub, outside };
    await compare(model, real);
    return { model, real };
  };

  await fc.assert(
    fc.asyncProperty(fc.commands(kinds, { maxCommands: 60, size: "max" }), async (commands) => {
      let run: Awaited<ReturnType<typeof start>> | undefined;
      await fc.asyncModelRun(async () => (run = await start()), commands);
      ran += run!.model.last;
    }),
    random("an account's books", 40),
  );
  expect(ran).toBeGreaterThan(0);
});

/** The outside as the commands set it. */
function play(outside: Real["outside"]): void {
  const backend = fakeBackend();
  backend.always = () => {
    if (!outside.backendUp) throw new TypeError("connection refused");
    const attempt = backend.asked.at(-1)!.split(" ")[1]!;
    const fate = outside.fates.get(attempt) ?? { state: "unknown", prompt: undefined, output: undefined };
    return Response.json(report(fate.state, fate.prompt, fate.output));
  };
  const queue = catchQueue();
  queue.send.mockImplementation(async () => {
    if (!outside.queueUp) throw new Error("the queue is down");
    return {} as never;
  });
  const prepare = env.DB.prepare.bind(env.DB);
  vi.spyOn(env.DB, "prepare").mockImplementation((query) => {
    if (!outside.d1Up) throw new Error("D1 is down");
    return prepare(query);
  });
}
