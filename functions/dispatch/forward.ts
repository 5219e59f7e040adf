/** The reading path: events to chunks, for backends that cannot be relayed, and to one text for whole answers. */
import { utf8Length } from "../admission/bound.ts";
import { SECOND_MS, within } from "../clock.ts";
import { NO_USAGE, type Usage } from "../money.ts";
import { reasoningChunk, roleChunk, textChunk } from "../surfaces/openai/encode.ts";
import { countByBytes, learnRatio } from "../usage/count.ts";
import { plausible } from "../usage/plausible.ts";
import { stopped } from "./ending.ts";
import { askReport, tellStop } from "./report.ts";
import type { End, EngineEvent, Opened, Run } from "./run.ts";
import type { Wire } from "./wire.ts";

const KEEP_ALIVE = ": the backend is at work\n\n";
const KEEP_ALIVE_MS = 1 * SECOND_MS;
const CHECKPOINT_MS = 10 * SECOND_MS;
const ASK_MS = 2 * SECOND_MS;
/** Text and reasoning of the chunk that brought it. */
const MAX_DELTAS_A_COUNT = 2;

export type Collected = End & { readonly text: string; readonly reasoning: string };

type Events = Extract<Opened, { kind: "events" }>;

/** Streams events to the client. */
export async function forward(run: Run, wire: Wire, opened: Events): Promise<End> {
  const tally = new Tally(run, opened);
  let present = await wire.write(roleChunk(run.answer));
  const end = await drain(opened.events, async (event) => {
    if (event === undefined) present = await wire.write(KEEP_ALIVE);
    else {
      tally.take(event);
      if (event.type === "delta" && event.reasoning)
        present = await wire.write(reasoningChunk(run.answer, event.reasoning));
      if (event.type === "delta" && event.text) present = await wire.write(textChunk(run.answer, event.text));
    }
    tally.checkpoint();
    return present;
  });
  if (end === "finished" && tally.finishReason) return tally.finished();
  if (!present) run.stop.abort("client_left");
  return stopped(run, await tally.count());
}

/** Collects a whole answer. One that failed delivered nothing, and costs nothing. */
export async function collect(run: Run, opened: Events): Promise<Collected> {
  const tally = new Tally(run, opened);
  let text = "";
  let reasoning = "";
  const end = await drain(opened.events, async (event) => {
    if (event) tally.take(event);
    if (event?.type === "delta") {
      text += event.text ?? "";
      reasoning += event.reasoning ?? "";
    }
    tally.checkpoint();
    return true;
  });
  if (end === "finished" && tally.finishReason) return { ...(await tally.finished()), text, reasoning };
  const count = await tally.count(); // Ends the attempt at the backend.
  // A failure delivered nothing and costs nothing; who leaves pays for what was generated.
  const usage = run.stop.signal.reason === "client_left" ? count : NO_USAGE;
  return { ...stopped(run, usage), text: "", reasoning: "" };
}

/** Hands each event to `take`, and undefined for each second without one, until the end or until it says stop. */
async function drain(
  events: AsyncIterator<EngineEvent>,
  take: (event: EngineEvent | undefined) => Promise<boolean>,
): Promise<"finished" | "failed" | "stopped"> {
  let pending = events.next();
  for (;;) {
    const next = await within(KEEP_ALIVE_MS, pending);
    if (next?.done) return "finished";
    if (next?.value.type === "error") return "failed";
    if (next) pending = events.next();
    if (!(await take(next?.value))) return "stopped";
  }
}

/** Counts one answer: what the backend says where that is plausible, else the edge's own count. */
class Tally {
  readonly #run: Run;
  readonly #opened: Events;
  readonly #promptBytes: number;
  #outputBytes = 0;
  #claimed: Usage | undefined;
  /** Since then this many deltas came: a count that stopped coming, or became absurd, is not the last word. */
  #deltasSince = 0;
  #checkpointAt = Date.now() + CHECKPOINT_MS;
  finishReason: string | undefined;

  constructor(run: Run, opened: Events) {
    this.#run = run;
    this.#opened = opened;
    this.#promptBytes = run.request.messages.reduce((sum, message) => sum + utf8Length(message.content), 0);
  }

  take(event: EngineEvent): void {
    if (event.type === "delta") {
      this.#outputBytes += utf8Length(event.text ?? "") + utf8Length(event.reasoning ?? "");
      this.#deltasSince += 1;
    } else if (event.type === "finish") this.finishReason ??= event.reason;
    else if (event.type === "usage") {
      // Running counts and repetitions: the last plausible one counts, once.
      const claimed = plausible(event.claimed, this.#run.bound);
      if (!claimed) return;
      this.#claimed = claimed;
      this.#deltasSince = 0;
    }
  }

  async finished(): Promise<End> {
    const usage = this.#backends() ?? (await this.#ask("now")) ?? this.#own();
    if (usage.source === "backend") {
      learnRatio(this.#opened.backend.id, usage, this.#promptBytes, this.#outputBytes);
    }
    return { ending: "finished", usage, finishReason: this.finishReason ?? null };
  }

  /** The count of an answer that did not finish; tells the backend to stop. */
  async count(): Promise<Usage> {
    const { backend, attempt, close } = this.#opened;
    close();
    this.#run.waitUntil(tellStop(backend, attempt, AbortSignal.timeout(ASK_MS)));
    return (await this.#ask("abort")) ?? this.#backends() ?? this.#own();
  }

  /** What an expiry would go by, if this isolate died: only where the backend cannot be asked. */
  checkpoint(): void {
    const { backend, attempt } = this.#opened;
    if (backend.keepsAttempts || Date.now() < this.#checkpointAt) return;
    this.#checkpointAt = Date.now() + CHECKPOINT_MS;
    const { requestId, holder, waitUntil } = this.#run;
    const usage = this.#backends() ?? this.#own();
    waitUntil(
      holder
        .checkpoint({ requestId, attempt, backend: backend.id, region: backend.region, usage })
        .catch((error: unknown) => {
          console.error(`${requestId}: a checkpoint was not taken: ${error}`);
        }),
    );
  }

  async #ask(how: "now" | "abort"): Promise<Usage | undefined> {
    const { backend, attempt } = this.#opened;
    if (!backend.keepsAttempts) return undefined;
    return (await askReport(backend, attempt, this.#run.bound, AbortSignal.timeout(ASK_MS), how))?.usage;
  }

  /** The backend's last plausible count. The text that a count comes with may stand after it: one delta each. */
  #backends(): Usage | undefined {
    return this.#deltasSince <= MAX_DELTAS_A_COUNT ? this.#claimed : undefined;
  }

  /** By bytes; the prompt as the backend counted it, where it did before its counts stopped or became absurd. */
  #own(): Usage {
    const { backend } = this.#opened;
    const own = countByBytes(backend.id, this.#promptBytes, this.#outputBytes, this.#run.bound);
    const claimed = this.#claimed;
    if (!claimed) return own;
    return { ...claimed, output: Math.max(claimed.output, own.output), source: own.source };
  }
}
