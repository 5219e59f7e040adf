/**
 * The engine against llama.cpp (node-llama-cpp) on the same random weights of DeepSeek-V3's architecture, and against
 * the plain read of the bytes that a step must read: prefill and decode, one sequence and eight, in turns in one run.
 * The weights are read plainly by the same threads, from where they lie, before and after every few steps of a decode:
 * memory's speed changes within a run, and a bound of another minute would be none.
 *
 *   node test/bench/engine.ts [f32|int8] [threads]
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { RandomWeights } from "../../engine/checkpoint/random.ts";
import { openOps } from "../../engine/kernels/ops.ts";
import { plainRead } from "../../engine/kernels/plain-read.ts";
import { type Measured, Workload } from "../../engine/models/workload.ts";
import { median } from "./edge/load.ts";
import { type Shape, writeGguf } from "./engine/gguf.ts";
import { installPeers, peersFolder } from "./peers.ts";

/** 635 million parameters: more than any cache holds, and quick enough to write. */
const SHAPE: Shape = {
  hidden_size: 1024,
  num_hidden_layers: 12,
  first_k_dense_replace: 1,
  n_routed_experts: 32,
  num_experts_per_tok: 4,
  n_shared_experts: 1,
  moe_intermediate_size: 512,
  intermediate_size: 2816,
  num_attention_heads: 16,
  q_lora_rank: 512,
  kv_lora_rank: 256,
  qk_rope_head_dim: 32,
  qk_nope_head_dim: 64,
  v_head_dim: 64,
  vocab_size: 8192,
  max_position_embeddings: 4096,
};
const CONFIG = {
  ...SHAPE,
  architectures: ["DeepseekV3ForCausalLM"],
  model_type: "deepseek_v3",
  num_key_value_heads: SHAPE.num_attention_heads,
  n_group: 1,
  topk_group: 1,
  topk_method: "noaux_tc",
  scoring_func: "sigmoid",
  norm_topk_prob: true,
  routed_scaling_factor: 1,
  rope_theta: 10_000,
  rms_norm_eps: 1e-6,
  hidden_act: "silu",
  tie_word_embeddings: false,
  eos_token_id: SHAPE.vocab_size - 1,
};
const SEED = 1;
const ROUNDS = 3;
const PROMPT = 512;
const STEPS = 32;
/** Steps of ours between two plain reads. */
const TURN = 8;
const SEQUENCES = 8;

const weights = process.argv[2] === "f32" ? "f32" : "int8";
const threads = Number(process.argv[3] ?? availableParallelism());

installPeers();
const path = await gguf();
const llama = await startLlama();
const ops = await openOps({ weights, threads });
/** The weights are packed one after another, from here on. */
const weightsAt = ops.allocatedBytes;
const workload = await Workload.fromConfig(
  CONFIG,
  {
    ops,
    stepTokens: PROMPT,
    sequences: SEQUENCES,
    sequenceTokens: 1024,
  },
  new RandomWeights(SEED),
);
await llama.tell({
  do: "load",
  path,
  threads,
  sequences: SEQUENCES,
  sequenceTokens: 1024,
  vocabulary: SHAPE.vocab_size,
});

interface Row {
  readonly name: string;
  readonly sequences: number;
  readonly ours: Measured[];
  readonly theirs: number[];
  /** Plain reads in turns with a decode, bytes a second. */
  readonly reads: number[];
}
const rows: Row[] = [
  { name: `prefill of ${PROMPT} tokens`, sequences: 1, ours: [], theirs: [], reads: [] },
  { name: "decode, 1 sequence", sequences: 1, ours: [], theirs: [], reads: [] },
  { name: "decode, 8 sequences", sequences: SEQUENCES, ours: [], theirs: [], reads: [] },
];

// The first rounds warm both up: compilers here, pages there.
workload.prefill(1, PROMPT);
workload.decode(8);
await llama.tell({ do: "prefill", sequences: 1, tokens: PROMPT });
await llama.tell({ do: "decode", sequences: 1, steps: 8 });
for (let round = 0; round < ROUNDS; round++) {
  const [prefill, one, eight] = rows as [Row, Row, Row];
  prefill.ours.push(workload.prefill(1, PROMPT));
  prefill.theirs.push(await llama.perSecond({ do: "prefill", sequences: 1, tokens: PROMPT }));
  for (const row of [one, eight]) {
    workload.prefill(row.sequences, 64);
    row.reads.push(readWeights());
    for (let step = 0; step < STEPS; step += TURN) {
      row.ours.push(workload.decode(TURN));
      row.reads.push(readWeights());
    }
    await llama.tell({ do: "prefill", sequences: row.sequences, tokens: 64 });
    row.theirs.push(await llama.perSecond({ do: "decode", sequences: row.sequences, steps: STEPS }));
  }
}
print();
workload.close();
llama.child.disconnect();

function readWeights(): number {
  return plainRead(ops, weightsAt, Math.floor(workload.weightBytes / 64) * 64);
}

/** Written once: 0.7 GB. */
async function gguf(): Promise<string> {
  const folder = join(import.meta.dirname, "../../.causeway/build/bench");
  const whole = join(folder, `random-${SEED}-q8_0.gguf`);
  if (existsSync(whole)) return whole;
  mkdirSync(folder, { recursive: true });
  console.log("Writing the random model for llama.cpp, once ...");
  await writeGguf(`${whole}.part`, SHAPE, new RandomWeights(SEED));
  renameSync(`${whole}.part`, whole);
  return whole;
}

async function startLlama() {
  const child: ChildProcess = fork(join(import.meta.dirname, "engine/llama.mjs"), {
    execArgv: [],
    env: { ...process.env, PEERS: peersFolder },
  });
  const tell = async (order: object): Promise<{ milliseconds: number; tokens: number }> => {
    child.send(order);
    const [answer] = await once(child, "message");
    if (answer.error) throw new Error(`llama.cpp: ${answer.error}`);
    return answer;
  };
  const perSecond = async (order: object) => {
    const { milliseconds, tokens } = await tell(order);
    return (tokens * 1_000) / milliseconds;
  };
  return { child, tell, perSecond };
}

function print(): void {
  console.log(
    `\n${cpus()[0]!.model.trim()}, ${threads} threads, Node ${process.version}, ${workload.ops.variant}`,
  );
  const { weightBytes, activeWeights } = workload;
  console.log(
    `Random DeepSeek-V3 shape: ${(weightBytes / 1e6).toFixed(0)} MB of weights, ${(activeWeights / 1e6).toFixed(0)} M active a token; llama.cpp in q8_0 with flash attention.`,
  );
  console.log("Plain read: of the weights, by the same threads, in turns with the decode; medians.\n");
  const heads = ["tokens/s", "llama.cpp", "ratio", "MB a step", "GB/s", "plain read", "of the bound"];
  console.log(`${"".padEnd(24)}${heads.map((head) => head.padStart(16)).join("")}`);
  for (const { name, ours, theirs, reads, sequences } of rows) {
    const rate = median(ours.map(({ tokens, milliseconds }) => (tokens * 1_000) / milliseconds));
    const peer = median(theirs);
    const bytes = median(ours.map((one) => (one.weightBytes + one.cacheBytes) / one.steps));
    const decode = reads.length > 0;
    const bytesPerSecond = (bytes * rate) / sequences;
    const read = decode ? median(reads) : 0;
    const cells = [
      rate.toFixed(1),
      peer.toFixed(1),
      (rate / peer).toFixed(2),
      (bytes / 1e6).toFixed(0),
      decode ? (bytesPerSecond / 1e9).toFixed(1) : "",
      decode ? (read / 1e9).toFixed(1) : "",
      decode ? `${((100 * bytesPerSecond) / read).toFixed(0)} %` : "",
    ];
    console.log(`${name.padEnd(24)}${cells.map((cell) => cell.padStart(16)).join("")}`);
  }
}
