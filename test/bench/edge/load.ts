/** The load of the edge benchmark: closed loops over kept-alive connections, bounded in time. */
import { Agent, request } from "node:http";

export interface Target {
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
}

export interface Answered {
  readonly status: number;
  /** Milliseconds from the request to the body's first byte, and to its end. */
  readonly firstByteMs: number;
  readonly totalMs: number;
  readonly text: string;
}

export interface Load {
  readonly perSecond: number;
  readonly answers: readonly Answered[];
}

const agent = new Agent({ keepAlive: true, maxSockets: 2_000 });

export function ask(target: Target, tokens: number, stream: boolean): Promise<Answered> {
  const body = JSON.stringify({
    model: target.model,
    messages: [{ role: "user", content: "Say a token a few times." }],
    max_tokens: tokens,
    ...(stream && { stream: true, stream_options: { include_usage: true } }),
  });
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const asking = request(
      `${target.url}/v1/chat/completions`,
      {
        method: "POST",
        agent,
        headers: {
          ...target.headers,
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
        },
      },
      (response) => {
        let firstByteMs = 0;
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          firstByteMs ||= performance.now() - startedAt;
          text += chunk;
        });
        response.on("end", () =>
          resolve({
            status: response.statusCode!,
            firstByteMs,
            totalMs: performance.now() - startedAt,
            text,
          }),
        );
        response.on("error", reject);
      },
    );
    asking.on("error", reject);
    asking.end(body);
  });
}

/** `workers` requests at a time for `ms`. @throws at an answer that is not what was asked for: a wrong one is no speed. */
export async function press(
  target: Target,
  { tokens, stream, workers, ms }: { tokens: number; stream: boolean; workers: number; ms: number },
): Promise<Load> {
  const answers: Answered[] = [];
  const startedAt = performance.now();
  const worker = async () => {
    while (performance.now() - startedAt < ms) {
      const answered = await ask(target, tokens, stream);
      const whole = stream ? answered.text.includes("data: [DONE]") : answered.text.includes('"usage"');
      if (answered.status !== 200 || !whole) {
        throw new Error(`${target.name} answered ${answered.status}: ${answered.text.slice(0, 300)}`);
      }
      answers.push({ ...answered, text: "" });
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return { perSecond: (answers.length * 1_000) / (performance.now() - startedAt), answers };
}

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
