/** What can happen to an account, each for the model and for the real object at once. */
import {
  abortAllDurableObjects,
  evictDurableObject,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import fc from "fast-check";
import { expect } from "vitest";
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
  look,
  type Model,
  type Real,
  type Request,
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
    model.keys.push({ hash, id, revoked: false });
  });

const revokeKey = (n: number) =>
  command(`revokeKey ${n}`, async (model, real) => {
    const key = model.keys[n % model.keys.length]!;
    await real.stub.revokeKey(key.id);
    key.revoked = true;
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

const admit = (key: number, maxInput: number, maxOutput: number, dueMs: number, fate: Fate) =>
  command(`admit ${maxInput}+${maxOutput} due in ${dueMs} (${JSON.stringify(fate)})`, async (model, real) => {
    const { hash, revoked } = model.keys[key % model.keys.length]!;
    const query = admitQuery(real.account, {
      keyHash: hash,
      maxInput,
      maxOutput,
      deadlineMs: Date.now() + dueMs,
    });
    const hold = maxInput + maxOutput;
    const answer = await real.stub.admit(query);
    const expected = revoked ? 401 : hold <= availableOf(model) ? "ok" : hold <= model.balance ? 429 : 402;
    expect(answer.ok ? "ok" : answer.error.status).toBe(expected);
    if (!answer.ok) return;
    expect(answer.held).toBe(hold);
    real.outside.fates.set(attemptId(query.requestId, 1), fate);
    const { requestId: id, deadlineMs: deadlineAt } = query;
    model.open.set(id, {
      id,
      maxInput,
      maxOutput,
      hold,
      deadlineAt,
      epoch: model.epoch,
      fates: [fate],
      counted: undefined,
    });
  });

/** Counts up to and past the bound, and such as no count should be. */
type Share = number | "absurd";
const countsOf = (request: Request, share: Share, odd: unknown): Usage =>
  share === "absurd"
    ? usageOf(request.maxInput, odd as number)
    : usageOf(Math.floor(request.maxInput * share), Math.floor(request.maxOutput * share));

const settle = (n: number, share: Share, odd: unknown, times: number) =>
  command(
    `settle ${n} at ${share === "absurd" ? String(odd) : share}, ${times} at once`,
    async (model, real) => {
      const request = pick(model, n);
      const id = request?.id ?? newRequestId();
      const says = settlement(id, request ? countsOf(request, share, odd) : usageOf(1, 1));
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
      if (failOver) real.outside.fates.set(attempt, failOver);
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
        if (charge < missing) expect(availableOf(model)).toBe(0); // it took all that there was
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
const ms = fc.constantFrom(1, 1_000, 5_000, 60_000, 600_000, 3_600_000);

const admits = fc.tuple(n, tokens, tokens, dueMs, fate).map((args) => admit(...args));
const settles = fc.tuple(n, share, odd, fc.integer({ min: 1, max: 3 })).map((args) => settle(...args));
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
  fc.oneof(fc.constant(null).map(createKey), n.map(revokeKey)),
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
