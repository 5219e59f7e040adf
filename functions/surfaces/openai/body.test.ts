import { describe, expect, it } from "vitest";
import { Refusal } from "../../errors.ts";
import { bytesInFlight, readBody, readJson } from "./body.ts";

const text = (bytes: number) => JSON.stringify({ text: "x".repeat(bytes - '{"text":""}'.length) });
const post = (body: BodyInit) => new Request("https://edge.test", { method: "POST", body });
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "ok",
    (error: unknown) => (error instanceof Refusal ? `${error.error.status} ${error.error.code}` : error),
  );

describe("a body's share of the budget", () => {
  it("lasts until its request has ended, whoever says so how often", async () => {
    const before = bytesInFlight();
    const body = await readBody(post(text(1_000)));
    expect(bytesInFlight()).toBe(before + 1_000);
    body.release();
    body.release();
    expect(bytesInFlight()).toBe(before);
    await readJson(post(text(1_000)));
    expect(bytesInFlight()).toBe(before);
  });

  it("is given back by one that is too large, no JSON, or cut", async () => {
    const before = bytesInFlight();
    expect(await codeOf(readBody(post(text(101)), { limit: 100 }))).toBe("413 request_too_large");
    expect(await codeOf(readBody(post("{")))).toBe("400 invalid_json");
    const cut = new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(100));
        controller.error(new Error("cut"));
      },
    });
    expect(await codeOf(readBody(post(cut)))).toBeInstanceOf(Error);
    expect(bytesInFlight()).toBe(before);
  });

  it("is 32 MiB for all: while requests hold it, the next large one is told to come again", async () => {
    const large = text(8 * 1024 * 1024);
    const held = [];
    for (let i = 0; i < 4; i++) held.push(await readBody(post(large)));
    expect(await codeOf(readBody(post(text(100))))).toBe("503 overloaded");
    held.pop()!.release();
    const next = await readBody(post(text(100)));
    for (const body of [...held, next]) body.release();
    expect(bytesInFlight()).toBe(0);
  });
});

describe("a body that trickles", () => {
  it("has a deadline for its last byte, however steadily it comes, and is let go of", async () => {
    let cancelled = false;
    const trickle = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (!cancelled) controller.enqueue(new TextEncoder().encode(" "));
      },
      cancel() {
        cancelled = true;
      },
    });
    expect(await codeOf(readBody(post(trickle), { uploadMs: 150 }))).toBe("408 request_timeout");
    expect(bytesInFlight()).toBe(0);
    expect(cancelled).toBe(true);
  });

  it("that stops in the middle is not waited for", async () => {
    const silent = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"a":'));
      },
    });
    expect(await codeOf(readBody(post(silent), { uploadMs: 50 }))).toBe("408 request_timeout");
    expect(bytesInFlight()).toBe(0);
  });
});
