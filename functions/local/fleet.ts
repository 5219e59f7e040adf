/** What a local run consists of: the model, the regions that this machine plays, an engine in each. */

/** What the banner says of the model, line by line. */
export const about = [
  "An interim model in DeepSeek-V3's architecture (mixture of experts, multi-head latent attention):",
  "13.6 million parameters, trained on little. It answers short questions about Causeway and its field;",
  "it is no general assistant, and what it says of anything else is made up.",
];

export const model = {
  id: "causeway-probe",
  name: "Causeway Probe",
  folder: "engine/model",
  description: about.join(" "),
  contextLength: 4096,
  defaultMaxOutputTokens: 1024,
  /** US dollars per million tokens. */
  price: { input: "0.15", cached_input: "0.015", output: "0.60" },
} as const;

export interface Region {
  readonly id: string;
  readonly name: string;
  /** Where it is, in the names of Durable Object location hints. */
  readonly zone: string;
  /** Under whose law it stands: what an account's residency names. */
  readonly jurisdiction: string;
  /** The way there that a simulated region pretends. */
  readonly simulatedDistanceMs: number;
}

export const regions: readonly Region[] = [
  { id: "us-east", name: "US East", zone: "enam", jurisdiction: "us", simulatedDistanceMs: 0 },
  { id: "eu-west", name: "EU West", zone: "weur", jurisdiction: "eu", simulatedDistanceMs: 40 },
  { id: "ap-east", name: "AP East", zone: "apac", jurisdiction: "ap", simulatedDistanceMs: 90 },
];

export interface Engine {
  readonly id: string;
  readonly name: string;
  readonly region: string;
  /** What the region is said to have. It runs on this machine's CPU. */
  readonly plays: "gpu" | "npu";
  /** Taken where it is free, so that a restarted engine finds it again; otherwise any. */
  readonly port: number;
}

/** What an engine runs at once, and lets wait: the defaults of its `--max-sequences` and `--max-queue`. */
export const limits = { maxConcurrent: 8, maxWaiting: 64 } as const;

export const engines: readonly Engine[] = [
  { id: "bknd_us-east-1", name: "us-east-1", region: "us-east", plays: "gpu", port: 8801 },
  { id: "bknd_eu-west-1", name: "eu-west-1", region: "eu-west", plays: "gpu", port: 8802 },
  { id: "bknd_ap-east-1", name: "ap-east-1", region: "ap-east", plays: "npu", port: 8803 },
];
