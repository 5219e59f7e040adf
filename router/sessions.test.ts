import { expect, it } from "vitest";
import { backendOfSession, createSessions, rememberSession } from "./sessions.ts";

it("sessions are compared whole, and within one account", () => {
  const sessions = createSessions();
  rememberSession(sessions, "acct_1", "session-1", "a");
  rememberSession(sessions, "acct_1", "session-12", "b");
  expect(backendOfSession(sessions, "acct_1", "session-1")).toBe("a");
  expect(backendOfSession(sessions, "acct_1", "session-12")).toBe("b");
  expect(backendOfSession(sessions, "acct_1", "session-")).toBeUndefined();
  expect(backendOfSession(sessions, "acct_2", "session-1")).toBeUndefined();
  expect(backendOfSession(sessions, "acct_1s", "ession-1")).toBeUndefined();
});

it("the session not used for longest goes first", () => {
  const sessions = createSessions(2);
  rememberSession(sessions, "s", "one", "a");
  rememberSession(sessions, "s", "two", "a");
  rememberSession(sessions, "s", "one", "b");
  rememberSession(sessions, "s", "three", "a");
  expect(backendOfSession(sessions, "s", "one")).toBe("b");
  expect(backendOfSession(sessions, "s", "two")).toBeUndefined();
});
