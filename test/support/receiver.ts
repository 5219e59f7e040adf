/** Where webhooks go in tests: a real server that answers as each test says, and keeps what it was sent, by path. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

export interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly method: string;
}

/** Answers one attempt; the count is of those at its path, from 1. What answers nothing hangs. */
type Behaviour = (response: ServerResponse, count: number) => void;

export class Receiver {
  readonly #server: Server;
  readonly #received = new Map<string, Received[]>();
  readonly #behaviours = new Map<string, Behaviour>();
  #watchers: (() => void)[] = [];
  url = "";

  private constructor() {
    this.#server = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const path = request.url!;
      const all = this.at(path);
      all.push({ headers: request.headers, body, method: request.method! });
      this.#received.set(path, all);
      const behave = this.#behaviours.get(path) ?? ((to) => to.writeHead(204).end());
      behave(response, all.length);
      for (const watch of this.#watchers.splice(0)) watch();
    });
  }

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    await new Promise<void>((resolve) => receiver.#server.listen(0, "127.0.0.1", resolve));
    receiver.url = `http://127.0.0.1:${(receiver.#server.address() as AddressInfo).port}`;
    return receiver;
  }

  on(path: string, behave: Behaviour): void {
    this.#behaviours.set(path, behave);
  }

  at(path: string): Received[] {
    return this.#received.get(path) ?? [];
  }

  /** Resolves with the first `count` attempts at a path, or those of a type. */
  async gets(path: string, count = 1, type?: string): Promise<Received[]> {
    for (;;) {
      const found = this.at(path).filter(({ body }) => !type || JSON.parse(body).type === type);
      if (found.length >= count) return found;
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** As a customer checks it: with the standard's own library. Throws where it is not right. */
export const verify = (secret: string, { body, headers }: Received): any =>
  new Webhook(secret).verify(body, headers as Record<string, string>);
