/** An edge without engines of its own, whose backends are the tests' own upstreams; short limits, so that tests are. */
import { connect, type Socket } from "node:net";
import { hello, sell, startUpstream, TEST_BACKEND_SECRET } from "./platform.ts";
import { type Run, startRun } from "./run.ts";
import type { Upstream } from "./upstream.ts";

export interface Faulty {
  readonly run: Run;
  readonly upstream: Upstream;
}

export async function startFaulty(vars: Record<string, string> = {}): Promise<Faulty> {
  const limits = {
    FIRST_TOKEN_MS: "8000",
    IDLE_MS: "3000",
    BACKEND_TEST_SECRET: TEST_BACKEND_SECRET,
    ...vars,
  };
  const run = await startRun({ engines: 0, vars: limits });
  const upstream = await startUpstream();
  await sell(run, [upstream]);
  return { run, upstream };
}

/** A client that can leave the way a killed one does: its socket is destroyed. Reads as text what came so far. */
export class RawClient {
  readonly #socket: Socket;
  text = "";
  /** Resolves when the server has closed. */
  readonly ended: Promise<void>;
  #watchers: (() => void)[] = [];

  constructor(url: string, key: string, body: unknown = hello({ stream: true })) {
    const { hostname, port } = new URL(url);
    const json = JSON.stringify(body);
    this.#socket = connect(Number(port), hostname);
    this.#socket.on("error", () => {});
    this.#socket.setEncoding("utf8");
    this.#socket.on("data", (data) => {
      this.text += data;
      for (const watch of this.#watchers) watch();
    });
    this.ended = new Promise((resolve) => this.#socket.on("close", () => resolve()));
    this.#socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nAuthorization: Bearer ${key}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`,
    );
  }

  /** Resolves when what came matches. */
  async sees(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text);
      if (match) return match;
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }

  /** The request id on the answer's headers. */
  async id(): Promise<string> {
    return (await this.sees(/x-request-id: (req_\w+)/i))[1];
  }

  /** Stops reading: what the edge writes stays where it is. */
  pause(): void {
    this.#socket.pause();
  }

  leave(): void {
    this.#socket.destroy();
  }
}

/** The events of a stream: parsed `data:` texts in order, `[DONE]` as itself. */
export function eventsOf(text: string): any[] {
  return [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) =>
    data === "[DONE]" ? data : JSON.parse(data),
  );
}
