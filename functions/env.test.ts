import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { MODEL, openAccount } from "../test/support/worker.ts";
import { app } from "./app.ts";
import { type Env, settings } from "./env.ts";
import { Refusal } from "./errors.ts";

const whole = env as unknown as Env;

const without = (name: string): Env => {
  const { [name]: _, ...rest } = whole as unknown as Record<string, unknown>;
  return rest as unknown as Env;
};

describe("the configuration", () => {
  it("is read once, as numbers", () => {
    expect(settings(whole)).toMatchObject({ environment: "live", requestDeadlineMs: 600_000 });
    expect(settings(whole)).toBe(settings(whole));
  });

  it.each(["REQUEST_DEADLINE_MS", "UPLOAD_MS", "FIRST_TOKEN_MS", "IDLE_MS", "ENVIRONMENT"])(
    "refuses with a 503 where %s is missing, and the log names it",
    (name) => {
      const log = vi.spyOn(console, "error").mockImplementation(() => {});
      let thrown: unknown;
      try {
        settings(without(name));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(Refusal);
      expect((thrown as Refusal).error).toMatchObject({ status: 503, code: "service_unavailable" });
      expect(log.mock.calls.flat().join()).toContain(name);
      log.mockRestore();
    },
  );

  it.each(["", "soon", "-1", "0", "1e3", "99999999999"])("refuses %j as milliseconds", (value) => {
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    expect(() => settings({ ...whole, IDLE_MS: value })).toThrow(Refusal);
    log.mockRestore();
  });

  it("that is broken is a 503 in the surface's shape, and nothing is reserved", async () => {
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    const { key, object } = await openAccount();
    const body = JSON.stringify({ model: MODEL, messages: [{ role: "user", content: "Hello" }] });
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const request = new Request("https://edge.test/v1/chat/completions", { method: "POST", headers, body });
    const answer = await app.fetch(request, without("REQUEST_DEADLINE_MS"), createExecutionContext());
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await answer.json()).toMatchObject({ error: { code: "service_unavailable" } });
    expect((await object.balance()).held).toBe(0);
    log.mockRestore();
  });
});
