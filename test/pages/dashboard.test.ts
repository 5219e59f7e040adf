/** The dashboard in Chromium, over one running platform with real requests through its engines. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dashboardFolder } from "../../functions/local/dashboard.ts";
import { chromiumPath } from "../support/browser.ts";
import { type Account, admin, ask, eventually, read } from "../support/platform.ts";
import { Receiver, verify } from "../support/receiver.ts";
import { type Run, startRun } from "../support/run.ts";

/** A key whose name would run, were it not text. */
const HOSTILE = `<img src=x onerror="document.title='ran'">`;
const MODEL = "causeway-probe";
const PAGES: readonly (readonly [title: string, path: string])[] = [
  ["Overview", "/dashboard/"],
  ["Requests", "/dashboard/requests"],
  ["Regions", "/dashboard/regions"],
  ["Keys", "/dashboard/keys"],
  ["Billing", "/dashboard/billing"],
  ["Billing", "/dashboard/billing?tab=webhooks"],
];
const BUDGET_BYTES = 150_000;
const MOST_SHIFT = 0.02;
const COUNT_SHIFTS = `window.shifted = 0; new PerformanceObserver((list) => {
  for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) window.shifted += value;
}).observe({ type: "layout-shift", buffered: true });`;

let run: Run;
let browser: Browser;
let account: Account;
/** What console and policy complained of. */
const complaints: string[] = [];

describe.skipIf(!chromiumPath)("the dashboard", () => {
  beforeAll(async () => {
    run = await startRun({ engines: 1, vars: { WEBHOOK_ALLOW_LOOPBACK: "true", WEBHOOK_RETRY_MS: "500" } });
    const { id } = await admin<{ id: string }>(run, "POST", "/accounts", { name: HOSTILE });
    await admin(run, "PATCH", `/accounts/${id}`, { fleet_view: "full" });
    await admin(run, "POST", `/accounts/${id}/credits`, { amount: "20", reference: "opening" });
    const key = await admin<{ id: string; key: string }>(run, "POST", `/accounts/${id}/keys`, {
      name: HOSTILE,
      scopes: ["inference", "usage", "manage"],
    });
    account = { id, keyId: key.id, key: key.key };
    for (const stream of [true, false, true]) await asked(stream);
    await eventually(async () => {
      const { totals } = await read<{ totals: { requests: number } }>(run, account.key, "/v1/usage");
      return totals.requests === 3 ? true : undefined;
    }, "three requests to be counted");
    browser = await chromium.launch({ executablePath: chromiumPath!, args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    await run?.stop();
  });

  it("is asked for a key at any address, says when it is wrong, and then shows that address", async () => {
    const context = await browser.newContext();
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/`);
    expect(page.url()).toBe(`${run.url}/dashboard/`);
    await page.goto(`${run.url}/dashboard/?range=7d&zone=Asia%2FKathmandu`);
    await page.getByLabel("API key").fill("cw_test_wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    complaints.length = 0; // Chromium's console names the 401s that were meant.
    await page.getByLabel("API key").fill(account.key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
    expect(page.url()).toContain("?range=7d&zone=Asia%2FKathmandu");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("API key").waitFor();
    expect((await context.cookies()).filter(({ name }) => name.includes("session"))).toEqual([]);
    await context.close();
  });

  it("lists each request, new ones by themselves, and opens one with its placement and its exact cost", async () => {
    const context = await signedIn({ viewport: { width: 1440, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/requests?zone=UTC`);
    const rows = page.getByRole("table", { name: "Requests" }).locator("tbody tr");
    await rows.first().waitFor();
    const before = await rows.count();
    expect(before).toBeGreaterThanOrEqual(3);
    const id = await asked(true);
    await page.locator(`[id="row-${id}"]`).waitFor();
    expect(await rows.count()).toBe(before + 1);
    await page.locator(`[id="row-${id}"]`).click();
    const pane = page.getByRole("region", { name: "One request" });
    await pane.getByText("Exact cost").waitFor();
    const detail = await read<{ cost_nanodollars: string; backend: string }>(
      run,
      account.key,
      `/v1/requests/${id}`,
    );
    expect(await pane.locator("tfoot").textContent()).toContain(
      `$0.${detail.cost_nanodollars.padStart(9, "0")}`,
    );
    expect(await pane.locator("tr", { hasText: "chosen" }).textContent()).toContain(
      detail.backend.replace("bknd_", ""),
    );
    for (const step of ["Admit", "Route", "Attempt", "Decode", "Settle"])
      expect(await pane.locator(".timeline tbody th", { hasText: step }).count()).toBeGreaterThan(0);
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 200))])).toEqual([]);
    await page.keyboard.press("Escape");
    await pane.waitFor({ state: "detached" });
    expect(await page.locator(":focus").getAttribute("id")).toBe(`row-${id}`);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it("is walked by keyboard: j opens, / finds, a bar of the histogram becomes the range", async () => {
    const context = await signedIn({ viewport: { width: 1000, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/requests?zone=UTC`);
    const rows = page.getByRole("table", { name: "Requests" }).locator("tbody tr");
    await rows.first().waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    // So narrow, it is a page of its own.
    await page.getByRole("heading", { level: 1, name: "One request" }).waitFor();
    expect(await page.locator("h1").count()).toBe(1);
    expect(await rows.first().isVisible()).toBe(false);
    const id = new URL(page.url()).searchParams.get("request");
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { level: 1, name: "Requests" }).waitFor();
    await expect.poll(() => page.locator(":focus").getAttribute("id")).toBe(`row-${id}`);
    await page.keyboard.press("/");
    expect(await page.locator(":focus").getAttribute("name")).toBe("id");
    await page.keyboard.press("Escape");
    await page.getByRole("figure").focus();
    await page.keyboard.press("End");
    const said = await page.locator("output").textContent();
    const inBar = Number(/Finished (\d+)/.exec(said!)![1]);
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Live" }).waitFor();
    const { searchParams } = new URL(page.url());
    const [from, to] = ["from", "to"].map((name) => Date.parse(searchParams.get(name)!));
    expect(to! - from!).toBeLessThanOrEqual(3_600_000);
    await page.getByText(`${inBar} in `).waitFor();
    expect(await rows.count()).toBe(inBar);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it("makes a key that works, refuses bad input beside its field, rotates and revokes, by keyboard alone", async () => {
    const context = await signedIn({ viewport: { width: 1440, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/keys`);
    const status = async (key: string) =>
      (await fetch(`${run.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status;
    const press = async (name: string | RegExp) => {
      await page.getByRole("button", { name }).first().focus();
      await page.keyboard.press("Enter");
    };
    await press("Create key");
    const dialog = page.getByRole("dialog");
    await dialog.locator("[name=name]:focus").waitFor();
    await page.keyboard.type("<b>made by a page</b>");
    await dialog.getByLabel("Budget a day").fill("five");
    await page.keyboard.press("Enter");
    await dialog.getByText("Must be decimal USD").waitFor();
    expect(await page.locator(":focus").getAttribute("name")).toBe("budgets.day");
    complaints.length = 0; // Chromium's console names the 400 that was meant.
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.type("$5.00");
    await page.keyboard.press("Enter");
    const secret = async (title: RegExp) => {
      await page.getByRole("dialog", { name: title }).waitFor();
      await page.keyboard.press("Escape"); // It stays: the secret would be lost.
      expect(await dialog.locator("pre").textContent()).toContain("/v1/chat/completions");
      const text = await dialog.locator("code").first().textContent();
      await dialog.getByRole("button", { name: "I have kept it" }).press("Enter");
      await dialog.waitFor({ state: "detached" });
      expect(await page.content()).not.toContain(text);
      expect(await page.locator(":focus").getAttribute("id")).toMatch(/^row-key_/);
      return text!;
    };
    const first = await secret(/^The key <b>made/);
    expect(await page.locator(":focus").textContent()).toContain("$0.00 of $5.00 a day");
    await press("Rotate <b>made by a page</b>");
    await dialog.getByRole("button", { name: "Rotate key" }).press("Enter");
    await dialog.getByText(/The old key, …\w{4}, works until/).waitFor();
    const second = await secret(/^The new key/);
    expect([await status(first), await status(second)]).toEqual([200, 200]);
    await press("Revoke <b>made by a page</b>");
    await dialog.getByText("This cannot be undone").waitFor();
    await page.keyboard.press("Escape");
    expect(await page.locator(":focus").textContent()).toContain("Revoke");
    await press("Revoke <b>made by a page</b>");
    await dialog.getByRole("button", { name: "Revoke key" }).press("Enter");
    await dialog.waitFor({ state: "detached" });
    await page.locator(":focus", { hasText: "Revoked" }).waitFor();
    expect([await status(first), await status(second)]).toEqual([200, 401]);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it("has as many rows in the page as are seen, and holds new ones back from who has scrolled", async () => {
    const context = await signedIn({ viewport: { width: 1440, height: 900 } });
    const page = watched(await context.newPage());
    // More than anybody would ask for here: the real rows, over and over.
    const [real] = (await read<{ data: object[] }>(run, account.key, "/v1/requests")).data;
    let next = 1_000_000;
    await page.route(/\/v1\/requests\?/, async (route) => {
      const isNew = route.request().url().includes("after=");
      const data = Array.from({ length: isNew ? 1 : 100 }, () => ({ ...real, sequence: next-- }));
      await route.fulfill({
        json: { object: "list", data, next_before: next, newest: next, matched: 5_000 },
      });
    });
    await page.goto(`${run.url}/dashboard/requests`);
    const table = page.getByRole("table", { name: "Requests" });
    await table.waitFor();
    for (let turn = 0; turn < 3; turn++) {
      const first = await table.locator("tbody tr").first().getAttribute("aria-rowindex");
      await page.evaluate("scrollBy(0, 4_000)");
      await expect
        .poll(() => table.locator("tbody tr").first().getAttribute("aria-rowindex"))
        .not.toBe(first);
      expect(await table.locator("tbody tr").count()).toBeLessThanOrEqual(40);
    }
    expect(Number(await table.getAttribute("aria-rowcount"))).toBeGreaterThan(200);
    await page.getByRole("button", { name: /new$/ }).click();
    expect(await page.evaluate("scrollY")).toBe(0);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it("shows each entry of the journal exactly, leads to its request, and exports it without formulas", async () => {
    await admin(run, "POST", `/accounts/${account.id}/credits`, { amount: "0.000000001", reference: "=1+1" });
    const context = await signedIn({ viewport: { width: 1440, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/billing`);
    type Entries = {
      data: { amount_nanodollars: string; balance_nanodollars: string; request_id: string }[];
    };
    const { data } = await read<Entries>(run, account.key, "/v1/journal");
    await page.getByRole("button", { name: "All nine digits" }).click();
    const cells = await page.locator(".journal [data-exact]").evaluateAll((found) =>
      // Without their sign, as the page writes it.
      found.map((cell) => (cell as unknown as { textContent: string }).textContent.replace(/[+−$.,]/g, "")),
    );
    const digits = (nano: string) => nano.replace("-", "").padStart(10, "0");
    expect(cells).toEqual(
      data.flatMap((entry) => [digits(entry.amount_nanodollars), digits(entry.balance_nanodollars)]),
    );
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export CSV" }).click();
    const csv = readFileSync(await (await download).path(), "utf8").split("\r\n");
    expect(csv).toHaveLength(data.length + 2);
    expect(csv[1]).toMatch(/,credit,0\.000000001,\d+\.\d{9},,"'=1\+1",,$/);
    const { request_id: request } = data.find((entry) => entry.request_id)!;
    await page.getByRole("link", { name: request }).click();
    await page.getByRole("region", { name: "One request" }).getByText("Exact cost").waitFor();
    expect(complaints).toEqual([]);
    await context.close();
  });

  it("sums up what was dragged over, with the time before only when asked, and calls keys by their names", async () => {
    const context = await signedIn({ viewport: { width: 1440, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/?group=key`);
    await page.getByRole("link", { name: HOSTILE }).waitFor();
    await page.getByRole("button", { name: "Compare" }).click();
    await page.getByText("not compared").waitFor();
    const total = page.locator("tfoot td").nth(2);
    const requests = await total.textContent();
    const box = (await page.locator(".u-over").first().boundingBox())!;
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * 0.9, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 2, y);
    await page.mouse.up();
    await page.waitForURL(/from=.*&to=/);
    await expect.poll(() => page.locator(".old").count()).toBe(0);
    const { searchParams } = new URL(page.url());
    const [from, to] = ["from", "to"].map((name) => Date.parse(searchParams.get(name)!));
    expect((to! - from!) / 3_600_000).toBeLessThan(5);
    // All of them ended in the last hour.
    expect(await total.textContent()).toBe(requests);
    await page.goBack();
    expect(new URL(page.url()).searchParams.has("from")).toBe(false);
    expect(complaints).toEqual([]);
    await context.close();
  });

  it("shows each region, and its backends only to whom the operator lets see them", async () => {
    const context = await signedIn({ viewport: { width: 1440, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/regions`);
    const region = page.getByRole("region", { name: "us-east" });
    const row = region.getByRole("row", { name: "us-east-1" });
    await row.waitFor();
    expect(await row.textContent()).toMatch(/plays GPU, simulated\s*Up.*0 of 8/);
    expect(await region.textContent()).toContain("simulated");
    expect(await region.getByText("Your requests").locator("..").textContent()).toMatch(/[3-9]$/);
    await admin(run, "PATCH", `/accounts/${account.id}`, { fleet_view: "own" });
    await region.getByText(`Serves ${MODEL}.`).waitFor();
    expect(await page.getByRole("table").count()).toBe(0);
    await admin(run, "PATCH", `/accounts/${account.id}`, { fleet_view: "full" });
    await context.close();
  });

  it("leaves the API's paths alone and says what a page may do", async () => {
    const page = await fetch(`${run.url}/dashboard/no/such/page`);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'; script-src 'self'");
    expect(await page.text()).toContain('<div id="app">');
    for (const path of ["/dashboard/assets/none.js", "/v1/none", "/manifest.json", "/.sources", "/"])
      expect([path, (await fetch(run.url + path)).status]).toEqual([path, path === "/v1/none" ? 401 : 404]);
    expect((await fetch(`${run.url}/dashboard/`, { method: "POST" })).status).toBe(404);
  });

  it("sets an alert, and makes an endpoint whose deliveries show each attempt and are sent again", async () => {
    const receiver = await Receiver.start();
    receiver.on("/hook", (to, count) => to.writeHead(count === 1 ? 500 : 204).end());
    const context = await signedIn({ viewport: { width: 390, height: 900 } });
    const page = watched(await context.newPage());
    await page.goto(`${run.url}/dashboard/billing?tab=limits`);
    await page.getByLabel("Balance below, USD").fill("-1");
    await page.getByRole("button", { name: "Save alerts" }).click();
    await page.getByText("Must be above 0").waitFor();
    complaints.length = 0; // The 400 that was meant.
    await page.getByLabel("Balance below, USD").fill("1,000.50");
    await page.keyboard.press("Enter");
    await page.getByText("Saved.").waitFor();
    const alerts = await read<{ balance_low: string }>(run, account.key, "/v1/alerts");
    expect(alerts.balance_low).toBe("1000.5");
    expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);

    await page.getByRole("link", { name: "Webhooks" }).click();
    await page.getByRole("button", { name: "Add endpoint" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Address").fill(`${receiver.url}/hook`);
    await page.keyboard.press("Enter");
    const secret = await dialog.locator("code").textContent();
    await dialog.getByRole("button", { name: "I have kept it" }).click();
    await page.locator("[id^=endpoint-whep]:focus").waitFor();
    expect(await page.content()).not.toContain(secret);
    await page.getByRole("button", { name: "Send test event" }).click();
    const delivery = page.locator("[id^=delivery-]").first();
    await delivery.getByText("Delivered").waitFor();
    expect(await delivery.locator(".attempts li").allTextContents()).toEqual([
      expect.stringContaining("500"),
      expect.stringContaining("204"),
    ]);
    await delivery.getByRole("button", { name: "Replay" }).click();
    for (const sent of await receiver.gets("/hook", 3)) expect(verify(secret!, sent).type).toBe("test");
    expect((await new AxeBuilder({ page }).analyze()).violations).toEqual([]);
    expect(complaints).toEqual([]);
    await context.close();
    receiver.stop();
  });

  it("leaves the API's paths alone and says what a page may do", async () => {
    const page = await fetch(`${run.url}/dashboard/no/such/page`);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'; script-src 'self'");
    expect(await page.text()).toContain('<div id="app">');
    for (const path of ["/dashboard/assets/none.js", "/v1/none", "/manifest.json", "/.sources", "/"])
      expect([path, (await fetch(run.url + path)).status]).toEqual([path, path === "/v1/none" ? 401 : 404]);
    expect((await fetch(`${run.url}/dashboard/`, { method: "POST" })).status).toBe(404);
  });

  describe.each(["light", "dark"] as const)("in %s", (colorScheme) => {
    describe.each([1440, 390])("%i wide", (width) => {
      let context: BrowserContext;
      beforeAll(async () => {
        context = await signedIn({ colorScheme, viewport: { width, height: 900 } });
      });
      afterAll(() => context?.close());

      it.each(PAGES)(
        "%s is accessible, silent, one heading, and no wider than the window",
        async (title, path) => {
          const page = watched(await context.newPage());
          await page.addInitScript({ content: COUNT_SHIFTS });
          await page.goto(run.url + path);
          await page.getByRole("heading", { level: 1, name: title }).waitFor();
          await settledPage(page);
          const { violations } = await new AxeBuilder({ page })
            .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
            .analyze();
          expect(
            violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 200))]),
          ).toEqual([]);
          expect(await page.locator("h1").count()).toBe(1);
          expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
          expect(await page.evaluate("window.shifted")).toBeLessThanOrEqual(MOST_SHIFT);
          expect(await page.title()).toBe(`${title} · Causeway`);
          expect(await page.locator("img").count()).toBe(0);
          expect(complaints).toEqual([]);
          await page.close();
        },
      );
    });
  });

  it.each(["index.html"])("loads first with at most 150 kB, whichever page it is (%s)", (entry) => {
    const manifest = JSON.parse(readFileSync(join(dashboardFolder, "manifest.json"), "utf8")) as Manifest;
    const pages = Object.keys(manifest).filter((name) => name.startsWith("pages/"));
    expect(pages.length).toBeGreaterThanOrEqual(new Set(PAGES.map(([title]) => title)).size);
    for (const page of pages) {
      const files = filesOf(manifest, [entry, page]);
      const bytes = [...files, "index.html"].reduce((sum, file) => sum + compressed(file), 0);
      expect([page, bytes <= BUDGET_BYTES, bytes]).toEqual([page, true, bytes]);
    }
  });
});

/** A real request through a real engine. @returns its answer's id. */
async function asked(stream: boolean): Promise<string> {
  const body = {
    model: MODEL,
    stream,
    max_tokens: 12,
    messages: [{ role: "user", content: "What is Causeway?" }],
  };
  return /chatcmpl-\w+/.exec(await (await ask(run, account.key, body)).text())![0];
}

type Manifest = Record<string, { file: string; imports?: string[]; css?: string[]; assets?: string[] }>;

/** A chunk with all that it imports, its styles, and the fonts that those name. */
function filesOf(manifest: Manifest, names: readonly string[], found = new Set<string>()): Set<string> {
  for (const name of names) {
    const chunk = manifest[name]!;
    if (found.has(chunk.file)) continue;
    for (const file of [chunk.file, ...(chunk.css ?? []), ...(chunk.assets ?? [])]) found.add(file);
    filesOf(manifest, chunk.imports ?? [], found);
  }
  return found;
}

function compressed(file: string): number {
  const bytes = readFileSync(join(dashboardFolder, "dashboard", file));
  if (file.endsWith(".woff2")) return bytes.length;
  return brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }).length;
}

async function signedIn(options: Parameters<Browser["newContext"]>[0]): Promise<BrowserContext> {
  const context = await browser.newContext({ timezoneId: "Europe/Vienna", ...options });
  const answer = await context.request.post(`${run.url}/dashboard/session`, {
    data: { key: account.key },
    headers: { origin: run.url },
  });
  expect(answer.status()).toBe(204);
  return context;
}

function watched(page: Page): Page {
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return page;
}

/** All that the page asked for is there, fonts too. */
async function settledPage(page: Page): Promise<void> {
  // Not waitForFunction: the page's policy forbids to evaluate a text, also when it is polled.
  await expect.poll(() => page.locator("[aria-busy=true]").count(), { timeout: 20_000 }).toBe(0);
  await page.evaluate("document.fonts.ready.then(() => true)");
}
