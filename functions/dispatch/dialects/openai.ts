/** Anything that is compatible with OpenAI's chat completions: only what all such servers understand. */
import { COMMON_REFUSALS, type Dialect } from "./dialect.ts";

export const openai: Dialect = {
  kind: "openai",
  keepsAttempts: false,
  serves: [],
  // Some refuse options that they do not know.
  runningCounts: false,
  cacheSalt: null,
  attemptId: null,
  // OpenAI's own place, Kimi's and DeepSeek's.
  cachedTokens: [["prompt_tokens_details", "cached_tokens"], ["cached_tokens"], ["prompt_cache_hit_tokens"]],
  reasoningTokens: [["completion_tokens_details", "reasoning_tokens"]],
  refusals: COMMON_REFUSALS,
  abort: { by: "closing" },
  // There is no common health route; most list their models, and one that says it does not is there all the same.
  health: {
    path: "/v1/models",
    bearer: true,
    limitMs: 5_000,
    statuses: { 200: "up", 404: "up", 405: "up" },
    proves: false,
  },
  metrics: null,
};
