/** The edge as a child of the launcher: what its host needs to know, and what becomes of what it says. */
import { join } from "node:path";
import { line } from "./banner.ts";
import { Child } from "./child.ts";
import type { Secrets } from "./files.ts";
import type { HostReady, HostSettings } from "./host.ts";
import { project, type Settings } from "./settings.ts";

export function edgeChild(
  settings: Settings,
  secrets: Secrets,
  onReady: (ready: HostReady, host: number) => void,
): Child<HostReady> {
  let port = settings.port;
  return new Child({
    name: "The edge",
    module: join(import.meta.dirname, "host.ts"),
    env: {
      // wrangler is a library here: it asks nothing, tells nobody and fetches nothing.
      WRANGLER_SEND_METRICS: "false",
      WRANGLER_HIDE_BANNER: "true",
      WRANGLER_WRITE_LOGS: "false",
      CLOUDFLARE_CF_FETCH_ENABLED: "false",
      CI: "true",
    },
    hello: (): HostSettings => ({
      config: join(project, "wrangler.toml"),
      stateDir: settings.stateDir,
      port,
      bindings: { ...settings.vars, ...secrets },
    }),
    startWithinMs: 60_000,
    onReady: (ready, host) => {
      // A host that is started again takes the port that its clients know.
      port = Number(new URL(ready.url).port);
      onReady(ready, host);
    },
    onProgress: (text) => line("migrations", text),
    log: (text) => line("edge", text),
  });
}
