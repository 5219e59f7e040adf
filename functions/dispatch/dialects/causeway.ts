/** Our own engine: keeps the attempt contract (engine/server/README.md), so its streams may be relayed. */
import { COMMON_REFUSALS, type Dialect } from "./dialect.ts";

export const causeway: Dialect = {
  kind: "causeway",
  keepsAttempts: true,
  serves: ["top_k"],
  // Its attempts are asked for their counts instead.
  runningCounts: false,
  cacheSalt: { header: "x-causeway-cache-salt" },
  attemptId: { header: "x-causeway-attempt-id" },
  cachedTokens: [["prompt_tokens_details", "cached_tokens"]],
  reasoningTokens: [["completion_tokens_details", "reasoning_tokens"]],
  refusals: [{ status: 503, says: /"(draining|shutting_down)"/, means: "draining" }, ...COMMON_REFUSALS],
  abort: { by: "attempt" },
  // Always 200; the body says the state.
  health: {
    path: "/health",
    bearer: false,
    limitMs: 2_000,
    statuses: { 200: "up" },
    words: { ok: "up", draining: "draining", loading: "loading" },
    proves: true,
  },
  metrics: {
    running: [["causeway:num_requests_running"]],
    waiting: [["causeway:num_requests_waiting"]],
    cacheUse: [["causeway:kv_cache_usage_perc"]],
    prefixHits: [["causeway:prefix_cache_hits_total"]],
    prefixQueries: [["causeway:prefix_cache_queries_total"]],
    decodeSeconds: [["causeway:time_per_output_token_seconds_sum"]],
    decodeTokens: [["causeway:time_per_output_token_seconds_count"]],
    // It tells no time of prefill alone: outcomes do.
    prefillSeconds: [],
    prefillTokens: [],
  },
};
