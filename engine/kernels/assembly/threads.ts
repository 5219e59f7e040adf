/**
 * How threads share a command. It has phases, and a phase has pieces that any thread may take, one after the other;
 * who finishes a phase's last piece opens the next phase. So nobody waits for a thread that does not run now, unless
 * it holds a piece: on a machine that others use as well, a barrier of all threads would wait for all of them.
 *
 * One 64-bit word says it all, so that it changes at once: generation (32 bits), pieces of the phase (16), pieces
 * taken (16). While a piece is not done the command and its phase stay as they are.
 */
import { claimAt, doneAt, failedAt, mainSleepsAt, phaseAt, sleepersAt, spinsAt, stopAt } from "../constants";
import { perform, piecesOf } from "./commands";

/** How long one sleep lasts before it looks whether another thread has failed: 50 ms in ns. */
const longestSleep: i64 = 50_000_000;

function piecesIn(word: u64): i32 {
  return <i32>((word >> 16) & 0xffff);
}

function takenIn(word: u64): i32 {
  return <i32>(word & 0xffff);
}

/** Opens the next phase that has pieces from `phase` on, or says that there is none: a word without pieces. */
function open(phase: i32): void {
  let pieces = piecesOf(phase);
  while (pieces === 0) pieces = piecesOf(++phase);
  store<i32>(phaseAt, phase);
  atomic.store<i32>(doneAt, 0);
  const generation = (atomic.load<u64>(claimAt) >> 32) + 1;
  atomic.store<u64>(claimAt, (generation << 32) | ((<u64>max(pieces, 0)) << 16));
  if (atomic.load<i32>(mainSleepsAt) !== 0) atomic.notify(claimAt, -1);
}

/** Takes a piece of the phase that `word` speaks of and does it. */
function takeOne(word: u64, thread: i32): void {
  if (atomic.cmpxchg<u64>(claimAt, word, word + 1) !== word) return;
  const phase = load<i32>(phaseAt);
  perform(phase, takenIn(word), thread);
  if (atomic.add<i32>(doneAt, 1) + 1 === piecesIn(word)) open(phase + 1);
}

/** Thread 0, alone: every piece of every phase, in order. */
export function runAlone(): void {
  let phase = 0;
  for (let pieces = piecesOf(0); pieces >= 0; pieces = piecesOf(++phase)) {
    for (let piece = 0; piece < pieces; piece++) perform(phase, piece, 0);
  }
}

/** Thread 0: the command, together with whoever is awake. Returns when it is done. */
export function runShared(): void {
  open(0);
  if (atomic.xchg<i32>(sleepersAt, 0) !== 0) atomic.notify(claimAt, -1);
  let word = atomic.load<u64>(claimAt);
  while (piecesIn(word) !== 0) {
    if (takenIn(word) < piecesIn(word)) takeOne(word, 0);
    else if (!spinWhile(word)) {
      atomic.store<i32>(mainSleepsAt, 1);
      atomic.wait<u64>(claimAt, word, longestSleep);
      atomic.store<i32>(mainSleepsAt, 0);
      if (atomic.load<i32>(failedAt) !== 0) unreachable();
    }
    word = atomic.load<u64>(claimAt);
  }
}

/** Another thread: takes pieces, until it is told to stop. */
export function work(thread: i32): void {
  while (atomic.load<i32>(stopAt) === 0) {
    const word = atomic.load<u64>(claimAt);
    if (takenIn(word) < piecesIn(word)) takeOne(word, thread);
    else if (!spinWhile(word)) {
      // Counted before the word is looked at again: who changes it wakes us, or we do not fall asleep.
      atomic.add<i32>(sleepersAt, 1);
      atomic.wait<u64>(claimAt, word, -1);
    }
  }
}

/** Whether the word changed within the time of a spin. */
function spinWhile(word: u64): bool {
  const spins = load<i32>(spinsAt);
  for (let i = 0; i < spins; i++) if (atomic.load<u64>(claimAt) !== word) return true;
  return false;
}

/** Lets all threads end that wait for work. */
export function stop(): void {
  atomic.store<i32>(stopAt, 1);
  atomic.store<u64>(claimAt, ((atomic.load<u64>(claimAt) >> 32) + 1) << 32);
  atomic.notify(claimAt, -1);
}

/** For measuring how long a spin takes: as many looks as asked, at a word that nobody changes. */
export function spin(count: i32): i32 {
  let seen = 0;
  for (let i = 0; i < count; i++) if (atomic.load<u64>(claimAt) === 0) seen++;
  return seen;
}
