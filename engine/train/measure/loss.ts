/**
 * The validation loss of a stored model, computed by the engine's own code: the mean of -ln p over the tokens that the
 * cases want, each token given the right ones before it.
 */
import { LatentCache } from "../../cache/latent.ts";
import { openOps } from "../../kernels/ops.ts";
import { DeepseekV3 } from "../../models/deepseek-v3.ts";
import { loadDeepseekV3 } from "../../models/deepseek-v3-weights.ts";
import { ChatTemplate } from "../../tokenizer/chat-template.ts";
import { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { Case } from "./cases.ts";

const CHUNK = 256;
const CACHE_BYTES = 64 * 1024 * 1024;

/** By measure, in nats a token. Errors: CheckpointError. */
export async function validationLoss(folder: string, cases: readonly Case[]): Promise<Map<string, number>> {
  const ops = await openOps({ weights: "f32", threads: 1 });
  const { config, weights } = await loadDeepseekV3(folder, ops);
  const model = new DeepseekV3(config, weights, ops, { maxTokens: CHUNK, maxLogits: CHUNK });
  const cache = new LatentCache(config, CACHE_BYTES, ops);
  const [template, tokenizer] = [await ChatTemplate.load(folder), await Tokenizer.load(folder)];
  const sums = new Map<string, { loss: number; tokens: number }>();
  for (const { measure, messages, tools, target } of cases) {
    const prompt = tokenizer.encode(template.render(messages, tools));
    const all = [...prompt, ...tokenizer.encode(target)];
    const sequence = all.length <= config.maxPositions ? cache.open(all.length) : undefined;
    if (!sequence) continue;
    const sum = sums.get(measure) ?? { loss: 0, tokens: 0 };
    for (let from = 0; from < all.length - 1; from += CHUNK) {
      const tokens = all.slice(from, Math.min(from + CHUNK, all.length - 1));
      const last = from + tokens.length;
      const [logits] = model.forward(
        [{ tokens, cache: sequence, wanted: last < prompt.length ? "none" : "all" }],
        cache,
      );
      for (let at = Math.max(from, prompt.length - 1); at < last; at++) {
        const row = logits.subarray((at - from) * config.vocabSize, (at - from + 1) * config.vocabSize);
        sum.loss += surprise(row, all[at + 1]);
        sum.tokens++;
      }
    }
    sums.set(measure, sum);
    sequence.close();
  }
  ops.close();
  return new Map([...sums].map(([measure, { loss, tokens }]) => [measure, loss / tokens]));
}

/** -ln of the softmax's value for a token. */
function surprise(logits: Float32Array, token: number): number {
  let largest = -Infinity;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  return Math.log(sum) + largest - logits[token];
}
