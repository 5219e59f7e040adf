/** vLLM, as 0.32 was recorded. */
import { OPTIONAL_FIELDS } from "../../surfaces/openai/schema.ts";
import { COMMON_REFUSALS, type Dialect } from "./dialect.ts";

export const vllm: Dialect = {
  kind: "vllm",
  keepsAttempts: false,
  serves: OPTIONAL_FIELDS,
  // Running counts leave cached tokens out: only the last chunk has them.
  runningCounts: true,
  cacheSalt: { field: "cache_salt" },
  // It becomes a part of the answer's id, which the edge writes itself.
  attemptId: { header: "x-request-id" },
  cachedTokens: [["prompt_tokens_details", "cached_tokens"]],
  reasoningTokens: [["completion_tokens_details", "reasoning_tokens"]],
  refusals: [
    // After SIGTERM with --shutdown-timeout, while /health still says 200.
    { status: 500, says: /cannot schedule new futures after shutdown/, means: "draining" },
    { status: 400, says: /"param":\s*"input_tokens"/, means: "context_exceeded" },
    ...COMMON_REFUSALS,
  ],
  // A client that leaves frees its slot and its cache within 40 ms.
  abort: { by: "closing" },
  // It says 200 while it drains, and may say so once more after its engine was killed.
  health: {
    path: "/health",
    bearer: false,
    limitMs: 2_000,
    statuses: { 200: "up", 503: "down" },
    proves: false,
  },
  metrics: {
    running: [["vllm:num_requests_running"]],
    waiting: [["vllm:num_requests_waiting"]],
    cacheUse: [["vllm:kv_cache_usage_perc"], ["vllm:gpu_cache_usage_perc"]],
    prefixHits: [["vllm:prefix_cache_hits_total"], ["vllm:gpu_prefix_cache_hits_total"]],
    prefixQueries: [["vllm:prefix_cache_queries_total"], ["vllm:gpu_prefix_cache_queries_total"]],
    decodeSeconds: [["vllm:inter_token_latency_seconds_sum"], ["vllm:time_per_output_token_seconds_sum"]],
    decodeTokens: [["vllm:inter_token_latency_seconds_count"], ["vllm:time_per_output_token_seconds_count"]],
    prefillSeconds: [["vllm:request_prefill_time_seconds_sum"]],
    prefillTokens: [["vllm:request_prefill_kv_computed_tokens_sum"]],
  },
};
