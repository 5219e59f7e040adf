/**
 * Random tests of money: one seed for a run, printed when it begins, since a failure that cannot be repeated is
 * worth little. `VITE_FC_SEED=N` repeats a run, `VITE_FC_RUNS=N` makes it longer (Vite passes on VITE_* alone).
 */
const given = (import.meta as unknown as { env: Record<string, string | undefined> }).env;

export function random(test: string, runs: number): { seed: number; numRuns: number } {
  const seed = Number(given.VITE_FC_SEED ?? Date.now() % 2 ** 31);
  const numRuns = Number(given.VITE_FC_RUNS ?? runs);
  console.log(`${test}: ${numRuns} runs, VITE_FC_SEED=${seed}`);
  return { seed, numRuns };
}
