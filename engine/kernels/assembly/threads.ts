/**
 * How threads meet. A barrier spins for a while, which costs a fraction of a microsecond, and then sleeps, so that
 * a thread whose partner is not running leaves it the processor.
 */
import { arrivedAt, epochAt, failedAt, generationAt, sleepersAt, spinsAt, stopAt } from "../constants";

/** How long one sleep lasts before it looks whether another thread has failed: 50 ms in ns. */
const longestSleep: i64 = 50_000_000;

/** Until the word at `address` is not `old` any more. */
function waitWhile(address: usize, old: i32): void {
  const spins = load<i32>(spinsAt);
  for (let i = 0; i < spins; i++) if (atomic.load<i32>(address) !== old) return;
  // Who changes the word looks for sleepers after that; we are counted before we look at it again.
  atomic.add<i32>(sleepersAt, 1);
  while (atomic.load<i32>(address) === old) {
    atomic.wait<i32>(address, old, longestSleep);
    if (atomic.load<i32>(failedAt) !== 0) unreachable();
  }
  atomic.sub<i32>(sleepersAt, 1);
}

function change(address: usize, value: i32): void {
  atomic.store<i32>(address, value);
  if (atomic.load<i32>(sleepersAt) !== 0) atomic.notify(address, -1);
}

/** Returns when all threads have called it. */
export function barrier(threads: i32): void {
  if (threads === 1) return;
  const generation = atomic.load<i32>(generationAt);
  if (atomic.add<i32>(arrivedAt, 1) === threads - 1) {
    atomic.store<i32>(arrivedAt, 0);
    change(generationAt, generation + 1);
  } else {
    waitWhile(generationAt, generation);
  }
}

/** Thread 0: lets the others run the program. */
export function publish(): void {
  change(epochAt, atomic.load<i32>(epochAt) + 1);
}

/** The others: waits for a program, and says which epoch it is of. */
export function nextEpoch(seen: i32): i32 {
  waitWhile(epochAt, seen);
  return atomic.load<i32>(epochAt);
}

export function isStopped(): bool {
  return atomic.load<i32>(stopAt) !== 0;
}

/** For measuring how long a spin takes: as many as asked, on a word that nobody changes. */
export function spin(count: i32): i32 {
  let value = 0;
  for (let i = 0; i < count; i++) value += atomic.load<i32>(stopAt);
  return value;
}
