/** What can happen to an account, each for the model and for the real object at once. */
import {
  abortAllDurableObjects,
  evictDurableObject,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import fc from "fast-check";
import { expect } from "vitest";
import { DAY_MS } from "../../functions/clock.ts";
import { attemptId, newKeyId, newRequestId } from "../../functions/ids.ts";
import type { Usage } from "../../functions/money.ts";
import type { AccountObject } from "../../functions/objects/account.ts";
import { admitQuery, BACKEND, money, passTime, settlement, stubOf, usageOf } from "./fixture.ts";
import {
  availableOf,
  close,
  compare,
  expiredCost,
  type Fate,
  type Key,
  look,
  type Model,
  newKey,
  type Period,
  type Real,
  type Request,
  rooms,
  works,
  worth,
} from "./model.ts";

type Command = fc.AsyncCommand<Model, Real>;

/** A command that compares everything afterwards. */
function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return {
    check: () => true,
    run: async (model, real) => {
      await run(model, real);
      await compare(model, real);
    },
    toString: () => name,
  };
}

/** One of the requests there ever were, by a number that stays meaningful when commands are left out. */
function pick(model: Model, n: number): Request | undefined {
  const all = [...model.open.values(), ...[...model.closed.values()].map((closed) => closed.request)];
  return all[n % (all.length + 1)];
}

const createKey = () =>
  command("createKey", async (model, real) => {
    const id = newKeyId();
    const hash = `hash-${id}`;
    await real.stub.createKey({
      id,
      name: "key",
      hash,
      hint: "abcd",
      requestsPerMinute: null,
      tokensPerMinute: null,
    });
    model.keys.push(newKey(hash, id));
  });

const revokeKey = (n: number) =>
  command(`revokeKey ${n}`, async (model, real) => {
    const key = model.keys[n % model.keys.length]!;
    await real.stub.revokeKey(key.id);
    key.revoked = true;
  });

/** Sets budgets of the account, or of one of its keys; null takes one away. */
const setBudget = (n: number, ofKey: boolean, period: Period, limit: number | null) =>
  command(`budget of ${ofKey ? `key ${n}` : "the account"} a ${period}: ${limit}`, async (model, real) => {
    const key = model.keys[n % model.keys.length]!;
    const change = { [period === "day" ? "budgetDay" : "budgetMonth"]: limit === null ? null : money(limit) };
    if (ofKey) await real.stub.changeKey(key.id, change);
    else await real.stub.setBudgets(change);
    (ofKey ? key : model).budgets[period] = limit;
  });

const rotateKey = (n: number, overlapMs: number) =>
  command(`rotateKey ${n}, both for ${overlapMs} ms`, async (model, real) => {
    const key = model.keys[n % model.keys.length]!;
    const id = newKeyId();
    const hash = `hash-${id}`;
    const answer = await real.stub.rotateKey(key.id, { id, hash, hint: "next" }, overlapMs);
    const { successor } = key;
    const ended = key.expiresAt !== null && key.expiresAt <= Date.now();
    if (
      key.revoked ||
      (ended && (!successor || (successor.revoked && !successor.used && !successor.successor)))
    ) {
      expect(answer).toMatchObject({ code: "key_ended" });
      return;
    }
    if (successor?.used || successor?.successor) {
      expect(answer).toMatchObject({ code: "already_rotated" });
      return;
    }
    expect(answer).toMatchObject({ id, state: "active" });
    if (successor) successor.revoked = true;
    const deadline = Date.now() + overlapMs;
    key.expiresAt = Math.min(deadline, key.expiresAt ?? deadline);
    key.successor = newKey(hash, id, key.line, (successor ?? key).budgets);
    model.keys.push(key.successor);
  });

const credit = (amount: number, reference: string) =>
  command(`credit ${amount} ${reference}`, async (model, real) => {
    const answer = await real.stub.credit(money(amount), reference);
    const before = model.credits.get(reference);
    if (before !== undefined) {
      if (before === amount) expect(answer).toMatchObject({ credited: false });
      else expect(answer).toMatchObject({ code: "reference_used" });
    } else if (amount < -availableOf(model)) {
      expect(answer).toMatchObject({ status: 400 });
    } else {
      expect(answer).toMatchObject({ credited: true });
      model.credits.set(reference, amount);
      model.balance += amount;
      model.last += 1;
    }
  });

type Asked = { readonly id: string; readonly fingerprint: string } | undefined;

/** What the account must say to a request, as the model has it. */
function verdict(model: Model, key: Key, hold: number, once: Asked): string {
  if (!works(key)) return "invalid_api_key";
  const before = once && model.onces.get(`${key.id} ${once.id}`);
  if (before && before.at > Date.now() - DAY_MS) {
    if (before.fingerprint !== once.fingerprint) return "idempotency_key_reused";
    return model.open.has(before.id) ? "idempotent_request_in_flight" : "idempotent_request_ended";
  }
  if (rooms(model, key, Date.now()).some((room) => hold > room)) return "budget_exceeded";
  if (hold <= availableOf(model)) return "ok";
  return hold <= model.balance ? "balance_in_flight" : "insufficient_balance";
}

const admit = (
  n: number,
  maxInput: number,
  maxOutput: number,
  dueMs: number,
  fate: Fate,
  once: Asked = undefined,
) =>
  command(
    `admit ${maxInput}+${maxOutput} due in ${dueMs} (${JSON.stringify({ fate, once })})`,
    async (model, real) => {
      const key = model.keys[n % model.keys.length]!;
      const query = admitQuery(real.account, {
        keyHash: key.hash,
        maxInput,
        maxOutput,
        deadlineMs: Date.now() + dueMs,
        ...(once && { once: { ...once, id: `${key.id} ${once.id}` } }),
      });
      const hold = maxInput + maxOutput;
      const answer = await real.stub.admit(query);
      expect(answer.ok ? "ok" : answer.error.code).toBe(verdict(model, key, hold, once));
      if (!answer.ok) return;
      key.used = true;
      const at = Date.now();
      if (once)
        model.onces.set(`${key.id} ${once.id}`, { fingerprint: once.fingerprint, id: query.requestId, at });
      expect(answer.held).toBe(hold);
      real.outside.fates.set(attemptId(query.requestId, 1), fate);
      const { requestId: id, deadlineMs: deadlineAt } = query;
      model.open.set(id, {
        id,
        maxInput,
        maxOutput,
        hold,
        admittedAt: at,
        line: key.line,
        key,
        deadlineAt,
        epoch: model.epoch,
        fates: [fate],
        counted: undefined,
      });
    },
  );

/** Counts up to and past the bound, and such as no count should be. */
type Share = number | "absurd";
const countsOf = (request: Request, share: Share, odd: unknown): Usage =>
  share === "absurd"
    ? usageOf(request.maxInput, odd as number)
    : usageOf(Math.floor(request.maxInput * share), Math.floor(request.maxOutput * share));

/** Nothing was delivered: what asked under an idempotency key may ask again. */
function free(model: Model, id: string): void {
  for (const [name, once] of model.onces) if (once.id === id) model.onces.delete(name);
}

const settle = (n: number, share: Share, odd: unknown, times: number, delivered: boolean) =>
  command(
    `settle ${n} at ${share === "absurd" ? String(odd) : share}, ${times} at once${delivered ? "" : ", undelivered"}`,
    async (model, real) => {
      const request = pick(model, n);
      const id = request?.id ?? newRequestId();
      const says = settlement(id, request ? countsOf(request, share, odd) : usageOf(1, 1), { delivered });
      const answers = await runInDurableObject(real.stub, (object: AccountObject) =>
        Promise.all(Array.from({ length: times }, () => object.settle(says).catch(() => "threw" as const))),
      );
      const closed = model.closed.get(id);
      if (!request || closed) {
        // Never open, settled before, or expired: nothing is posted, whatever the counts are.
        for (const answer of answers) expect(answer).toEqual({ posted: false, cost: closed?.cost ?? 0 });
      } else if (share === "absurd") {
        for (const answer of answers) expect(answer).toBe("threw"); // and the reservation stays, for the expiry
      } else {
        const cost = Math.min(request.hold, says.usage.input + says.usage.output);
        close(model, request, cost);
        if (!delivered && cost === 0) free(model, id);
        expect(answers).toEqual(answers.map((_answer, i) => ({ posted: i === 0, cost })));
      }
    },
  );

const checkpoint = (n: number, share: Share, odd: unknown, failOver: Fate | undefined) =>
  command(
    `checkpoint ${n}${failOver ? " after a failover" : ` at ${String(share)}`}`,
    async (model, real) => {
      const request = pick(model, n);
      const id = request?.id ?? newRequestId();
      const open = model.open.get(id);
      if (open && failOver) open.fates.push(failOver);
      const attempt = attemptId(id, request?.fates.length ?? 1);
      // One that comes after the settlement is late: there is no attempt behind it that could report anything.
      if (open && failOver) real.outside.fates.set(attempt, failOver);
      const usage = request && !failOver ? countsOf(request, share, odd) : undefined;
      await real.stub.checkpoint({
        requestId: id,
        attempt,
        backend: BACKEND,
        region: "test-region",
        ...(usage && { usage }),
      });
      if (open) open.counted = usage;
    },
  );

const ENDED = new Set(["done", "aborted", "failed"]);

const passAndRing = (ms: number) =>
  command(`${ms} ms pass and the alarm rings`, async (model, real) => {
    passTime(ms);
    await runDurableObjectAlarm(real.stub);
    const { journal } = await look(real);
    for (const entry of journal.slice(model.last)) {
      const charge = 0 - entry.amount;
      const request = model.open.get(entry.request_id!);
      if (request) {
        const ended = ENDED.has(request.fates.at(-1)!.state);
        const orphan = request.epoch < model.epoch && model.backendUp && ended;
        expect(entry).toMatchObject({ kind: "usage", ending: "expired" });
        expect(request.deadlineAt <= Date.now() || orphan).toBe(true);
        expect(model.d1Up).toBe(true);
        expect(charge).toBe(expiredCost(model, request));
        close(model, request, charge);
        // Charged nothing, and its backend knows nothing of it: its idempotency key may be used again.
        const unknown = model.backendUp && request.fates.at(-1)!.state === "unknown";
        if (charge === 0 && unknown) free(model, request.id);
      } else {
        const before = model.closed.get(entry.request_id!)!;
        const fate = before.request.fates.at(-1)!;
        const missing = worth(before.request, fate.prompt, fate.output)! - before.cost;
        expect(entry.kind).toBe("adjustment");
        expect([before.adjusted, model.backendUp, model.d1Up]).toEqual([false, true, true]);
        expect(charge).toBeGreaterThan(0);
        expect(charge).toBeLessThanOrEqual(missing);
        before.cost += charge;
        before.adjusted = true;
        model.balance -= charge;
        model.last += 1;
        // It took all that there was: of the money, or of a budget of its period.
        const { key, admittedAt } = before.request;
        if (charge < missing)
          expect(Math.min(availableOf(model), ...rooms(model, key, admittedAt))).toBeLessThanOrEqual(0);
      }
    }
    if (model.d1Up)
      for (const request of model.open.values()) expect(request.deadlineAt).toBeGreaterThan(Date.now());
  });

const evict = () =>
  command("evict", async (model, real) => {
    await evictDurableObject(real.stub);
    model.epoch += 1;
  });

/** The object dies where it stands; the next call finds a new one. */
const abort = () =>
  command("abort", async (model, real) => {
    await runInDurableObject(real.stub, (_object, state) => state.abort("killed by the test")).catch(
      () => undefined,
    );
    real.stub = stubOf(real.account.id);
    model.epoch += 1;
  });

/** Its reply is lost on the way: whether it was posted, only the rows know, and asking again gives the answer. */
const abortWhileSettling = (n: number) =>
  command(`settle ${n} and abort at once`, async (model, real) => {
    const request = pick(model, n);
    if (!request) return;
    const says = settlement(request.id, countsOf(request, 0.5, undefined));
    await Promise.all([real.stub.settle(says).catch(() => undefined), abortAllDurableObjects()]);
    real.stub = stubOf(real.account.id);
    model.epoch += 1;
    const cost = Math.min(request.hold, says.usage.input + says.usage.output);
    if (model.open.has(request.id)) close(model, request, cost);
    const again = await real.stub.settle(says);
    expect(again.cost).toBe(model.closed.get(request.id)!.cost);
  });

const forwarded = (from: "mark" | "last", by: number) =>
  command(`D1's mark is ${from} ${by}`, async (model, real) => {
    const mark = model[from] + by;
    await real.stub.forwarded(mark);
    if (mark > model.mark && mark <= model.last) model.mark = mark;
  });

const outside = (part: "backendUp" | "d1Up" | "queueUp", up: boolean) =>
  command(`${part}: ${up}`, async (model, real) => {
    real.outside[part] = up;
    if (part !== "queueUp") model[part] = up;
  });

const tokens = fc.nat({ max: 60 });
const n = fc.nat({ max: 30 });
const odd = fc.constantFrom<unknown>(Number.NaN, -1, 0.5, 2 ** 53, Number.POSITIVE_INFINITY, undefined);
const share: fc.Arbitrary<Share> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom<Share>(0, 0.25, 0.5, 1) },
  { weight: 1, arbitrary: fc.constantFrom<Share>(1.5, 1_000) },
  { weight: 1, arbitrary: fc.constant<Share>("absurd") },
);
const fate: fc.Arbitrary<Fate> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      state: fc.constantFrom("done", "aborted", "failed", "running"),
      prompt: tokens,
      output: tokens,
    }),
  },
  { weight: 1, arbitrary: fc.record({ state: fc.constant("done"), prompt: odd, output: tokens }) },
  { weight: 1, arbitrary: fc.constant({ state: "unknown", prompt: undefined, output: undefined }) },
);
const dueMs = fc.constantFrom(-1, 0, 1_000, 5_000, 60_000, 600_000);
const ms = fc.constantFrom(1, 1_000, 5_000, 60_000, 600_000, 3_600_000, 43_200_000);

const once: fc.Arbitrary<Asked> = fc.record({
  id: fc.constantFrom("a", "b", "c"),
  fingerprint: fc.constantFrom("x", "x", "y"),
});
const admits = fc.tuple(n, tokens, tokens, dueMs, fate).map((args) => admit(...args));
const settles = fc
  .tuple(n, share, odd, fc.integer({ min: 1, max: 3 }), fc.boolean())
  .map((args) => settle(...args));
const rings = ms.map(passAndRing);

/** Often what happens often: a kind that is listed twice is chosen twice as often. */
export const kinds: fc.Arbitrary<Command>[] = [
  admits,
  admits,
  admits,
  settles,
  settles,
  rings,
  rings,
  fc
    .tuple(fc.integer({ min: -300, max: 600 }), fc.constantFrom("a", "b", "c", "d", "e", "f"))
    .map((args) => credit(...args)),
  fc.tuple(n, share, odd, fc.option(fate, { nil: undefined, freq: 2 })).map((args) => checkpoint(...args)),
  fc.oneof(
    fc.constant(null).map(createKey),
    n.map(revokeKey),
    fc.tuple(n, fc.constantFrom(0, 1_000, 600_000)).map((args) => rotateKey(...args)),
  ),
  fc.tuple(n, tokens, tokens, dueMs, fate, once).map((args) => admit(...args)),
  fc
    .tuple(
      n,
      fc.boolean(),
      fc.constantFrom<Period>("day", "month"),
      fc.option(fc.nat({ max: 400 }), { nil: null, freq: 4 }),
    )
    .map((args) => setBudget(...args)),
  fc.oneof(
    fc.constant(null).map(evict),
    { weight: 2, arbitrary: fc.constant(null).map(abort) },
    { weight: 4, arbitrary: n.map(abortWhileSettling) },
  ),
  fc
    .tuple(fc.constantFrom("mark" as const, "last" as const), fc.integer({ min: -3, max: 3 }))
    .map((args) => forwarded(...args)),
  fc
    .tuple(fc.constantFrom("backendUp" as const, "d1Up" as const, "queueUp" as const), fc.boolean())
    .map((args) => outside(...args)),
];
