/** Debian's Chromium, or $CHROMIUM. Without one the pages' tests are left out; CI has one. */
import { existsSync } from "node:fs";

const path = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const chromiumPath: string | undefined = existsSync(path) ? path : undefined;

if (!chromiumPath) {
  if (process.env.CI === "true") throw new Error(`the pages' tests need Chromium, and ${path} is not there`);
  console.log(`skipped: the pages' tests need Chromium, and ${path} is not there (CHROMIUM names another)`);
}
