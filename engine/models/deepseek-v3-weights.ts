/** Which tensor of a checkpoint is which weight of DeepSeek-V3, and of what shape. */
import { type DeepseekV3Config, readConfig } from "../checkpoint/config.ts";
import { CheckpointError } from "../checkpoint/error.ts";
import type { WeightSource } from "../checkpoint/source.ts";
import { Weights } from "../checkpoint/weights.ts";
import type { MlaWeights } from "../layers/mla.ts";
import type { MoeWeights } from "../layers/moe.ts";
import type { Matrix, Ops, SwigluMatrices } from "../layers/ops.ts";
import { CheckingLoader, type Loader, PackingLoader } from "./loader.ts";

export interface LayerWeights {
  readonly attentionNorm: Float32Array; // [hidden]
  readonly attention: MlaWeights;
  readonly feedForwardNorm: Float32Array; // [hidden]
  readonly feedForward: { readonly dense: SwigluMatrices } | { readonly moe: MoeWeights };
}

interface ModelWeights {
  readonly embedding: Matrix; // [vocabulary, hidden]
  readonly layers: readonly LayerWeights[];
  readonly norm: Float32Array; // [hidden]
  readonly head: Matrix; // [vocabulary, hidden]
}

export interface DeepseekV3Weights extends ModelWeights {
  /** Stored, of all. */
  readonly bytes: number;
  /** Stored, of what each step reads whatever its tokens: all but embedding, routed experts and head. */
  readonly bytesOfEveryStep: number;
  readonly bytesPerExpert: number;
  /** Weights that one token is multiplied with. */
  readonly activeWeights: number;
}

/** Reads a checkpoint folder. `progress` is told bytes read and bytes in all. Errors: CheckpointError. */
export async function loadDeepseekV3(
  folder: string,
  ops: Ops,
  progress: (read: number, total: number) => void = () => {},
): Promise<{ config: DeepseekV3Config; weights: DeepseekV3Weights }> {
  const config = await readConfig(folder);
  for (const token of config.endTokens) {
    if (token >= config.vocabSize)
      throw new CheckpointError("corrupt", folder, `eos_token_id ${token} is not in the vocabulary`);
  }
  const files = await Weights.open(folder, config.blockShape);
  try {
    files.onRead = () => progress(files.readBytes, files.totalBytes);
    return { config, weights: await packWeights(files, config, ops) };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new CheckpointError("too_large", folder, `does not fit the memory (${error.message})`);
  } finally {
    await files.close();
  }
}

/** Errors: CheckpointError, before memory is taken; RangeError where memory ends. */
export async function packWeights(
  source: WeightSource,
  config: DeepseekV3Config,
  ops: Ops,
): Promise<DeepseekV3Weights> {
  await readModel(new CheckingLoader(source), config);
  const loader = new PackingLoader(source, ops);
  const weights = await readModel(loader, config);
  return { ...weights, ...costsOf(weights, loader.bytes, config) };
}

function costsOf(weights: ModelWeights, bytes: number, config: DeepseekV3Config) {
  let expertBytes = 0;
  let bytesPerExpert = 0;
  let idleWeights = 0;
  for (const { feedForward } of weights.layers) {
    if (!("moe" in feedForward)) continue;
    const { experts } = feedForward.moe;
    const { gate, up, down } = experts[0];
    bytesPerExpert = gate.bytes + up.bytes + down.bytes;
    expertBytes += experts.length * bytesPerExpert;
    idleWeights += (experts.length - config.expertsPerToken) * 3 * gate.rows * gate.columns;
  }
  const { embedding, head } = weights;
  const ofEveryStep = bytes - expertBytes - embedding.bytes - (config.tiedEmbeddings ? 0 : head.bytes);
  return {
    bytes,
    bytesOfEveryStep: ofEveryStep,
    bytesPerExpert,
    activeWeights: countWeights(weights) - idleWeights,
  };
}

/** Of all matrices but the embedding. */
function countWeights({ layers, head }: ModelWeights): number {
  let count = head.rows * head.columns;
  const add = (...matrices: readonly Matrix[]) => {
    for (const { rows, columns } of matrices) count += rows * columns;
  };
  const addSwiglu = ({ gate, up, down }: SwigluMatrices) => add(gate, up, down);
  for (const { attention, feedForward } of layers) {
    const { query, kvDown, keyUp, valueUp, out } = attention;
    add(...("full" in query ? [query.full] : [query.down, query.up]), kvDown, ...keyUp, ...valueUp, out);
    if ("dense" in feedForward) addSwiglu(feedForward.dense);
    else {
      add(feedForward.moe.router.gate);
      for (const swiglu of feedForward.moe.experts) addSwiglu(swiglu);
      if (feedForward.moe.shared) addSwiglu(feedForward.moe.shared);
    }
  }
  return count;
}

async function readModel(loader: Loader, config: DeepseekV3Config): Promise<ModelWeights> {
  const { hiddenSize: hidden, vocabSize } = config;
  const embedding = await loader.matrix("model.embed_tokens.weight", vocabSize, hidden);
  const layers: LayerWeights[] = [];
  for (let layer = 0; layer < config.layers; layer++) layers.push(await readLayer(loader, config, layer));
  const norm = await loader.vector("model.norm.weight", hidden);
  const head = config.tiedEmbeddings ? embedding : await loader.matrix("lm_head.weight", vocabSize, hidden);
  return { embedding, layers, norm, head };
}

async function readLayer(loader: Loader, config: DeepseekV3Config, layer: number): Promise<LayerWeights> {
  const { hiddenSize: hidden } = config;
  const prefix = `model.layers.${layer}`;
  return {
    attentionNorm: await loader.vector(`${prefix}.input_layernorm.weight`, hidden),
    attention: await readAttention(loader, config, `${prefix}.self_attn`),
    feedForwardNorm: await loader.vector(`${prefix}.post_attention_layernorm.weight`, hidden),
    feedForward:
      layer < config.denseLayers
        ? { dense: await readSwiglu(loader, `${prefix}.mlp`, hidden, config.intermediateSize) }
        : { moe: await readMoe(loader, config, `${prefix}.mlp`) },
  };
}

async function readAttention(loader: Loader, config: DeepseekV3Config, prefix: string): Promise<MlaWeights> {
  const { hiddenSize: hidden, heads, qLoraRank, kvLoraRank, qkNopeDim, qkRopeDim, vDim } = config;
  const queryRows = heads * (qkNopeDim + qkRopeDim);
  const query =
    qLoraRank === undefined
      ? { full: await loader.matrix(`${prefix}.q_proj.weight`, queryRows, hidden) }
      : {
          down: await loader.matrix(`${prefix}.q_a_proj.weight`, qLoraRank, hidden),
          norm: await loader.vector(`${prefix}.q_a_layernorm.weight`, qLoraRank),
          up: await loader.matrix(`${prefix}.q_b_proj.weight`, queryRows, qLoraRank),
        };
  const kvDown = await loader.matrix(`${prefix}.kv_a_proj_with_mqa.weight`, kvLoraRank + qkRopeDim, hidden);
  const kvNorm = await loader.vector(`${prefix}.kv_a_layernorm.weight`, kvLoraRank);
  const [keyUp, valueUp] = await loader.heads(`${prefix}.kv_b_proj.weight`, heads, kvLoraRank, [
    { rows: qkNopeDim, transposed: true },
    { rows: vDim, transposed: false },
  ]);
  const out = await loader.matrix(`${prefix}.o_proj.weight`, hidden, heads * vDim);
  return { query, kvDown, kvNorm, keyUp, valueUp, out };
}

async function readMoe(loader: Loader, config: DeepseekV3Config, prefix: string): Promise<MoeWeights> {
  const { hiddenSize: hidden, moeIntermediateSize: intermediate, routedExperts, sharedExperts } = config;
  const gate = await loader.matrix(`${prefix}.gate.weight`, routedExperts, hidden, "f32");
  const correctionBias = await loader.vector(`${prefix}.gate.e_score_correction_bias`, routedExperts);
  const experts: SwigluMatrices[] = [];
  for (let expert = 0; expert < routedExperts; expert++) {
    experts.push(await readSwiglu(loader, `${prefix}.experts.${expert}`, hidden, intermediate));
  }
  const shared =
    sharedExperts > 0
      ? await readSwiglu(loader, `${prefix}.shared_experts`, hidden, sharedExperts * intermediate)
      : undefined;
  return { router: { gate, correctionBias }, experts, shared };
}

async function readSwiglu(
  loader: Loader,
  prefix: string,
  hidden: number,
  intermediate: number,
): Promise<SwigluMatrices> {
  return {
    gate: await loader.matrix(`${prefix}.gate_proj.weight`, intermediate, hidden),
    up: await loader.matrix(`${prefix}.up_proj.weight`, intermediate, hidden),
    down: await loader.matrix(`${prefix}.down_proj.weight`, hidden, intermediate),
  };
}
