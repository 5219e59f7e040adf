/**
 * What the edge costs and carries: with authentication, admission, routing and the exact ledger on, in the topology
 * that `npm start` runs, against a Worker that only forwards and against Portkey's gateway, in one run before one
 * upstream. On one machine they share its cores with the upstream and the load: the ratios are what counts.
 * Afterwards the account's hard cap under 1,000 requests at once.
 *
 *   node test/bench/edge.ts [seconds a figure]
 */
import { cpus } from "node:os";
import { audited, newAccount, read } from "../support/platform.ts";
import { ask, median, press, type Target } from "./edge/load.ts";
import {
  startCauseway,
  startPassThrough,
  startPortkey,
  startUpstream,
  type Upstream,
} from "./edge/targets.ts";
import { installPeers } from "./peers.ts";

const ROUNDS = 3;
const MS = (Number(process.argv[2] ?? 6) * 1_000) / ROUNDS;
const CHUNKS = 100;
const ALONE = 60;

installPeers();
const upstream = await startUpstream();
const passThrough = await startPassThrough(upstream.url);
const portkey = await startPortkey(upstream.url);
const causeway = await startCauseway(upstream.url);
const targets = [passThrough.target, portkey.target, causeway.relay, causeway.reading];

try {
  console.log(`${cpus()[0]!.model.trim()}, ${cpus().length} cores, Node ${process.version}`);
  console.log("Ratios are to the pass-through Worker; the ledger of Causeway is exact and on.\n");
  for (const target of targets) await press(target, { tokens: 4, stream: false, workers: 4, ms: 1_500 });
  for (const target of targets) await press(target, { tokens: CHUNKS, stream: true, workers: 4, ms: 1_500 });

  const json = await perSecond({ tokens: 4, stream: false, workers: 16 });
  const streams = await perSecond({ tokens: CHUNKS, stream: true, workers: 8 });
  const alone = await oneAfterAnother();
  heading();
  row("JSON requests/s, 16 at once", json, 0);
  row(`${CHUNKS}-chunk streams/s, 8 at once`, streams, 0);
  row("first byte of a stream, ms, alone", alone.firstByte, 2);
  row("JSON answer, ms, alone", alone.whole, 2);
  const added = (target: Target) => alone.whole.get(target)! - alone.whole.get(passThrough.target)!;
  console.log(
    `\nAdmission, routing and settlement add ${added(causeway.relay).toFixed(2)} ms (relay) and ${added(causeway.reading).toFixed(2)} ms (reading path) to a whole answer.`,
  );

  await cap(upstream);
  const audit = await audited(causeway.run).catch(async (error) => {
    console.log(
      JSON.stringify(
        await (
          await fetch(`${causeway.run.url}/admin/audit`, {
            headers: { authorization: `Bearer ${causeway.run.adminKey}` },
          })
        ).json(),
      ).slice(0, 3000),
    );
    console.log(causeway.run.output().slice(-3000));
    throw error;
  });
  console.log(`The audit of all books afterwards: ${audit.clean ? "clean" : "NOT CLEAN"}.`);
  if (!audit.clean) process.exitCode = 1;
} finally {
  await Promise.all([causeway.stop(), portkey.stop(), passThrough.stop()]);
  upstream.child.disconnect();
}

/** In turns, so that whatever else the machine does hits all alike; the median of the rounds. */
async function perSecond(how: { tokens: number; stream: boolean; workers: number }) {
  const rates = new Map<Target, number[]>(targets.map((target) => [target, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const target of targets)
      rates.get(target)!.push((await press(target, { ...how, ms: MS })).perSecond);
  }
  return new Map([...rates].map(([target, values]) => [target, median(values)]));
}

async function oneAfterAnother() {
  const firstByte = new Map<Target, number[]>(targets.map((target) => [target, []]));
  const whole = new Map<Target, number[]>(targets.map((target) => [target, []]));
  for (let round = 0; round < ALONE; round++) {
    for (const target of targets) {
      firstByte.get(target)!.push((await ask(target, CHUNKS, true)).firstByteMs);
      whole.get(target)!.push((await ask(target, 4, false)).totalMs);
    }
  }
  const medians = (all: Map<Target, number[]>) =>
    new Map([...all].map(([target, values]) => [target, median(values)]));
  return { firstByte: medians(firstByte), whole: medians(whole) };
}

function heading(): void {
  console.log(`${"".padEnd(36)}${targets.map(({ name }) => name.padStart(24)).join("")}`);
}

function row(name: string, values: ReadonlyMap<Target, number>, digits: number): void {
  const floor = values.get(passThrough.target)!;
  const cells = targets.map((target) => {
    const value = values.get(target)!;
    return `${value.toFixed(digits)} (${(value / floor).toFixed(2)})`.padStart(24);
  });
  console.log(`${name.padEnd(36)}${cells.join("")}`);
}

/** Money for exactly a hundred, a thousand at once, none of them answered before all are decided. */
async function cap({ child }: Upstream): Promise<void> {
  const { run, relay } = causeway;
  const target = (key: string): Target => ({ ...relay, headers: { authorization: `Bearer ${key}` } });
  child.send("hold");
  const probe = await newAccount(run, "1");
  const open = ask(target(probe.key), 10, false);
  let held = 0n;
  while (held === 0n)
    held = BigInt((await read<{ held_nanodollars: string }>(run, probe.key, "/v1/balance")).held_nanodollars);
  const funds = held * 100n;
  const text = `${funds / 1_000_000_000n}.${String(funds % 1_000_000_000n).padStart(9, "0")}`;
  const account = await newAccount(run, text);
  let refused = 0;
  const startedAt = performance.now();
  const answers = Array.from({ length: 1_000 }, async () => {
    const answer = await ask(target(account.key), 10, false);
    if (answer.status === 429 && ++refused === 900) child.send("release");
    return answer.status;
  });
  const late = setTimeout(() => child.send("release"), 60_000);
  const statuses = await Promise.all(answers);
  clearTimeout(late);
  await open;
  const balance = await read<{ balance_nanodollars: string }>(run, account.key, "/v1/balance");
  const served = statuses.filter((status) => status === 200).length;
  const spent = funds - BigInt(balance.balance_nanodollars);
  console.log(
    `\nHard cap: 1,000 requests at once on money for 100: ${served} served, ${refused} refused with 429, in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s.`,
  );
  const overshoot = spent > funds ? spent - funds : 0n;
  console.log(`Spent ${spent} of ${funds} nanodollars: overshoot ${overshoot}.`);
  if (overshoot > 0n || served > 100) process.exitCode = 1;
}
