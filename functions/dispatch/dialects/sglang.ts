/**
 * SGLang, as 0.5 was recorded. It answers 200 to a model that it does not have and echoes the name, so that a
 * wrong `served_as` shows only in its list of models (`readModels` in fleet/probe.ts).
 */
import { OPTIONAL_FIELDS } from "../../surfaces/openai/schema.ts";
import { COMMON_REFUSALS, type Dialect } from "./dialect.ts";

export const sglang: Dialect = {
  kind: "sglang",
  keepsAttempts: false,
  serves: OPTIONAL_FIELDS,
  runningCounts: true,
  cacheSalt: { field: "cache_salt" },
  // X-Request-Id is ignored; `rid` is what /abort_request goes by.
  attemptId: { field: "rid" },
  cachedTokens: [["prompt_tokens_details", "cached_tokens"]],
  // Beside the details, which are null.
  reasoningTokens: [["reasoning_tokens"], ["completion_tokens_details", "reasoning_tokens"]],
  refusals: [
    { status: 400, says: /longer than the model's context length/, means: "context_exceeded" },
    ...COMMON_REFUSALS,
  ],
  // Closing frees a running stream in 50 ms, and what has not begun to stream in 3 s: so it is told as well.
  // It aborts every request whose id begins with `rid`: an attempt's id has a fixed length but for its last
  // digit, and there are at most four attempts.
  abort: { by: "closing_and_posting", path: "/abort_request", body: (rid) => ({ rid }) },
  // Its health generates a token where nothing runs, and takes a full second. 503 is said while it starts and
  // while it drains, though new requests would be answered: either way it should get none.
  health: {
    path: "/health",
    bearer: false,
    limitMs: 5_000,
    statuses: { 200: "up", 503: "draining" },
    proves: true,
  },
  metrics: {
    running: [["sglang:num_running_reqs"]],
    waiting: [
      [
        "sglang:num_queue_reqs",
        "sglang:num_prefill_bootstrap_queue_reqs",
        "sglang:num_prefill_inflight_queue_reqs",
        "sglang:num_decode_prealloc_queue_reqs",
        "sglang:num_decode_transfer_queue_reqs",
      ],
    ],
    cacheUse: [["sglang:token_usage"]],
    prefixHits: [["sglang:cached_tokens_total"]],
    prefixQueries: [["sglang:prompt_tokens_total"]],
    decodeSeconds: [["sglang:inter_token_latency_seconds_sum"], ["sglang:time_per_output_token_seconds_sum"]],
    decodeTokens: [
      ["sglang:inter_token_latency_seconds_count"],
      ["sglang:time_per_output_token_seconds_count"],
    ],
    prefillSeconds: [],
    prefillTokens: [],
  },
};
