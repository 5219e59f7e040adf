import { expect, it } from "vitest";
import { Metrics } from "./metrics.ts";

const scheduler = { running: 2, waiting: 1, steps: 7, computedTokens: 20, weightBytes: 9_000 };
const gauges = { model: 'a "model"\\', ...scheduler, cacheUse: 0.25, cacheBytesPerToken: 3_200 };

it("counts tokens, endings and times under vLLM's names", () => {
  const metrics = new Metrics();
  metrics.prompt(40, 32);
  for (let i = 0; i < 3; i++) metrics.token();
  metrics.firstToken(250);
  metrics.nextToken(4);
  metrics.nextToken(100_000);
  metrics.end("stop");
  const text = metrics.text(gauges);
  const label = 'model_name="a \\"model\\"\\\\"';
  for (const line of [
    `causeway:num_requests_running{${label}} 2`,
    `causeway:num_requests_waiting{${label}} 1`,
    `causeway:kv_cache_usage_perc{${label}} 0.25`,
    `causeway:kv_cache_bytes_per_token{${label}} 3200`,
    `causeway:prefix_cache_queries_total{${label}} 40`,
    `causeway:prefix_cache_hits_total{${label}} 32`,
    `causeway:prompt_tokens_total{${label}} 40`,
    `causeway:generation_tokens_total{${label}} 3`,
    `causeway:engine_steps_total{${label}} 7`,
    `causeway:computed_tokens_total{${label}} 20`,
    `causeway:weight_bytes_read_total{${label}} 9000`,
    `causeway:request_success_total{${label},finished_reason="stop"} 1`,
    `causeway:time_to_first_token_seconds_bucket{${label},le="0.1"} 0`,
    `causeway:time_to_first_token_seconds_bucket{${label},le="0.25"} 1`,
    `causeway:time_to_first_token_seconds_bucket{${label},le="+Inf"} 1`,
    `causeway:time_to_first_token_seconds_sum{${label}} 0.25`,
    `causeway:time_per_output_token_seconds_bucket{${label},le="0.0025"} 0`,
    `causeway:time_per_output_token_seconds_bucket{${label},le="0.005"} 1`,
    `causeway:time_per_output_token_seconds_bucket{${label},le="80"} 1`,
    `causeway:time_per_output_token_seconds_bucket{${label},le="+Inf"} 2`,
    `causeway:time_per_output_token_seconds_count{${label}} 2`,
  ]) {
    expect(text.split("\n")).toContain(line);
  }
});

it("is lines of the exposition format and nothing else", () => {
  for (const line of new Metrics().text(gauges).trimEnd().split("\n")) {
    expect(line).toMatch(/^(# (HELP|TYPE) causeway:[a-z_]+ .+|causeway:[a-z_]+\{.+\} [0-9.e-]+)$/);
  }
});
