import { defineConfig } from "vite";

/** functions/local/dashboard.ts builds with it and says where to. */
export default defineConfig({
  root: import.meta.dirname,
  base: "/dashboard/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: ["chrome125", "firefox128", "safari18"],
    manifest: "manifest.json",
    // Nothing inline: the page's policy allows no data: and no inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    emptyOutDir: true,
  },
});
