/**
 * A TCP proxy in front of one backend that can reset every live connection (RST, not FIN): what a crashed balancer,
 * a full connection table or a cut network looks like from the edge, while the process behind it lives.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import { admin, type Edge } from "./platform.ts";

export class ResetProxy {
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #target: URL;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((client) => this.#carry(client));
  }

  static async start(target: string): Promise<ResetProxy> {
    const proxy = new ResetProxy(target);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  /** Stands before a registered backend from now on. */
  static async before(edge: Edge, id: string, url: string): Promise<ResetProxy> {
    const proxy = await ResetProxy.start(url);
    const { data } = await admin<{ data: { id: string; created_at: string }[] }>(edge, "GET", "/backends");
    const { id: _, created_at: __, ...row } = data.find((backend) => backend.id === id)!;
    await admin(edge, "PUT", `/backends/${id}`, { ...row, url: proxy.url });
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resets every live connection, towards the edge and towards the backend. @returns how many. */
  reset(): number {
    const live = [...this.#clients];
    for (const client of live) client.resetAndDestroy();
    return live.length;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.reset();
    await once(this.#server, "close");
  }

  #carry(client: Socket): void {
    const backend = connect(Number(this.#target.port), this.#target.hostname);
    this.#clients.add(client);
    client.pipe(backend);
    backend.pipe(client);
    const end = () => {
      this.#clients.delete(client);
      client.destroy();
      backend.destroy();
    };
    // A refused or reset connection behind is one in front.
    backend.on("error", () => client.resetAndDestroy());
    client.on("error", end);
    client.on("close", end);
    backend.on("close", () => client.end());
  }
}
