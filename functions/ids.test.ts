import { describe, expect, it } from "vitest";
import * as ids from "./ids.ts";

const ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

describe("ids", () => {
  it("are a prefix and a ULID, and differ each time", () => {
    const made = [ids.newRequestId(), ids.newKeyId(), ids.newLeaseId(), ids.newPriceId(), ids.newAccountId()];
    const prefixes = ["req", "key", "lease", "price", "acct"];
    for (const [i, id] of made.entries())
      expect(id).toMatch(new RegExp(`^${prefixes[i]}_[0-9A-HJKMNP-TV-Z]{26}$`));
    expect(new Set(Array.from({ length: 1_000 }, ids.newRequestId)).size).toBe(1_000);
  });

  it("are recognised when made here", () => {
    expect(ids.isRequestId(ids.newRequestId())).toBe(true);
    expect(ids.isAccountId(ids.newAccountId())).toBe(true);
    expect(ids.isAccountId(ids.newAccountId("eu"))).toBe(true);
  });

  it.each([
    "",
    "req_",
    `req_${ULID}x`,
    `req_${ULID.slice(1)}`,
    `REQ_${ULID}`,
    `req_${ULID.toLowerCase()}`,
    `req_${ULID}\n`,
    ` req_${ULID}`,
    `acct_${ULID}`,
    `req_${ULID}.1`,
  ])("%j is no request's id", (text) => expect(ids.isRequestId(text)).toBe(false));

  it.each([
    "",
    `acct_us_${ULID}`,
    `acct_eu${ULID}`,
    `acct__${ULID}`,
    `acct_eu_eu_${ULID}`,
    `acct_${ULID}\n`,
    `key_${ULID}`,
  ])("%j is no account's id", (text) => expect(ids.isAccountId(text)).toBe(false));

  it("of an account say which jurisdiction holds its data", () => {
    expect(ids.jurisdictionOf(ids.newAccountId("eu"))).toBe("eu");
    expect(ids.jurisdictionOf(ids.newAccountId())).toBeUndefined();
  });

  it("of an attempt are the request's and a number", () => {
    expect(ids.attemptId(`req_${ULID}`, 2)).toBe(`req_${ULID}.2`);
  });

  it("of an answer and of its request lead to each other, and nothing else does", () => {
    const request = ids.newRequestId();
    expect(ids.answerId(request)).toBe(`chatcmpl-${request.slice(4)}`);
    expect(ids.requestOfAnswer(ids.answerId(request))).toBe(request);
    expect(ids.requestOfAnswer(request)).toBe(request);
    for (const text of ["", "chatcmpl-", `chatcmpl-req_${ULID}`, `chatcmpl-${ULID}'--`, `cmpl-${ULID}`]) {
      expect(ids.requestOfAnswer(text)).toBeUndefined();
    }
  });
});
