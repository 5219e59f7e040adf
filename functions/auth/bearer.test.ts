import { describe, expect, it } from "vitest";
import { Refusal } from "../errors.ts";
import { credential } from "./bearer.ts";

const of = (headers: Record<string, string>) => credential(new Headers(headers));

function refused(headers: Record<string, string>) {
  try {
    return of(headers);
  } catch (error) {
    return error instanceof Refusal ? `${error.error.status} ${error.error.code}` : error;
  }
}

describe("the credential of a request", () => {
  it("is the bearer, or x-api-key", () => {
    expect(of({ authorization: "Bearer k" })).toBe("k");
    expect(of({ authorization: "bearer   k" })).toBe("k");
    expect(of({ "x-api-key": " k " })).toBe("k");
    expect(of({})).toBeUndefined();
    expect(of({ "x-api-key": "" })).toBeUndefined();
  });

  it("may be carried twice when both are the same, and is refused when they differ", () => {
    expect(of({ authorization: "Bearer k", "x-api-key": "k" })).toBe("k");
    expect(refused({ authorization: "Bearer k", "x-api-key": "other" })).toBe("400 conflicting_credentials");
  });

  it.each(["k", "Basic azo=", "Bearer", "Bearer ", "Bearer a b", "Bearer a, Bearer b"])(
    "is refused, and x-api-key does not stand in, when Authorization is %j",
    (authorization) => {
      expect(refused({ authorization, "x-api-key": "k" })).toBe("401 invalid_api_key");
    },
  );
});
