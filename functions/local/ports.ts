/** Which ports are free, and who has one that is not. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Failure } from "./failure.ts";
import { holderOf } from "./processes.ts";

/** @throws Failure that names the port and the process that holds it. */
export async function requireFree(port: number, remedy = ""): Promise<void> {
  const taken = await bind(port).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  );
  if (taken === undefined) return;
  if (taken.code !== "EADDRINUSE") {
    throw new Failure(`Port ${port} on 127.0.0.1 cannot be used (${taken.code}).${remedy}`);
  }
  const holder = holderOf(port);
  const by = holder === undefined ? "another user's process" : `process ${holder.pid} (${holder.name})`;
  throw new Failure(`Port ${port} on 127.0.0.1 is held by ${by}.${remedy}`);
}

/** The port itself where it is free, otherwise one of the system's choice. */
export async function freePort(preferred: number): Promise<number> {
  return await bind(preferred).catch(() => bind(0));
}

async function bind(port: number): Promise<number> {
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  const bound = (server.address() as AddressInfo).port;
  server.close();
  await once(server, "close");
  return bound;
}
