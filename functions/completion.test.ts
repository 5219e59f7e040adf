import { expect, it } from "vitest";
import { addKey, admin, edge, openAccount, sellModel } from "../test/support/worker.ts";
import { bytesInFlight } from "./surfaces/openai/body.ts";

const MESSAGES = [{ role: "user", content: "Hello" }];

it("a refused request gives back its body's share of the budget, whichever step refuses it", async () => {
  const model = "refusals";
  await sellModel(model);
  expect(await admin("PUT", "/regions/refusing", { name: "R", zone: "weur" })).toMatchObject({ status: 200 });
  const backend = {
    ...{ name: "One", region: "refusing", model, served_as: model, kind: "openai", chip: "cpu" },
    ...{ plays: null, url: "https://backend.test", secret_name: "BACKEND_TEST_SECRET", state: "active" },
  };
  expect((await admin("PUT", "/backends/bknd_refusing", backend)).body).toMatchObject(backend);
  const rich = await openAccount();
  const poor = await openAccount("0");
  const reader = await addKey(rich.object, rich.id, ["usage"]);
  const statusOf = async (key: string, body: object) => {
    const answer = await edge("POST", "/v1/chat/completions", key, body);
    await answer.text();
    return answer.status;
  };
  const before = bytesInFlight();
  expect(await statusOf(rich.key, { model })).toBe(400);
  expect(await statusOf(rich.key, { model: "no-such-model", messages: MESSAGES })).toBe(404);
  // Served by no backend of this model.
  expect(await statusOf(rich.key, { model, messages: MESSAGES, top_k: 5 })).toBe(400);
  expect(await statusOf(poor.key, { model, messages: MESSAGES })).toBe(402);
  expect(await statusOf(reader.key, { model, messages: MESSAGES })).toBe(403);
  expect(bytesInFlight()).toBe(before);
});
