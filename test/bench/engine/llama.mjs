/**
 * llama.cpp through node-llama-cpp, as a child of the engine benchmark that does as it is told:
 * `{ do: "load" | "prefill" | "decode", ... }` in, `{ milliseconds, tokens }` out.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { getLlama } = await import(
  pathToFileURL(join(process.env.PEERS, "node_modules/node-llama-cpp/dist/index.js")).href
);
let context;
let sequences = [];
let vocabulary = 0;

process.on("disconnect", () => process.exit(0));
process.on("message", async (order) => {
  const startedAt = performance.now();
  try {
    const tokens = await orders[order.do](order);
    process.send({ milliseconds: performance.now() - startedAt, tokens });
  } catch (error) {
    process.send({ error: String(error?.stack ?? error) });
  }
});

const orders = {
  async load({ path, threads, sequences: count, sequenceTokens, vocabulary: size }) {
    const llama = await getLlama({
      gpu: false,
      build: "never",
      maxThreads: threads,
      progressLogs: false,
      logLevel: "error",
    });
    const model = await llama.loadModel({ modelPath: path });
    vocabulary = size;
    context = await model.createContext({
      contextSize: sequenceTokens,
      sequences: count,
      batchSize: 512,
      flashAttention: true,
      threads: { ideal: threads, min: threads },
    });
    sequences = Array.from({ length: count }, () => context.getSequence());
    return 0;
  },
  async prefill({ sequences: count, tokens }) {
    for (const sequence of sequences) await sequence.clearHistory();
    for (const sequence of sequences.slice(0, count)) {
      const prompt = Array.from({ length: tokens }, () => Math.floor(Math.random() * (vocabulary - 2)));
      await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    }
    return count * tokens;
  },
  async decode({ sequences: count, steps }) {
    await Promise.all(
      sequences.slice(0, count).map(async (sequence) => {
        let made = 0;
        for await (const _ of sequence.evaluate([17], { temperature: 0, yieldEogToken: true }))
          if (++made === steps) break;
      }),
    );
    return count * steps;
  },
};
