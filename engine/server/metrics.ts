/**
 * What the engine tells a Prometheus server: vLLM's metrics under vLLM's names with our prefix, so that its dashboards
 * and whoever routes by its signals read ours as well. The text is the exposition format 0.0.4.
 */

/** vLLM's buckets (vllm/v1/metrics/loggers.py), in seconds. */
const firstTokenBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640,
  2560,
];
const tokenBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
  40, 80,
];

export type Ending = "stop" | "length" | "tool_calls" | "abort" | "error";

/** The state of the moment, asked for with each reading. */
export interface Gauges {
  readonly model: string;
  readonly running: number;
  readonly waiting: number;
  /** 0 to 1. */
  readonly cacheUse: number;
  readonly cacheBytesPerToken: number;
  /** Totals of the scheduler. */
  readonly steps: number;
  readonly computedTokens: number;
  readonly weightBytes: number;
}

export class Metrics {
  readonly #firstToken = new Histogram(firstTokenBuckets);
  readonly #betweenTokens = new Histogram(tokenBuckets);
  readonly #endings = new Map<Ending, number>();
  #promptTokens = 0;
  #cachedTokens = 0;
  #generatedTokens = 0;

  /** A prefill begins. */
  prompt(tokens: number, cachedTokens: number): void {
    this.#promptTokens += tokens;
    this.#cachedTokens += cachedTokens;
  }

  token(): void {
    this.#generatedTokens++;
  }

  firstToken(sinceArrivalMs: number): void {
    this.#firstToken.observe(sinceArrivalMs / 1000);
  }

  nextToken(sinceLastMs: number): void {
    this.#betweenTokens.observe(sinceLastMs / 1000);
  }

  end(ending: Ending): void {
    this.#endings.set(ending, (this.#endings.get(ending) ?? 0) + 1);
  }

  text(gauges: Gauges): string {
    const label = `model_name="${gauges.model.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
    const one = (value: number): Sample[] => [["", label, value]];
    const endings = [...this.#endings].map(
      ([ending, count]): Sample => ["", `${label},finished_reason="${ending}"`, count],
    );
    return [
      metric("num_requests_running", "gauge", "Requests that are computed now.", one(gauges.running)),
      metric("num_requests_waiting", "gauge", "Requests that wait in the queue.", one(gauges.waiting)),
      metric("kv_cache_usage_perc", "gauge", "Part of the cache that running requests hold, 0 to 1.", one(gauges.cacheUse)),
      metric("kv_cache_bytes_per_token", "gauge", "Bytes that one token takes in the cache.", one(gauges.cacheBytesPerToken)),
      metric("prefix_cache_queries_total", "counter", "Prompt tokens looked up in the prefix cache.", one(this.#promptTokens)),
      metric("prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", one(this.#cachedTokens)),
      metric("prompt_tokens_total", "counter", "Prompt tokens, cached ones included.", one(this.#promptTokens)),
      metric("generation_tokens_total", "counter", "Tokens sampled.", one(this.#generatedTokens)),
      metric("engine_steps_total", "counter", "Forward passes.", one(gauges.steps)),
      metric("computed_tokens_total", "counter", "Tokens that they computed, of prompts and answers.", one(gauges.computedTokens)),
      metric("weight_bytes_read_total", "counter", "Bytes of weights that they read, each weight once a pass.", one(gauges.weightBytes)),
      metric("request_success_total", "counter", "Requests that ended, by how.", endings),
      metric("time_to_first_token_seconds", "histogram", "From the request's receipt to its first token.", this.#firstToken.samples(label)),
      metric("time_per_output_token_seconds", "histogram", "From one token of a request to its next.", this.#betweenTokens.samples(label)),
    ].join(""); // biome-ignore format: a table
  }
}

/** What follows the metric's name, its labels, its value. */
type Sample = readonly [suffix: string, labels: string, value: number];

function metric(name: string, type: string, help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([suffix, labels, value]) => `causeway:${name}${suffix}{${labels}} ${value}\n`);
  return `# HELP causeway:${name} ${help}\n# TYPE causeway:${name} ${type}\n${lines.join("")}`;
}

class Histogram {
  readonly #limits: readonly number[];
  /** One more than the limits: the last counts what is above them all. */
  readonly #counts: number[];
  #sum = 0;

  constructor(limits: readonly number[]) {
    this.#limits = limits;
    this.#counts = new Array(limits.length + 1).fill(0);
  }

  observe(value: number): void {
    const bucket = this.#limits.findIndex((limit) => value <= limit);
    this.#counts[bucket < 0 ? this.#limits.length : bucket]++;
    this.#sum += value;
  }

  samples(label: string): Sample[] {
    let count = 0;
    const buckets = this.#counts.map((inBucket, i): Sample => {
      count += inBucket;
      return ["_bucket", `${label},le="${this.#limits[i] ?? "+Inf"}"`, count];
    });
    return [...buckets, ["_sum", label, this.#sum], ["_count", label, count]];
  }
}
