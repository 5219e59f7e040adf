/**
 * How long a decision takes: 1,000 backends of one model, 100,000 pairs of block and backend in the prefix index,
 * health known of every backend. Prints microseconds a decision, the ratio to the aim, and to scoring and sorting
 * all of them as objects, measured in turns in the same run.
 *
 *   node test/bench/route.ts [decisions]
 */
import { cpus } from "node:os";
import { candidatesOf } from "../../router/candidates.ts";
import { noTerms, question, weigh } from "../../router/cost.ts";
import { boundsOf, whyNot } from "../../router/filter.ts";
import { withBackends, withHealth } from "../../router/fleet.ts";
import { begin, observe } from "../../router/health.ts";
import { explain, place } from "../../router/place.ts";
import { createPrefixIndex, insertPrefix, matchPrefix } from "../../router/prefix.ts";
import { regionTroubles } from "../../router/standing.ts";
import type { BackendView, FleetView, RouteRequest } from "../../router/types.ts";
import { seeded } from "../simulate/random.ts";

const AIM_MICROSECONDS = 200;
const BACKENDS = 1_000;
const PAIRS = 100_000;
const MODEL = "deepseek-v4-flash";
const NOW_MS = 1_800_000_000_000;
const decisions = Number(process.argv[2] ?? 3_000);
const random = seeded(10);

const prefixes = createPrefixIndex(PAIRS);
const backends = Array.from({ length: BACKENDS }, (_, index) => backendAt(index));
const conversations = fill();
let fleet: FleetView = { version: 1, backends, health: {}, prefixes };
for (const { id } of backends) {
  fleet = observe(fleet, { backend: id, kind: "served", waitedMs: 200 + random() * 300 }, NOW_MS - 5_000);
  if (random() < 0.1) fleet = observe(fleet, { backend: id, kind: "failed", waitedMs: 5 }, NOW_MS - 2_000);
}
const requests = conversations.map(({ salt, blocks }) => requestOf(salt, blocks));
const everywhere = requestOf("everyone", conversations[0]!.blocks.slice(0, 8));
const systemPrompt = Array.from({ length: 8 }, (_, depth) => `system.${depth}`);
for (const { id } of backends) insertPrefix(prefixes, "everyone", systemPrompt, id);

let pool: FleetView = { version: 1, backends: backends.slice(0, 50), health: {} };

/** The same after an outcome; what one placement and what a pool of 83 has to tell; and all that is known, anew. */
let after = fleet;
let loads = backends;
let poolsLoads = backends;
let poolsHealth: FleetView["health"] = {};
let anew = fleet;

const rows = {
  "place: 10 best, 64 blocks": () => place(next(), fleet, NOW_MS, random),
  "place: prefix on all 1,000": () => place({ ...everywhere, blocks: systemPrompt }, fleet, NOW_MS, random),
  "place: an outcome since": () => place(next(), after, NOW_MS, random),
  "place: another load since": () => place(next(), withBackends(fleet, loads), NOW_MS, random),
  "place: a pool's view since": () =>
    place(next(), withBackends(withHealth(fleet, poolsHealth), poolsLoads), NOW_MS, random),
  "place: all health new": () => place(next(), anew, NOW_MS, random),
  "explain: and why not, each": () => explain(next(), fleet, NOW_MS, random),
  "score and sort all": () => sortAll(next()),
  "insert a prompt's 64 blocks": () => {
    const { salt, blocks } = next();
    insertPrefix(prefixes, salt, blocks, backends[Math.floor(random() * BACKENDS)]!.id);
  },
  "begin and observe, pool of 50": () => {
    const backend = pool.backends[Math.floor(random() * 50)]!.id;
    pool = observe(begin(pool, backend, NOW_MS), { backend, kind: "served", waitedMs: 250 }, NOW_MS);
  },
};

const times = new Map(Object.keys(rows).map((name) => [name, new Float64Array(decisions)]));
for (let warm = 0; warm < 300; warm++) for (const run of Object.values(rows)) run();
// In turns, so that whatever else the machine does hits all alike.
for (let round = 0; round < decisions; round++) {
  for (const [name, run] of Object.entries(rows)) {
    const at = Math.floor(random() * BACKENDS);
    after = observe(fleet, { backend: backends[at]!.id, kind: "served", waitedMs: 250 }, NOW_MS);
    loads = backends.with(at, { ...backends[at]!, placed: Math.floor(random() * 64) });
    const isTold = (one: number) => one % 12 === at % 12;
    poolsLoads = backends.map((backend, one) => (isTold(one) ? { ...backend } : backend));
    const told = backends.filter((_, one) => isTold(one)).map(({ id }) => [id, { ...fleet.health[id]! }]);
    poolsHealth = Object.fromEntries(told);
    anew = { ...fleet, health: { ...fleet.health } };
    const start = process.hrtime.bigint();
    run();
    times.get(name)![round] = Number(process.hrtime.bigint() - start) / 1000;
  }
}

const sorted = times.get("score and sort all")!.toSorted();
console.log(`${cpus()[0]!.model}, Node ${process.version}, ${decisions} rounds`);
console.log(
  `${BACKENDS} backends, ${prefixes.pairs} cached blocks; the aim is ${AIM_MICROSECONDS} us a decision`,
);
console.log(`${"".padEnd(30)}    min us median us    p99 us  of the aim  of sort all`);
for (const [name, all] of times) {
  const values = all.toSorted();
  const median = quantile(values, 0.5);
  const cells = [
    values[0]!.toFixed(1).padStart(9),
    median.toFixed(1).padStart(9),
    quantile(values, 0.99).toFixed(1).padStart(9),
    (median / AIM_MICROSECONDS).toFixed(2).padStart(11),
    (median / quantile(sorted, 0.5)).toFixed(2).padStart(12),
  ];
  console.log(`${name.padEnd(30)} ${cells.join(" ")}`);
}

function backendAt(index: number): BackendView {
  return {
    id: `bknd_${index.toString().padStart(26, "0")}`,
    name: `node-${index}`,
    region: `region-${index % 12}`,
    model: MODEL,
    state: index % 50 === 49 ? "draining" : "active",
    distanceMs: 5 + (index % 12) * 15,
    chip: index % 3 === 0 ? "npu" : "gpu",
    contextLength: 1_048_576,
    tools: true,
    price: { input: 0.15, cachedInput: 0.003, output: 0.6 },
    placed: Math.floor(random() * 64),
    running: Math.floor(random() * 48),
    waiting: Math.floor(random() * 8),
    cacheUsage: random(),
    pendingPrefillTokens: Math.floor(random() * 20_000),
    maxConcurrent: 48,
    prefillTokensPerSecond: 8_000 + random() * 4_000,
    decodeTokensPerSecond: 40 + random() * 20,
  };
}

/** Conversations of 64 blocks, the first 16 shared by all of an account, each on one to three backends. */
function fill(): { salt: string; blocks: string[] }[] {
  const all: { salt: string; blocks: string[] }[] = [];
  while (prefixes.pairs < PAIRS - 200) {
    const salt = `acct_${Math.floor(random() * 100)}`;
    const own = all.length;
    const blocks = Array.from({ length: 64 }, (_, depth) =>
      depth < 16 ? `${salt}.${depth}` : `${salt}.${own}.${depth}`,
    );
    for (let copies = 1 + Math.floor(random() * 3); copies > 0; copies--) {
      insertPrefix(prefixes, salt, blocks, backends[Math.floor(random() * BACKENDS)]!.id);
    }
    all.push({ salt, blocks });
  }
  return all;
}

function requestOf(salt: string, blocks: readonly string[]): RouteRequest {
  return {
    model: MODEL,
    promptTokens: 64 * 128 + 50,
    maxOutput: 1_024,
    blocks,
    blockTokens: 128,
    salt,
    edgeZone: "weur",
    tools: true,
    preferences: { ignore: ["region-11"] },
    residency: Array.from({ length: 11 }, (_, region) => `region-${region}`),
    exclude: [],
    budgetMs: 60_000,
  };
}

function next(): RouteRequest {
  return requests[Math.floor(random() * requests.length)]!;
}

/** What one writes first: every candidate an object with its terms, all of them sorted. */
function sortAll(request: RouteRequest) {
  const all = candidatesOf(fleet.backends);
  const candidates = all.byModel.get(MODEL)!;
  const bounds = boundsOf(request, all.regions);
  const healths = candidates.map(({ id }) => fleet.health[id]);
  const troubles = regionTroubles(all.regions.length, candidates, healths, NOW_MS);
  const asked = question(request, fleet, all, troubles, NOW_MS);
  const blocks = new Map<string, number>();
  matchPrefix(prefixes, request.salt, request.blocks, (backend, many) => blocks.set(backend, many));
  return candidates
    .filter((candidate) => whyNot(candidate, bounds, fleet.health[candidate.id], NOW_MS) === undefined)
    .map((candidate) => {
      const terms = noTerms();
      const cached = (blocks.get(candidate.id) ?? 0) * 128;
      const cost = weigh(candidate, asked, fleet.health[candidate.id], cached, random() / 1000, terms);
      return { prefill: candidate.id, decode: candidate.id, region: candidate.backend.region, cost, terms };
    })
    .sort((a, b) => a.cost - b.cost);
}

function quantile(values: Float64Array, share: number): number {
  return values[Math.min(values.length - 1, Math.floor(values.length * share))]!;
}
