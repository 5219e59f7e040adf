/**
 * config.json of a DeepSeek-V3 checkpoint as a typed value. What this engine does not compute is refused here
 * with a message that names it: a wrong answer would be worse than none.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CheckpointError } from "./error.ts";

/** YaRN's parameters (arXiv 2309.00071), as `rope_scaling` or, since transformers 5, `rope_parameters` carry them. */
export interface YarnConfig {
  readonly factor: number;
  readonly originalMaxPositions: number;
  readonly betaFast: number;
  readonly betaSlow: number;
  readonly mscale: number | undefined;
  readonly mscaleAllDim: number | undefined;
  readonly attentionFactor: number | undefined;
  readonly truncate: boolean;
}

export interface DeepseekV3Config {
  /** What the checkpoint calls itself, where it does. */
  readonly name: string | undefined;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Width of the dense layers' SwiGLU, and of one expert's. */
  readonly intermediateSize: number;
  readonly moeIntermediateSize: number;
  /** The first layers, whose SwiGLU is dense. */
  readonly denseLayers: number;
  readonly routedExperts: number;
  readonly sharedExperts: number;
  readonly expertsPerToken: number;
  readonly groups: number;
  readonly groupsPerToken: number;
  readonly normaliseTopK: boolean;
  readonly routedScalingFactor: number;
  /** Undefined: queries are projected at once, not through a low rank. */
  readonly qLoraRank: number | undefined;
  readonly kvLoraRank: number;
  readonly qkNopeDim: number;
  readonly qkRopeDim: number;
  readonly vDim: number;
  readonly ropeTheta: number;
  readonly ropeInterleaved: boolean;
  readonly yarn: YarnConfig | undefined;
  readonly rmsNormEpsilon: number;
  readonly maxPositions: number;
  readonly tiedEmbeddings: boolean;
  readonly endTokens: readonly number[];
  /** What the checkpoint samples with where a request does not say, as its generation_config.json has it. */
  readonly defaultTemperature: number;
  readonly defaultTopP: number;
  /** Rows and columns that share one scale where weights are fp8. */
  readonly blockShape: readonly [number, number];
}

/** No dimension of a published model comes near; it keeps products of two of them safe integers. */
const count = z
  .int()
  .min(1)
  .max(2 ** 26);
const tokenIds = z.union([z.int().min(0), z.array(z.int().min(0)).min(1).max(64)]);

const generationSchema = z.looseObject({
  eos_token_id: tokenIds.nullish(),
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
});

const ropeSchema = z.looseObject({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().nullish(),
  original_max_position_embeddings: count.nullish(),
  beta_fast: z.number().nullish(),
  beta_slow: z.number().nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  attention_factor: z.number().nullish(),
  truncate: z.boolean().nullish(),
});

const schema = z.looseObject({
  model_type: z.string(),
  _name_or_path: z.string().max(1_000).optional(),
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  moe_intermediate_size: count,
  num_hidden_layers: count.max(1_000),
  num_attention_heads: count.max(65_536),
  num_key_value_heads: count.nullish(),
  n_shared_experts: z.int().min(0).max(64).nullish(),
  n_routed_experts: count.max(65_536),
  num_experts_per_tok: count,
  routed_scaling_factor: z.number(),
  kv_lora_rank: count,
  q_lora_rank: count.nullish(),
  qk_rope_head_dim: count.max(65_536),
  qk_nope_head_dim: count.max(65_536),
  v_head_dim: count.max(65_536),
  n_group: count.nullish(),
  topk_group: count.nullish(),
  norm_topk_prob: z.boolean().nullish(),
  scoring_func: z.string().nullish(),
  topk_method: z.string().nullish(),
  moe_layer_freq: z.int().nullish(),
  first_k_dense_replace: z.int().min(0),
  hidden_act: z.string().nullish(),
  max_position_embeddings: count,
  rms_norm_eps: z.number().positive(),
  tie_word_embeddings: z.boolean().nullish(),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  rope_interleave: z.boolean().nullish(),
  attention_bias: z.boolean().nullish(),
  eos_token_id: tokenIds.nullish(),
  quantization_config: z
    .looseObject({
      quant_method: z.string(),
      fmt: z.string().nullish(),
      weight_block_size: z.tuple([count, count]).nullish(),
    })
    .nullish(),
});

type Raw = z.infer<typeof schema>;

/** Reads config.json and, where there is one, generation_config.json. Errors: CheckpointError. */
export async function readConfig(folder: string): Promise<DeepseekV3Config> {
  const path = join(folder, "config.json");
  const json = await readJson(path);
  const generationPath = join(folder, "generation_config.json");
  const generation = parse(generationSchema, (await readJsonIfAny(generationPath)) ?? {}, generationPath);
  return parseConfig(json, path, generation);
}

/** json: what config.json holds; path: what errors name. Errors: CheckpointError. */
export function parseConfig(
  json: unknown,
  path: string,
  generation: z.infer<typeof generationSchema> = {},
): DeepseekV3Config {
  const raw = parse(schema, json, path);
  refuseUnsupported(raw, path);
  return {
    name: raw._name_or_path?.split("/").at(-1) || undefined,
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    layers: raw.num_hidden_layers,
    heads: raw.num_attention_heads,
    intermediateSize: raw.intermediate_size,
    moeIntermediateSize: raw.moe_intermediate_size,
    denseLayers: Math.min(raw.first_k_dense_replace, raw.num_hidden_layers),
    routedExperts: raw.n_routed_experts,
    sharedExperts: raw.n_shared_experts ?? 0,
    expertsPerToken: raw.num_experts_per_tok,
    groups: raw.n_group ?? 1,
    groupsPerToken: raw.topk_group ?? 1,
    normaliseTopK: raw.norm_topk_prob ?? true,
    routedScalingFactor: raw.routed_scaling_factor,
    qLoraRank: raw.q_lora_rank ?? undefined,
    kvLoraRank: raw.kv_lora_rank,
    qkNopeDim: raw.qk_nope_head_dim,
    qkRopeDim: raw.qk_rope_head_dim,
    vDim: raw.v_head_dim,
    ropeTheta: raw.rope_parameters?.rope_theta ?? raw.rope_scaling?.rope_theta ?? raw.rope_theta ?? 10_000,
    ropeInterleaved: raw.rope_interleave ?? true,
    yarn: yarnOf(raw, path),
    rmsNormEpsilon: raw.rms_norm_eps,
    maxPositions: raw.max_position_embeddings,
    tiedEmbeddings: raw.tie_word_embeddings ?? false,
    endTokens: [generation.eos_token_id ?? raw.eos_token_id ?? []].flat(),
    defaultTemperature: generation.do_sample === false ? 0 : (generation.temperature ?? 1),
    defaultTopP: generation.top_p ?? 1,
    blockShape: raw.quantization_config?.weight_block_size ?? [128, 128],
  };
}

function parse<T>(expected: z.ZodType<T>, json: unknown, path: string): T {
  const parsed = expected.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new CheckpointError("corrupt", path, `${issue.path.join(".") || "it"}: ${issue.message}`);
}

function refuseUnsupported(raw: Raw, path: string): void {
  const refuse = (detail: string) => {
    throw new CheckpointError("unsupported", path, detail);
  };
  if (raw.model_type !== "deepseek_v3")
    refuse(`model_type "${raw.model_type}" is not supported, "deepseek_v3" is`);
  if ((raw.hidden_act ?? "silu") !== "silu")
    refuse(`hidden_act "${raw.hidden_act}" is not supported, "silu" is`);
  if ((raw.scoring_func ?? "sigmoid") !== "sigmoid") {
    refuse(`scoring_func "${raw.scoring_func}" is not supported, "sigmoid" is`);
  }
  if ((raw.topk_method ?? "noaux_tc") !== "noaux_tc") {
    refuse(`topk_method "${raw.topk_method}" is not supported, "noaux_tc" is`);
  }
  if ((raw.moe_layer_freq ?? 1) !== 1) refuse(`moe_layer_freq ${raw.moe_layer_freq} is not supported, 1 is`);
  if (raw.attention_bias) refuse("attention_bias is not supported");
  if ((raw.num_key_value_heads ?? raw.num_attention_heads) !== raw.num_attention_heads) {
    refuse("num_key_value_heads must equal num_attention_heads: the latent serves every head");
  }
  if (raw.qk_rope_head_dim % 2 !== 0) refuse("qk_rope_head_dim must be even");
  const quantisation = raw.quantization_config;
  if (quantisation && (quantisation.quant_method !== "fp8" || (quantisation.fmt ?? "e4m3") !== "e4m3")) {
    refuse(
      `quantization_config ${quantisation.quant_method} ${quantisation.fmt ?? ""} is not supported, fp8 e4m3 is`,
    );
  }
  const groups = raw.n_group ?? 1;
  const groupsPerToken = raw.topk_group ?? 1;
  if (raw.n_routed_experts % groups !== 0) refuse("n_routed_experts must be a multiple of n_group");
  if (groups > 1 && raw.n_routed_experts / groups < 2) refuse("a group of experts must have at least 2");
  if (groupsPerToken > groups) refuse("topk_group is larger than n_group");
  if (raw.num_experts_per_tok > (raw.n_routed_experts / groups) * groupsPerToken) {
    refuse("num_experts_per_tok is larger than the experts of topk_group groups");
  }
}

function yarnOf(raw: Raw, path: string): YarnConfig | undefined {
  const rope = raw.rope_parameters ?? raw.rope_scaling;
  const type = rope?.rope_type ?? rope?.type ?? "default";
  if (!rope || type === "default") return undefined;
  if (type !== "yarn")
    throw new CheckpointError("unsupported", path, `rope type "${type}" is not supported, "yarn" is`);
  const originalMaxPositions = rope.original_max_position_embeddings ?? raw.max_position_embeddings;
  return {
    factor: rope.factor ?? raw.max_position_embeddings / originalMaxPositions,
    originalMaxPositions,
    betaFast: rope.beta_fast || 32,
    betaSlow: rope.beta_slow || 1,
    mscale: rope.mscale ?? undefined,
    mscaleAllDim: rope.mscale_all_dim ?? undefined,
    attentionFactor: rope.attention_factor ?? undefined,
    truncate: rope.truncate ?? true,
  };
}

const maxJsonBytes = 64 * 1024 * 1024;

/** A JSON file of a checkpoint. Errors: CheckpointError where it is missing, too large or not JSON. */
export async function readJson(path: string): Promise<unknown> {
  const json = await readJsonIfAny(path);
  if (json === undefined) throw new CheckpointError("missing", path, "does not exist");
  return json;
}

async function readJsonIfAny(path: string): Promise<unknown> {
  let text: Buffer;
  try {
    const { size } = await stat(path);
    if (size > maxJsonBytes) throw new CheckpointError("too_large", path, `has ${size} bytes`);
    text = await readFile(path);
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return undefined;
    throw new CheckpointError("missing", path, `cannot be read (${code})`);
  }
  try {
    return JSON.parse(text.toString("utf8"));
  } catch {
    throw new CheckpointError("corrupt", path, "is not JSON");
  }
}
