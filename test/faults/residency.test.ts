/** An account that is held to a jurisdiction is never served elsewhere, whatever is asked and whatever is down. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Faulty, startFaulty } from "../support/faulty.ts";
import { admin, ask, hello, newAccount, register, settled, startUpstream } from "../support/platform.ts";
import type { Upstream } from "../support/upstream.ts";

let edge: Faulty;
let eu: Upstream;
beforeAll(async () => {
  edge = await startFaulty(); // Its own upstream stands in us-east, at no distance: the router's first choice.
  await admin(edge.run, "PUT", "/regions/us-east", {
    name: "US East",
    zone: "enam",
    jurisdiction: "us",
    simulated_distance_ms: 0,
  });
  await admin(edge.run, "PUT", "/regions/eu-west", {
    name: "EU West",
    zone: "weur",
    jurisdiction: "eu",
    // Far beyond what a busy machine adds to either.
    simulated_distance_ms: 400,
  });
  eu = await startUpstream();
  await register(edge.run, eu, "bknd_eu", undefined, "causeway", "eu-west");
});
afterAll(() => edge?.run.stop());

it("is served in its jurisdiction from the first request on, streamed and whole, and others where it is near", async () => {
  const account = await newAccount(edge.run, "1");
  await admin(edge.run, "PATCH", `/accounts/${account.id}`, { residency: ["eu"] });
  const other = await newAccount(edge.run, "1");
  for (const stream of [true, false, true]) {
    const response = await ask(edge.run, account.key, hello({ stream }));
    expect(response.headers.get("x-causeway-region")).toBe("eu-west");
    await response.text();
    expect((await ask(edge.run, other.key, hello({ stream }))).headers.get("x-causeway-region")).toBe(
      "us-east",
    );
  }
  expect(edge.upstream.calls.length).toBe(3);
});

it("is refused with a 503 when its jurisdiction is down, and nothing is sent anywhere else", async () => {
  const account = await newAccount(edge.run, "1");
  await admin(edge.run, "PATCH", `/accounts/${account.id}`, { residency: ["eu"] });
  const before = edge.upstream.calls.length;
  eu.behave = (call) => call.die();
  const response = await ask(edge.run, account.key, hello());
  expect(response.status).toBe(502);
  const generation = await settled(edge.run, account.key, response.headers.get("x-request-id")!);
  expect(generation.attempts.map((attempt) => attempt.backend)).toEqual(["bknd_eu"]);
  await admin(edge.run, "DELETE", "/backends/bknd_eu");
  const without = await ask(edge.run, account.key, hello());
  expect(without.status).toBe(503);
  expect(((await without.json()) as { error: { code: string } }).error.code).toMatch(/no_backend/);
  expect(edge.upstream.calls.length).toBe(before);
  await register(edge.run, eu, "bknd_eu", undefined, "causeway", "eu-west");
});

it("a key can narrow its account's residency and never widen it", async () => {
  const account = await newAccount(edge.run, "1");
  await admin(edge.run, "PATCH", `/accounts/${account.id}`, { residency: ["eu"] });
  const { key } = await admin<{ key: string }>(edge.run, "POST", `/accounts/${account.id}/keys`, {
    name: "us",
    residency: ["us"],
  });
  const response = await ask(edge.run, key, hello());
  expect(response.status).toBe(503);
  expect(((await response.json()) as { error: { code: string } }).error.code).toBe("no_backend_in_residency");
});

it("what an account is allowed anew counts at once, and a revoked key is a 401 however it was routed", async () => {
  eu.behave = (call) => call.finish();
  const account = await newAccount(edge.run, "1");
  await admin(edge.run, "PATCH", `/accounts/${account.id}`, { residency: ["eu"] });
  expect((await ask(edge.run, account.key, hello())).headers.get("x-causeway-region")).toBe("eu-west");
  await admin(edge.run, "DELETE", "/backends/bknd_eu");
  expect((await ask(edge.run, account.key, hello())).status).toBe(503);
  await admin(edge.run, "PATCH", `/accounts/${account.id}`, { residency: null });
  expect((await ask(edge.run, account.key, hello())).status).toBe(200);
  await admin(edge.run, "DELETE", `/accounts/${account.id}/keys/${account.keyId}`);
  expect((await ask(edge.run, account.key, hello())).status).toBe(401);
});
