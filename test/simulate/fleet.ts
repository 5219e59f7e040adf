/**
 * A fleet, its callers and an edge in one discrete-event simulation: pure, and the same for the same seed. The edge
 * decides with the router as it is; the servers batch, queue, refuse, die and stop. Time is in milliseconds.
 */
import { begin, observe } from "../../router/health.ts";
import { decide } from "../../router/place.ts";
import { createPrefixIndex, insertPrefix } from "../../router/prefix.ts";
import { countRequest, NO_REQUESTS, type RetryBudget, takeRetry } from "../../router/retryBudget.ts";
import type { BackendView, FleetView, Outcome, RouteRequest } from "../../router/types.ts";
import { exponential, seeded } from "./random.ts";

export interface ServerSpec {
  readonly id: string;
  readonly region: string;
  readonly distanceMs: number;
  readonly maxConcurrent: number;
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecond: number;
}

/** `die`: connections close and are refused. `stop`: it accepts and says nothing. `fail`: an error in 1 ms. */
export interface Fault {
  readonly atMs: number;
  readonly server: string;
  readonly does: "die" | "stop" | "fail" | "recover";
}

export interface Setting {
  readonly seed: number;
  readonly servers: readonly ServerSpec[];
  readonly requestsPerSecond: number;
  readonly seconds: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly faults?: readonly Fault[];
  /** How old the view of load may be: 0, the pool is asked each time. */
  readonly viewAgeMs?: number;
  /** How long a caller waits for a first token before the next attempt. */
  readonly patienceMs?: number;
}

/** One request, after the fact. `cut`: its stream died after the first token. */
export interface Story {
  readonly atMs: number;
  attempts: number;
  ending: "served" | "cut" | "failed" | "shed" | "open";
  ttftMs: number;
  backend: string;
  endedAtMs: number;
}

const MAX_ATTEMPTS = 4;
const MODEL = "model";

export function simulate(setting: Setting): Story[] {
  const random = seeded(setting.seed);
  const clock = createClock();
  const servers = new Map(setting.servers.map((spec) => [spec.id, createServer(spec, clock)]));
  const edge = createEdge(setting, servers, clock, random);
  const endMs = setting.seconds * 1000;
  for (const { atMs, server, does } of setting.faults ?? []) {
    clock.at(atMs, () => servers.get(server)!.suffer(does));
  }
  const arrive = () => {
    if (clock.nowMs() >= endMs) return;
    edge.ask();
    clock.at(clock.nowMs() + exponential(random, setting.requestsPerSecond) * 1000, arrive);
  };
  clock.at(0, arrive);
  clock.run();
  return edge.stories;
}

/** Requests a second that the servers can finish, each with all places taken. */
export function capacityPerSecond({
  servers,
  promptTokens,
  outputTokens,
}: Pick<Setting, "servers" | "promptTokens" | "outputTokens">) {
  return servers.reduce((sum, spec) => {
    const decoding = spec.maxConcurrent / ((outputTokens / spec.decodeTokensPerSecond) * 2);
    return sum + Math.min(decoding, spec.prefillTokensPerSecond / promptTokens);
  }, 0);
}

/** Of the requests that came in each second: the share served whole, with a first token in time. */
export function goodput(stories: readonly Story[], goodMs: number): number[] {
  const seconds: { good: number; all: number }[] = [];
  for (const story of stories) {
    const second = (seconds[Math.floor(story.atMs / 1000)] ??= { good: 0, all: 0 });
    second.all++;
    if (story.ending === "served" && story.ttftMs <= goodMs) second.good++;
  }
  return Array.from(seconds, (second) => (second ? second.good / second.all : 1));
}

// The clock.

interface Clock {
  nowMs(): number;
  at(atMs: number, run: () => void): void;
  run(): void;
}

/** Events in the order of their time, and of their making where that is equal. A binary heap. */
function createClock(): Clock {
  const heap: { atMs: number; order: number; run: () => void }[] = [];
  let now = 0;
  let order = 0;
  const before = (a: number, b: number) =>
    heap[a]!.atMs < heap[b]!.atMs || (heap[a]!.atMs === heap[b]!.atMs && heap[a]!.order < heap[b]!.order);
  const swap = (a: number, b: number) => ([heap[a], heap[b]] = [heap[b]!, heap[a]!]);
  return {
    nowMs: () => now,
    at(atMs, run) {
      heap.push({ atMs: Math.max(atMs, now), order: order++, run });
      for (let at = heap.length - 1; at > 0 && before(at, (at - 1) >> 1); at = (at - 1) >> 1) {
        swap(at, (at - 1) >> 1);
      }
    },
    run() {
      while (heap.length > 0) {
        const next = heap[0]!;
        const last = heap.pop()!;
        if (heap.length > 0) {
          heap[0] = last;
          for (let at = 0; ; ) {
            let least = at;
            for (const child of [2 * at + 1, 2 * at + 2]) {
              if (child < heap.length && before(child, least)) least = child;
            }
            if (least === at) break;
            swap(at, least);
            at = least;
          }
        }
        now = next.atMs;
        next.run();
      }
    },
  };
}

// A server.

interface Job {
  readonly promptTokens: number;
  readonly outputTokens: number;
  answer(event: "first" | "end" | "error" | "busy"): void;
}

interface Server {
  readonly spec: ServerSpec;
  take(job: Job): void;
  suffer(fault: Fault["does"]): void;
}

/** Prompts one after another, decoding together and slower for it; as many wait as run, the rest are refused. */
function createServer(spec: ServerSpec, clock: Clock): Server {
  let state: "up" | "down" | "stopped" | "failing" = "up";
  let prefillFreeMs = 0;
  const running = new Set<Job>();
  const queue: Job[] = [];
  let stuck: (() => void)[] = [];

  /** Later, unless the job died; a stopped process does it when it goes on. */
  const later = (atMs: number, job: Job, run: () => void) => {
    clock.at(atMs, () => {
      if (!running.has(job)) return;
      if (state === "stopped") stuck.push(run);
      else run();
    });
  };
  const start = (job: Job) => {
    running.add(job);
    const firstMs =
      Math.max(clock.nowMs(), prefillFreeMs) + (job.promptTokens / spec.prefillTokensPerSecond) * 1000;
    prefillFreeMs = firstMs;
    const alone = (job.outputTokens / spec.decodeTokensPerSecond) * 1000;
    later(firstMs, job, () => {
      job.answer("first");
      later(clock.nowMs() + alone * (1 + running.size / spec.maxConcurrent), job, () => {
        running.delete(job);
        job.answer("end");
        const next = queue.shift();
        if (next) start(next);
      });
    });
  };
  const killAll = () => {
    const all = [...running, ...queue.splice(0)];
    running.clear();
    stuck = [];
    prefillFreeMs = 0;
    for (const job of all) job.answer("error");
  };
  return {
    spec,
    take(job) {
      if (state === "down" || state === "failing") job.answer("error");
      else if (state === "stopped") stuck.push(() => this.take(job));
      else if (running.size < spec.maxConcurrent) start(job);
      else if (queue.length < spec.maxConcurrent) queue.push(job);
      else job.answer("busy");
    },
    suffer(fault) {
      state = ({ die: "down", stop: "stopped", fail: "failing", recover: "up" } as const)[fault];
      if (fault === "die" || fault === "fail") killAll();
      if (fault !== "recover") return;
      prefillFreeMs = Math.max(prefillFreeMs, clock.nowMs());
      for (const run of stuck.splice(0)) run();
    },
  };
}

// The edge.

function createEdge(setting: Setting, servers: Map<string, Server>, clock: Clock, random: () => number) {
  const { promptTokens, outputTokens, viewAgeMs = 0, patienceMs = 20_000 } = setting;
  const stories: Story[] = [];
  const placed = new Map<string, number>();
  const pending = new Map<string, number>();
  const prefixes = createPrefixIndex();
  let budget: RetryBudget = NO_REQUESTS;
  let fleet: FleetView = { version: 0, backends: [], health: {}, prefixes };
  let seenAtMs = Number.NEGATIVE_INFINITY;

  const add = (counts: Map<string, number>, id: string, by: number) =>
    counts.set(id, (counts.get(id) ?? 0) + by);
  const look = (nowMs: number) => {
    if (nowMs - seenAtMs < viewAgeMs) return;
    seenAtMs = nowMs;
    const backends: BackendView[] = setting.servers.map((spec) => ({
      ...spec,
      model: MODEL,
      state: "active",
      placed: placed.get(spec.id) ?? 0,
      pendingPrefillTokens: pending.get(spec.id) ?? 0,
    }));
    fleet = { ...fleet, version: fleet.version + 1, backends, loadAgeMs: viewAgeMs };
  };
  const learn = (outcome: Outcome) => {
    fleet = observe(fleet, outcome, clock.nowMs());
  };

  function attempt(story: Story, exclude: readonly string[]): void {
    const nowMs = clock.nowMs();
    look(nowMs);
    const request: RouteRequest = {
      model: MODEL,
      promptTokens,
      maxOutput: outputTokens,
      expectedOutput: outputTokens,
      blocks: [],
      salt: "account",
      edgeZone: "",
      preferences: {},
      exclude,
      budgetMs: patienceMs,
    };
    const decision = decide(request, fleet, nowMs, random);
    if (decision.kind !== "placed") {
      story.ending = story.attempts === 0 ? "shed" : "failed";
      story.endedAtMs = nowMs;
      return;
    }
    const id = decision.placements[0]!.decode;
    const oneWayMs = servers.get(id)!.spec.distanceMs / 2;
    story.attempts++;
    fleet = begin(fleet, id, nowMs);
    add(placed, id, 1);
    add(pending, id, promptTokens);
    insertPrefix(prefixes, request.salt, request.blocks, id);

    let phase: "waiting" | "streaming" | "over" = "waiting";
    const noLongerPending = () => phase === "waiting" && add(pending, id, -promptTokens);
    const over = () => {
      noLongerPending();
      phase = "over";
      add(placed, id, -1);
    };
    const next = (kind: "failed" | "silent" | "refused") => {
      const waitedMs = clock.nowMs() - nowMs;
      over();
      learn({ backend: id, kind, waitedMs });
      const allowed = takeRetry(budget, clock.nowMs(), kind === "refused" ? "refused" : "failed");
      if (allowed && story.attempts < MAX_ATTEMPTS) {
        budget = allowed;
        attempt(story, [...exclude, id]);
      } else {
        story.ending = "failed";
        story.endedAtMs = clock.nowMs();
      }
    };
    const hear = (event: "first" | "end" | "error" | "busy") => {
      if (phase === "over") return;
      if (event === "first") {
        noLongerPending();
        phase = "streaming";
        learn({ backend: id, kind: "served", waitedMs: clock.nowMs() - nowMs });
        story.ttftMs = clock.nowMs() - story.atMs;
        story.backend = id;
      } else if (phase === "waiting") next(event === "busy" ? "refused" : "failed");
      else {
        over();
        story.ending = event === "end" ? "served" : "cut";
        story.endedAtMs = clock.nowMs();
        if (event === "error") learn({ backend: id, kind: "failed" });
      }
    };
    const answer = (event: "first" | "end" | "error" | "busy") =>
      clock.at(clock.nowMs() + oneWayMs + 1, () => hear(event));
    clock.at(nowMs + oneWayMs, () => servers.get(id)!.take({ promptTokens, outputTokens, answer }));
    clock.at(nowMs + patienceMs, () => phase === "waiting" && next("silent"));
  }

  return {
    stories,
    ask(): void {
      const atMs = clock.nowMs();
      const story: Story = { atMs, attempts: 0, ending: "open", ttftMs: 0, backend: "", endedAtMs: 0 };
      stories.push(story);
      budget = countRequest(budget, atMs);
      attempt(story, []);
    },
  };
}
