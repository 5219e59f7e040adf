/**
 * Writes a DeepSeek-V3-shaped model as GGUF version 3 (github.com/ggml-org/ggml, docs/gguf.md), architecture
 * `deepseek2`, matrices in q8_0: the same weights that the engine is given, so that llama.cpp computes the same model.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import type { WeightSource } from "../../../engine/checkpoint/source.ts";

export interface Shape {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly first_k_dense_replace: number;
  readonly n_routed_experts: number;
  readonly num_experts_per_tok: number;
  readonly n_shared_experts: number;
  readonly moe_intermediate_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly q_lora_rank: number;
  readonly kv_lora_rank: number;
  readonly qk_rope_head_dim: number;
  readonly qk_nope_head_dim: number;
  readonly v_head_dim: number;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
}

/** Numbers of the format. */
const TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, text: 8, array: 9 } as const;
const F32 = 0;
const Q8_0 = 8;
const ALIGNMENT = 32;
const BLOCK = 32;
const BLOCK_BYTES = 34;

interface Tensor {
  readonly name: string;
  /** Fastest dimension first. */
  readonly dimensions: readonly number[];
  readonly kind: typeof F32 | typeof Q8_0;
  readonly write: (file: number) => Promise<void>;
}

/** @returns bytes written. */
export async function writeGguf(path: string, shape: Shape, source: WeightSource): Promise<number> {
  const tensors = tensorsOf(shape, source);
  const header = headerOf(shape, tensors);
  const file = openSync(path, "w");
  try {
    writeSync(file, header);
    let bytes = header.length;
    for (const tensor of tensors) {
      await tensor.write(file);
      const size = sizeOf(tensor);
      writeSync(file, Buffer.alloc(aligned(size) - size));
      bytes += aligned(size);
    }
    return bytes;
  } finally {
    closeSync(file);
  }
}

function tensorsOf(shape: Shape, source: WeightSource): Tensor[] {
  const { hidden_size: hidden, vocab_size: vocabulary, num_attention_heads: heads } = shape;
  const { qk_nope_head_dim: nope, qk_rope_head_dim: rope, v_head_dim: vDim, kv_lora_rank: rank } = shape;
  const { n_routed_experts: experts, moe_intermediate_size: inner, q_lora_rank: qRank } = shape;
  const tensors: Tensor[] = [];

  const vector = (name: string, from: string, length: number) =>
    tensors.push({
      name,
      dimensions: [length],
      kind: F32,
      write: async (file) => void writeSync(file, bytesOf(await source.vector(from, length))),
    });
  /** One stored matrix after another: the experts of a layer are one tensor. */
  const matrix = (name: string, from: readonly string[], rows: number, columns: number) =>
    tensors.push({
      name,
      dimensions: from.length > 1 ? [columns, rows, from.length] : [columns, rows],
      kind: Q8_0,
      write: async (file) => {
        for (const one of from)
          await source.rows(one, [rows, columns], (_row, values) => void writeSync(file, quantised(values)));
      },
    });
  const exact = (name: string, from: string, rows: number, columns: number) =>
    tensors.push({
      name,
      dimensions: [columns, rows],
      kind: F32,
      write: (file) =>
        source.rows(from, [rows, columns], (_row, values) => void writeSync(file, bytesOf(values))),
    });
  /** The latent's up-projections, by head: keys transposed, as absorbed attention wants them. */
  const heads3 = (name: string, from: string, part: "keys" | "values") =>
    tensors.push({
      name,
      dimensions: part === "keys" ? [nope, rank, heads] : [rank, vDim, heads],
      kind: Q8_0,
      write: (file) =>
        source.rows(
          from,
          [heads * (nope + vDim), rank],
          (_row, values) => {
            const own =
              part === "keys"
                ? transposed(values.subarray(0, nope * rank), nope, rank)
                : values.subarray(nope * rank);
            writeSync(file, quantised(own));
          },
          nope + vDim,
        ),
    });

  matrix("token_embd.weight", ["model.embed_tokens.weight"], vocabulary, hidden);
  vector("output_norm.weight", "model.norm.weight", hidden);
  matrix("output.weight", ["lm_head.weight"], vocabulary, hidden);
  for (let layer = 0; layer < shape.num_hidden_layers; layer++) {
    const to = `blk.${layer}`;
    const from = `model.layers.${layer}`;
    const attention = `${from}.self_attn`;
    vector(`${to}.attn_norm.weight`, `${from}.input_layernorm.weight`, hidden);
    matrix(`${to}.attn_q_a.weight`, [`${attention}.q_a_proj.weight`], qRank, hidden);
    vector(`${to}.attn_q_a_norm.weight`, `${attention}.q_a_layernorm.weight`, qRank);
    matrix(`${to}.attn_q_b.weight`, [`${attention}.q_b_proj.weight`], heads * (nope + rope), qRank);
    matrix(`${to}.attn_kv_a_mqa.weight`, [`${attention}.kv_a_proj_with_mqa.weight`], rank + rope, hidden);
    vector(`${to}.attn_kv_a_norm.weight`, `${attention}.kv_a_layernorm.weight`, rank);
    heads3(`${to}.attn_k_b.weight`, `${attention}.kv_b_proj.weight`, "keys");
    heads3(`${to}.attn_v_b.weight`, `${attention}.kv_b_proj.weight`, "values");
    matrix(`${to}.attn_output.weight`, [`${attention}.o_proj.weight`], hidden, heads * vDim);
    vector(`${to}.ffn_norm.weight`, `${from}.post_attention_layernorm.weight`, hidden);
    const mlp = `${from}.mlp`;
    if (layer < shape.first_k_dense_replace) {
      matrix(`${to}.ffn_gate.weight`, [`${mlp}.gate_proj.weight`], shape.intermediate_size, hidden);
      matrix(`${to}.ffn_up.weight`, [`${mlp}.up_proj.weight`], shape.intermediate_size, hidden);
      matrix(`${to}.ffn_down.weight`, [`${mlp}.down_proj.weight`], hidden, shape.intermediate_size);
      continue;
    }
    exact(`${to}.ffn_gate_inp.weight`, `${mlp}.gate.weight`, experts, hidden);
    vector(`${to}.exp_probs_b.bias`, `${mlp}.gate.e_score_correction_bias`, experts);
    const all = (projection: string) =>
      Array.from({ length: experts }, (_, expert) => `${mlp}.experts.${expert}.${projection}.weight`);
    matrix(`${to}.ffn_gate_exps.weight`, all("gate_proj"), inner, hidden);
    matrix(`${to}.ffn_up_exps.weight`, all("up_proj"), inner, hidden);
    matrix(`${to}.ffn_down_exps.weight`, all("down_proj"), hidden, inner);
    const shared = inner * shape.n_shared_experts;
    matrix(`${to}.ffn_gate_shexp.weight`, [`${mlp}.shared_experts.gate_proj.weight`], shared, hidden);
    matrix(`${to}.ffn_up_shexp.weight`, [`${mlp}.shared_experts.up_proj.weight`], shared, hidden);
    matrix(`${to}.ffn_down_shexp.weight`, [`${mlp}.shared_experts.down_proj.weight`], hidden, shared);
  }
  return tensors;
}

function headerOf(shape: Shape, tensors: readonly Tensor[]): Buffer {
  const out = new Writer();
  const values = metadata(shape);
  out.bytes(Buffer.from("GGUF"));
  out.u32(3);
  out.u64(tensors.length);
  out.u64(values.length);
  for (const [key, write] of values) {
    out.text(key);
    write(out);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name);
    out.u32(tensor.dimensions.length);
    for (const size of tensor.dimensions) out.u64(size);
    out.u32(tensor.kind);
    out.u64(offset);
    offset += aligned(sizeOf(tensor));
  }
  out.bytes(Buffer.alloc(aligned(out.length) - out.length));
  return out.all();
}

type Value = readonly [key: string, write: (out: Writer) => void];

function metadata(shape: Shape): Value[] {
  const u32 = (key: string, value: number): Value => [key, (out) => out.typed(TYPE.u32).u32(value)];
  const f32 = (key: string, value: number): Value => [key, (out) => out.typed(TYPE.f32).f32(value)];
  const bool = (key: string, value: boolean): Value => [key, (out) => out.typed(TYPE.bool).u8(value ? 1 : 0)];
  const text = (key: string, value: string): Value => [key, (out) => out.typed(TYPE.text).text(value)];
  const list = <T>(
    key: string,
    type: number,
    values: readonly T[],
    write: (out: Writer, value: T) => void,
  ): Value => [
    key,
    (out) => {
      out.typed(TYPE.array).u32(type);
      out.u64(values.length);
      for (const value of values) write(out, value);
    },
  ];
  const own = (name: string) => `deepseek2.${name}`;
  const {
    kv_lora_rank: rank,
    qk_nope_head_dim: nope,
    qk_rope_head_dim: rope,
    vocab_size: vocabulary,
  } = shape;
  const { tokens, merges } = vocabularyOf(vocabulary);
  return [
    text("general.architecture", "deepseek2"),
    text("general.name", "random"),
    u32("general.alignment", ALIGNMENT),
    u32("general.file_type", 7),
    u32(own("vocab_size"), vocabulary),
    u32(own("context_length"), shape.max_position_embeddings),
    u32(own("embedding_length"), shape.hidden_size),
    u32(own("block_count"), shape.num_hidden_layers),
    u32(own("feed_forward_length"), shape.intermediate_size),
    u32(own("attention.head_count"), shape.num_attention_heads),
    u32(own("attention.head_count_kv"), 1),
    f32(own("rope.freq_base"), 10_000),
    f32(own("attention.layer_norm_rms_epsilon"), 1e-6),
    u32(own("leading_dense_block_count"), shape.first_k_dense_replace),
    u32(own("expert_count"), shape.n_routed_experts),
    u32(own("expert_used_count"), shape.num_experts_per_tok),
    u32(own("expert_shared_count"), shape.n_shared_experts),
    u32(own("expert_feed_forward_length"), shape.moe_intermediate_size),
    f32(own("expert_weights_scale"), 1),
    bool(own("expert_weights_norm"), true),
    u32(own("expert_gating_func"), 2), // sigmoid
    u32(own("attention.q_lora_rank"), shape.q_lora_rank),
    u32(own("attention.kv_lora_rank"), rank),
    u32(own("attention.key_length"), rank + rope),
    u32(own("attention.value_length"), rank),
    u32(own("attention.key_length_mla"), nope + rope),
    u32(own("attention.value_length_mla"), shape.v_head_dim),
    u32(own("rope.dimension_count"), rope),
    text("tokenizer.ggml.model", "gpt2"),
    text("tokenizer.ggml.pre", "gpt-2"),
    list("tokenizer.ggml.tokens", TYPE.text, tokens, (out, token) => out.text(token)),
    list("tokenizer.ggml.token_type", TYPE.i32, tokens, (out, _token) => out.u32(1)),
    list("tokenizer.ggml.merges", TYPE.text, merges, (out, merge) => out.text(merge)),
    u32("tokenizer.ggml.bos_token_id", vocabulary - 2),
    u32("tokenizer.ggml.eos_token_id", vocabulary - 1),
    bool("tokenizer.ggml.add_bos_token", false),
  ];
}

/** llama.cpp wants a tokenizer; nothing here makes text. Bytes, then pairs of them. */
function vocabularyOf(size: number): { tokens: string[]; merges: string[] } {
  const printable = (byte: number) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let others = 0;
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(printable(byte) ? byte : 256 + others++),
  );
  const tokens = [...bytes];
  const merges: string[] = [];
  for (const first of bytes) {
    for (const second of bytes) {
      if (tokens.length >= size - 2) return { tokens: [...tokens, "<s>", "</s>"], merges };
      tokens.push(first + second);
      merges.push(`${first} ${second}`);
    }
  }
  while (tokens.length < size - 2) tokens.push(`<|${tokens.length}|>`);
  return { tokens: [...tokens, "<s>", "</s>"], merges };
}

/** q8_0: of 32 values the largest becomes 127; a scale in f16, then the values as int8. */
function quantised(values: Float32Array): Buffer {
  const blocks = values.length / BLOCK;
  const out = Buffer.alloc(blocks * BLOCK_BYTES);
  for (let block = 0; block < blocks; block++) {
    let largest = 0;
    for (let i = block * BLOCK; i < (block + 1) * BLOCK; i++)
      largest = Math.max(largest, Math.abs(values[i]));
    const scale = largest / 127;
    const inverse = scale === 0 ? 0 : 1 / scale;
    out.writeUInt16LE(halfOf(scale), block * BLOCK_BYTES);
    for (let i = 0; i < BLOCK; i++)
      out.writeInt8(Math.round(values[block * BLOCK + i] * inverse), block * BLOCK_BYTES + 2 + i);
  }
  return out;
}

const half = new Float16Array(1);
const halfBits = new Uint16Array(half.buffer);

function halfOf(value: number): number {
  half[0] = value;
  return halfBits[0];
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column];
  return out;
}

const bytesOf = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

function sizeOf({ dimensions, kind }: Tensor): number {
  const values = dimensions.reduce((product, size) => product * size, 1);
  return kind === F32 ? values * 4 : (values / BLOCK) * BLOCK_BYTES;
}

class Writer {
  readonly #parts: Buffer[] = [];
  length = 0;

  bytes(part: Buffer): this {
    this.#parts.push(part);
    this.length += part.length;
    return this;
  }
  u8(value: number): this {
    return this.bytes(Buffer.from([value]));
  }
  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    return this.bytes(part);
  }
  f32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    return this.bytes(part);
  }
  u64(value: number): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    return this.bytes(part);
  }
  text(value: string): this {
    const part = Buffer.from(value, "utf8");
    return this.u64(part.length).bytes(part);
  }
  typed(type: number): this {
    return this.u32(type);
  }
  all(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
