import { describe, expect, it } from "vitest";
import { LatentCache } from "../cache/latent.ts";
import { PlainOps } from "../layers/plain.ts";
import type { Part } from "../models/step.ts";
import { Random } from "../sampling/random.ts";
import { Sampler } from "../sampling/sampler.ts";
import { type LanguageModel, Scheduler, type SchedulerLimits } from "./scheduler.ts";
import { Sequence, type SequenceEnd } from "./sequence.ts";

const endToken = 9;

/** A model that answers each token with the next number, and 8 with the end token. It notes what it was asked. */
class CountingModel implements LanguageModel {
  readonly attentionDoublesCostAt = 1_000;
  lastStep = { tokens: 0, weightBytes: 0 };
  /** The tokens of each part of each step. */
  readonly steps: (readonly number[])[][] = [];

  get sizes(): number[][] {
    return this.steps.map((parts) => parts.map((tokens) => tokens.length));
  }

  forward(parts: readonly Part[]): Float32Array[] {
    this.steps.push(parts.map((part) => part.tokens));
    this.lastStep = { tokens: parts.reduce((sum, { tokens }) => sum + tokens.length, 0), weightBytes: 100 };
    return parts.map(({ tokens, cache, wanted }) => {
      if (tokens.includes(-1)) throw new Error("a step that fails");
      cache.grow(tokens.length);
      cache.append(tokens);
      const logits = new Float32Array(wanted === "none" ? 0 : 10);
      const last = tokens.at(-1)!;
      if (last === 7) logits.fill(Number.NaN);
      else logits[last + 1] = 1;
      return logits;
    });
  }
}

interface Run {
  readonly sequence: Sequence;
  readonly tokens: number[];
  ends: SequenceEnd[];
  started: number;
  cached: number;
}

function sequenceOf(
  prompt: number[],
  maxTokens = 100,
  onToken: (token: number) => "continue" | "stop" = () => "continue",
  after?: Sequence,
): Run {
  const run: Run = {
    tokens: [],
    ends: [],
    started: 0,
    cached: 0,
    sequence: new Sequence({
      prompt,
      maxTokens,
      endTokens: new Set([endToken]),
      sampler: new Sampler({ temperature: 0, topP: 1, seed: 0 }),
      cacheSalt: "",
      after,
      listener: {
        onStart: (cachedTokens) => {
          run.started++;
          run.cached = cachedTokens;
        },
        onToken: (token) => {
          run.tokens.push(token);
          return onToken(token);
        },
        onEnd: (end) => run.ends.push(end),
      },
    }),
  };
  return run;
}

/** A scheduler whose steps happen when the test says so. */
function steppedScheduler(limits: Partial<SchedulerLimits> = {}, cacheTokens = 4_096) {
  const model = new CountingModel();
  const cache = new LatentCache({ layers: 1, kvLoraRank: 1, qkRopeDim: 2 }, cacheTokens * 12, new PlainOps());
  let release: (() => void) | undefined;
  const scheduler = new Scheduler(
    model,
    cache,
    { maxSequences: 4, maxQueue: 8, prefillTokens: 4, ...limits },
    () => new Promise((resolve) => (release = resolve)),
  );
  let steps = 0;
  const step = async (count = 1) => {
    for (let i = 0; i < count; i++) {
      // No test needs as many: one that waits for what never comes must fail and not run on.
      if (++steps > 10_000) throw new Error("no end after 10,000 steps");
      release?.();
      release = undefined;
      for (let tick = 0; tick < 5; tick++) await Promise.resolve();
    }
  };
  return { scheduler, model, cache, step, isWaiting: () => release !== undefined };
}

describe("one sequence", () => {
  it("is prefilled in chunks and then decoded a token a step", async () => {
    const { scheduler, model, step } = steppedScheduler();
    const run = sequenceOf([1, 1, 1, 1, 1, 2], 3);
    scheduler.submit(run.sequence);
    await step();
    expect(run).toMatchObject({ started: 1, tokens: [] });
    await step(3);
    expect(model.steps).toEqual([[[1, 1, 1, 1]], [[1, 2]], [[3]], [[4]]]);
    expect(run).toMatchObject({
      started: 1,
      tokens: [3, 4, 5],
      ends: [{ kind: "finished", reason: "length" }],
    });
  });

  it("is prefilled in smaller chunks the more comes before them", async () => {
    const { scheduler, model, step } = steppedScheduler({ prefillTokens: 64 });
    const run = sequenceOf(new Array(3_000).fill(1), 1);
    scheduler.submit(run.sequence);
    while (run.ends.length === 0) await step();
    const sizes = model.sizes.flat();
    expect(sizes.reduce((sum, size) => sum + size)).toBe(3_000);
    expect(sizes[0]).toBeGreaterThan(60);
    expect(sizes.slice(0, -1)).toEqual(sizes.slice(0, -1).toSorted((a, b) => b - a));
    expect(sizes.at(-2)).toBe(16);
  });

  it("computes only what no sequence of its salt has computed before", async () => {
    const { scheduler, model, step } = steppedScheduler({ prefillTokens: 64 });
    const prompt = Array.from({ length: 40 }, (_, i) => i % 5);
    const first = sequenceOf(prompt, 1);
    scheduler.submit(first.sequence);
    await step(1);
    const second = sequenceOf([...prompt, 1, 2], 1);
    scheduler.submit(second.sequence);
    await step(1);
    expect(model.sizes).toEqual([[40], [10]]);
    expect([first.cached, second.cached]).toEqual([0, 32]);
  });

  it("stops at an end token, which its listener sees", async () => {
    const { scheduler, step } = steppedScheduler();
    const run = sequenceOf([6]);
    const other = sequenceOf([8]);
    scheduler.submit(other.sequence);
    await step(1);
    expect(other).toMatchObject({ tokens: [9], ends: [{ kind: "finished", reason: "stop" }] });
    expect(run.ends).toEqual([]);
  });

  it("stops where its listener says so", async () => {
    const { scheduler, step } = steppedScheduler();
    const run = sequenceOf([1], 100, (token) => (token === 3 ? "stop" : "continue"));
    scheduler.submit(run.sequence);
    await step(5);
    expect(run).toMatchObject({ tokens: [2, 3], ends: [{ kind: "finished", reason: "stop" }] });
  });

  it("that fails does not take the others with it", async () => {
    const { scheduler, cache, step } = steppedScheduler();
    const bad = sequenceOf([5]); // 5, 6, 7: then no number
    const good = sequenceOf([0], 7);
    scheduler.submit(bad.sequence);
    scheduler.submit(good.sequence);
    await step(7);
    expect(bad).toMatchObject({ tokens: [6, 7], ends: [{ kind: "failed" }] });
    expect(good.tokens.slice(0, 7)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(cache.reservedBytes).toBe(0);
  });
});

it("a step that fails takes its sequences with it, and nothing else", async () => {
  const { scheduler, cache, step } = steppedScheduler({ maxSequences: 2 });
  const runs = [sequenceOf([0], 5), sequenceOf([-1], 5), sequenceOf([3], 1)];
  for (const run of runs) scheduler.submit(run.sequence);
  await step(2);
  expect(runs.map((run) => run.ends.map((end) => end.kind))).toEqual([["failed"], ["failed"], ["finished"]]);
  expect(cache.reservedBytes).toBe(0);
});

describe("several sequences", () => {
  it("are computed together", async () => {
    const { scheduler, model, step } = steppedScheduler();
    const runs = [sequenceOf([0]), sequenceOf([2]), sequenceOf([4])];
    for (const run of runs) scheduler.submit(run.sequence);
    await step(2);
    expect(runs.map((run) => run.tokens)).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    expect(model.steps).toEqual([
      [[0], [2], [4]],
      [[1], [3], [5]],
    ]);
  });

  it("decode in each step, while others are prefilled beside them", async () => {
    const { scheduler, model, step } = steppedScheduler({ prefillTokens: 32 });
    const first = sequenceOf([0]);
    scheduler.submit(first.sequence);
    await step();
    const second = sequenceOf(new Array(50).fill(1));
    scheduler.submit(second.sequence);
    await step(3);
    expect(model.sizes).toEqual([[1], [1, 32], [1, 18], [1, 1]]);
    expect(scheduler.totals).toEqual({ steps: 4, tokens: 55, weightBytes: 400 });
    expect([first.tokens, second.tokens]).toEqual([
      [1, 2, 3, 4],
      [2, 3],
    ]);
  });

  it("share the budget of prompts: half is the oldest's, the rest goes to the shortest first", async () => {
    const { scheduler, model, step } = steppedScheduler({ prefillTokens: 128 });
    const long = sequenceOf(new Array(500).fill(0));
    const longer = sequenceOf(new Array(600).fill(1));
    const short = sequenceOf(new Array(30).fill(2));
    for (const run of [long, longer, short]) scheduler.submit(run.sequence);
    await step();
    expect(model.sizes).toEqual([[64, 34, 30]]);
    expect([long.tokens, longer.tokens, short.tokens]).toEqual([[], [], [3]]);
    await step();
    // The oldest needs the least now.
    expect(model.steps[1].map((tokens) => tokens[0])).toEqual([0, 1, 3]);
    const total = model.sizes[1].reduce((sum, size) => sum + size);
    expect(total).toBeLessThanOrEqual(128 + 1);
    expect(model.sizes[1][0]).toBeGreaterThanOrEqual(56);
  });

  it("that arrive without end do not keep a long prompt from its own", async () => {
    const { scheduler, step } = steppedScheduler({ prefillTokens: 32, maxSequences: 4 });
    const long = sequenceOf(new Array(400).fill(0), 1);
    scheduler.submit(long.sequence);
    let steps = 0;
    for (; long.ends.length === 0 && steps < 100; steps++) {
      while (scheduler.waiting < 3) scheduler.submit(sequenceOf(new Array(20).fill(1), 1).sequence);
      await step();
    }
    expect(steps).toBeLessThanOrEqual(400 / 16);
  });

  it("of one prompt compute it once: the others wait for the first and overtake nobody but by that", async () => {
    const { scheduler, model, step } = steppedScheduler({ prefillTokens: 32 });
    const prompt = Array.from({ length: 40 }, (_, i) => i % 5);
    const first = sequenceOf(prompt, 2);
    const second = sequenceOf(prompt, 2, undefined, first.sequence);
    const third = sequenceOf([0], 1);
    scheduler.submit(first.sequence, second.sequence);
    scheduler.submit(third.sequence);
    await step(1);
    expect([first.started, second.started, third.tokens]).toEqual([1, 0, [1]]);
    await step(8);
    expect([second.cached, second.tokens]).toEqual([32, first.tokens]);
    expect(model.sizes).toEqual([[31, 1], [9], [1, 8], [1]]);
  });

  it("of one prompt start all the same when the first is aborted", async () => {
    const { scheduler, step } = steppedScheduler({ prefillTokens: 4 });
    const first = sequenceOf([1, 1, 1, 1, 1, 1], 2);
    const second = sequenceOf([1, 1, 1, 1, 1, 1], 1, undefined, first.sequence);
    scheduler.submit(first.sequence, second.sequence);
    await step(1);
    scheduler.abort(first.sequence);
    await step(2);
    expect(second.tokens).toEqual([2]);
  });

  it("run at most maxSequences at once; the next starts when one ends", async () => {
    const { scheduler, step } = steppedScheduler({ maxSequences: 1 });
    const [first, second] = [sequenceOf([0], 2), sequenceOf([0], 2)];
    scheduler.submit(first.sequence);
    scheduler.submit(second.sequence);
    await step();
    expect([scheduler.running, scheduler.waiting, second.started]).toEqual([1, 1, 0]);
    await step(2);
    expect([first.ends.length, second.started]).toEqual([1, 1]);
  });

  it("wait while the cache is promised to others", async () => {
    const { scheduler, cache, step } = steppedScheduler({}, 32);
    const [first, second] = [sequenceOf([0], 32), sequenceOf([0], 2)];
    scheduler.submit(first.sequence);
    scheduler.submit(second.sequence);
    await step(3);
    expect(second.started).toBe(0);
    scheduler.abort(first.sequence);
    await step(1);
    expect(second.started).toBe(1);
    expect(cache.allocatedBytes).toBeLessThanOrEqual(32 * 12);
  });

  it("beyond the queue's bound are not taken", () => {
    const { scheduler } = steppedScheduler({ maxQueue: 2 });
    scheduler.submit(sequenceOf([0]).sequence);
    expect(scheduler.hasRoom).toBe(true);
    scheduler.submit(sequenceOf([0]).sequence);
    expect(scheduler.hasRoom).toBe(false);
    expect(() => scheduler.submit(sequenceOf([0]).sequence)).toThrow();
  });
});

describe("an abort", () => {
  it("ends a running sequence before its next step and frees its cache", async () => {
    const { scheduler, model, cache, step } = steppedScheduler();
    const run = sequenceOf([0]);
    scheduler.submit(run.sequence);
    await step(2);
    scheduler.abort(run.sequence);
    scheduler.abort(run.sequence);
    await step(3);
    expect(run).toMatchObject({ tokens: [1, 2], ends: [{ kind: "aborted" }] });
    expect([model.steps.length, cache.reservedBytes, scheduler.running]).toEqual([2, 0, 0]);
  });

  it("ends a queued sequence that never started", async () => {
    const { scheduler, step } = steppedScheduler();
    const run = sequenceOf([0]);
    scheduler.submit(run.sequence);
    scheduler.abort(run.sequence);
    await step(2);
    expect(run).toMatchObject({ started: 0, tokens: [], ends: [{ kind: "aborted" }] });
  });

  it("by the listener in the middle of a step ends it once", async () => {
    const { scheduler, step } = steppedScheduler();
    const run: Run = sequenceOf([0], 1, () => {
      scheduler.abort(run.sequence);
      return "stop";
    });
    scheduler.submit(run.sequence);
    await step(2);
    expect(run.ends).toEqual([{ kind: "aborted" }]);
  });
});

it("asks for no more steps when nothing is left to do, and starts again when something is", async () => {
  const { scheduler, step, isWaiting } = steppedScheduler();
  scheduler.submit(sequenceOf([0], 1).sequence);
  await step(1);
  expect(isWaiting()).toBe(false);
  const run = sequenceOf([0], 1);
  scheduler.submit(run.sequence);
  expect(isWaiting()).toBe(true);
  await step(1);
  expect(run.tokens).toEqual([1]);
});

const seed = Math.floor(Math.random() * 2 ** 31);
it(`loses no memory and no sequence, whatever is submitted and aborted (seed ${seed})`, async () => {
  const random = new Random(seed);
  const below = (limit: number) => Math.floor(random.next() * limit);
  const cacheTokens = 256;
  const { scheduler, cache, step } = steppedScheduler({ prefillTokens: 24 }, cacheTokens);
  const runs: Run[] = [];
  for (let i = 0; i < 2_000; i++) {
    const action = below(8);
    if (action === 0 && scheduler.hasRoom) {
      const prompt = Array.from({ length: 1 + below(80) }, (_, i) => (i < 48 ? i % 3 : below(6)));
      const first = sequenceOf(prompt, 1 + below(20));
      const others = Array.from({ length: below(3) }, () =>
        sequenceOf(prompt, 1 + below(20), undefined, first.sequence),
      );
      scheduler.submit(...[first, ...others].map((run) => run.sequence));
      runs.push(first, ...others);
    } else if (action === 1 && runs.length > 0) {
      const before = runs.length - 1 - below(Math.min(8, runs.length));
      scheduler.abort(runs[before].sequence);
      expect(runs[before].ends).toHaveLength(1);
    } else await step();
    expect(cache.reservedBytes).toBeLessThanOrEqual(cacheTokens * cache.bytesPerToken);
  }
  while (scheduler.running + scheduler.waiting > 0) await step();
  expect(cache.reservedBytes).toBe(0);
  expect(cache.open(cacheTokens)).toBeDefined();
  expect(runs.some((run) => run.cached > 0)).toBe(true);
  for (const run of runs) {
    expect(run.ends).toHaveLength(1);
    // The model counts on from the prompt's last token.
    const from = run.sequence.prompt.at(-1)! + 1;
    expect(run.tokens).toEqual(run.tokens.map((_, i) => from + i));
  }
});
