/** The packages that benchmarks compare with, in a folder of their own: Causeway itself depends on none of them. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

export const peersFolder = join(import.meta.dirname, "peers");

/** Installs them at the first use, as their lock file says. */
export function installPeers(): void {
  if (existsSync(join(peersFolder, "node_modules"))) return;
  console.log("Installing the peers into test/bench/peers, once ...");
  const { status } = spawnSync("npm", ["install"], { cwd: peersFolder, stdio: "inherit" });
  if (status !== 0)
    throw new Error("The peers could not be installed: this benchmark says nothing without them.");
}
