/** What the dashboard shows is what the journal holds, and only for as long as the key is good. */
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chromiumPath } from "../support/browser.ts";
import { admin, ask, audited, eventually, newAccount, read } from "../support/platform.ts";
import { type Run, startRun } from "../support/run.ts";

const MODEL = "causeway-probe";
const ZONES = ["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham"];
const GROUPS = ["model", "region", "backend", "key"];

describe.skipIf(!chromiumPath)("the dashboard and the journal", () => {
  let run: Run;
  let browser: Browser;
  let account: string;
  let key: string;
  let amounts: bigint[];

  beforeAll(async () => {
    [run, browser] = await Promise.all([
      startRun({ engines: 1 }),
      chromium.launch({ executablePath: chromiumPath!, args: ["--no-sandbox"] }),
    ]);
    ({ id: account, key } = await newAccount(run, "5", { scopes: ["inference", "usage", "manage"] }));
    for (let turn = 0; turn < 3; turn++) {
      const messages = [{ role: "user", content: "What is Causeway?" }];
      const answer = await ask(run, key, { model: MODEL, messages, max_tokens: 8 + turn });
      expect(answer.status, await answer.text()).toBe(200);
    }
    await audited(run, account);
    const { data } = await read<{ data: { amount_nanodollars: string }[] }>(run, key, "/v1/journal");
    amounts = data.map(({ amount_nanodollars }) => BigInt(amount_nanodollars));
    expect(amounts).toHaveLength(4);
  });
  afterAll(async () => {
    await Promise.all([browser?.close(), run?.stop()]);
  });

  const sum = (list: readonly bigint[]) => list.reduce((all, one) => all + one, 0n);

  it("agree on the balance, to the nanodollar", async () => {
    const posted = sum(amounts);
    const exact = `$${posted / 1_000_000_000n}.${String(posted % 1_000_000_000n).padStart(9, "0")}`;
    const page = await signedIn(key);
    await page.getByTitle(exact).first().waitFor();
    await page.close();
  });

  it("agree on the sum of rows and the total, in every group and zone", async () => {
    const spent = -sum(amounts.filter((amount) => amount < 0n));
    expect(spent).toBeGreaterThan(0n);
    const from = new Date(Date.now() - 3 * 86_400_000).toISOString();
    for (const zone of ZONES)
      for (const group of GROUPS) {
        const query = new URLSearchParams({ from, bucket: "day", time_zone: zone, group_by: group });
        const usage = await eventually(async () => {
          const answer = await read<Usage>(run, key, `/v1/usage?${query}`);
          return answer.totals.requests === 3 ? answer : undefined;
        }, `three requests by ${group} in ${zone}`);
        expect(usage.other).toBeNull();
        const rows = sum(usage.groups.map(({ totals }) => BigInt(totals.cost_nanodollars)));
        const bars = sum(
          usage.groups.flatMap(({ series }) => series.cost_nanodollars.map((text) => BigInt(text))),
        );
        expect([rows, bars, BigInt(usage.totals.cost_nanodollars)]).toEqual([spent, spent, spent]);
      }
  });

  it("part when the key is revoked: the page asks for another one, and its address stays", async () => {
    const spare = await admin<{ id: string; key: string }>(run, "POST", `/accounts/${account}/keys`, {
      name: "spare",
    });
    const page = await signedIn(spare.key, "?range=7d");
    const revoked = await fetch(`${run.url}/v1/keys/${spare.id}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${key}` },
    });
    expect(revoked.status).toBe(200);
    await page.reload();
    await page.getByLabel("API key").waitFor();
    expect(new URL(page.url()).search).toBe("?range=7d");
    await page.close();
  });

  async function signedIn(key: string, search = ""): Promise<Page> {
    // A context of its own, and so a cookie of its own; it goes with the browser.
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${run.url}/dashboard/${search}`);
    await page.getByLabel("API key").fill(key);
    await page.keyboard.press("Enter");
    await page.getByRole("navigation", { name: "Pages" }).waitFor();
    return page;
  }
});

interface Usage {
  totals: { cost_nanodollars: string; requests: number };
  groups: { totals: { cost_nanodollars: string }; series: { cost_nanodollars: string[] } }[];
  other: null;
}
