/**
 * Expected failures. Each carries an HTTP status, a stable code and a message that says what to do; a surface
 * turns it into its protocol's own shape (surfaces/openai/errors.ts). It is plain data, so that it crosses RPC.
 */
export interface ApiError {
  readonly status: number;
  readonly type: ErrorType;
  readonly code: string;
  readonly message: string;
  readonly param?: string | undefined;
  /** Whole seconds, at most 60 (clients ignore more). */
  readonly retryAfterSeconds?: number | undefined;
  /** Whether asking again can help; `x-should-retry` tells the clients that listen. */
  readonly retryable: boolean;
}

export type ErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "not_found_error"
  | "insufficient_balance"
  | "rate_limit_error"
  | "overloaded_error"
  | "backend_error"
  | "api_error";

/** Throws an ApiError up to the one place that answers it. */
export class Refusal extends Error {
  readonly error: ApiError;
  constructor(error: ApiError) {
    super(error.message);
    this.error = error;
  }
}

const make = (
  status: number,
  type: ErrorType,
  code: string,
  message: string,
  more: { param?: string | undefined; retryAfterSeconds?: number; retryable?: boolean } = {},
): ApiError => ({
  status,
  type,
  code,
  message,
  param: more.param,
  retryAfterSeconds: more.retryAfterSeconds,
  retryable: more.retryable ?? more.retryAfterSeconds !== undefined,
});

export const invalid = (message: string, param?: string, code = "invalid_value"): ApiError =>
  make(400, "invalid_request_error", code, message, { param });

export const notServed = (field: string, hint: string): ApiError =>
  invalid(`'${field}' is not served yet. ${hint}`, field, "unsupported_parameter");

export const contextExceeded = (contextLength: number, detail: string): ApiError =>
  invalid(
    `This model's maximum context length is ${contextLength} tokens. ${detail} Shorten the messages.`,
    "messages",
    "context_length_exceeded",
  );

export const bodyTooLarge = (limitBytes: number): ApiError =>
  make(413, "invalid_request_error", "request_too_large", `The body is larger than ${limitBytes} bytes.`);

export const badKey = (
  message = "No such API key, or it was revoked. Send `Authorization: Bearer cw_...`.",
): ApiError => make(401, "authentication_error", "invalid_api_key", message);

export const badSession = (): ApiError =>
  make(401, "authentication_error", "invalid_session", "The session has ended. Sign in again.");

export const crossSite = (): ApiError =>
  make(
    403,
    "permission_error",
    "cross_site_request",
    "A session changes nothing for another site's page. Send an API key as a bearer.",
  );

export const notFound = (what: string, code = "not_found", param?: string): ApiError =>
  make(404, "not_found_error", code, what, { param });

/** A key that may do some things, and not this. */
export const missingScope = (scope: string): ApiError =>
  make(
    403,
    "permission_error",
    "missing_scope",
    `This needs a key with the scope '${scope}', which this key lacks.`,
  );

/** What stands in the way of a request that is valid by itself. */
export const conflict = (message: string, code: string, retryAfterSeconds?: number): ApiError =>
  make(409, "invalid_request_error", code, message, {
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });

export const idempotencyKeyReused = (): ApiError =>
  make(
    422,
    "invalid_request_error",
    "idempotency_key_reused",
    "This Idempotency-Key came before with another body. Use a new key for a new request.",
  );

export const bodyTooSlow = (seconds: number): ApiError =>
  make(
    408,
    "invalid_request_error",
    "request_timeout",
    `The body was not there within ${seconds} s. Nothing was done with it.`,
    { retryable: true },
  );

/** With a time to come again only where money that is tied up in flight may come back. */
export const budgetExceeded = (message: string, retryAfterSeconds?: number): ApiError =>
  make(429, "rate_limit_error", "budget_exceeded", message, {
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });

export const noBalance = (message: string): ApiError =>
  make(402, "insufficient_balance", "insufficient_balance", message);

export const balanceInFlight = (message: string): ApiError =>
  make(429, "rate_limit_error", "balance_in_flight", message, { retryAfterSeconds: 2 });

export const rateLimited = (message: string, retryAfterSeconds: number): ApiError =>
  make(429, "rate_limit_error", "rate_limit_exceeded", message, { retryAfterSeconds });

export const overloaded = (message: string, retryAfterSeconds = 2): ApiError =>
  make(503, "overloaded_error", "overloaded", message, { retryAfterSeconds });

export const noBackend = (model: string): ApiError =>
  make(503, "overloaded_error", "no_backend", `No backend serves '${model}' at the moment. Try again soon.`, {
    retryAfterSeconds: 5,
  });

export const outsideResidency = (model: string, residency: readonly string[]): ApiError =>
  make(
    503,
    "overloaded_error",
    "no_backend_in_residency",
    `This account may be served in ${residency.join(", ")} only, and no backend there serves '${model}' at the moment.`,
    { retryAfterSeconds: 5 },
  );

export const backendFailed = (message: string): ApiError =>
  make(502, "backend_error", "backend_failed", message, { retryAfterSeconds: 1 });

export const quarantined = (): ApiError =>
  make(
    502,
    "backend_error",
    "prompt_quarantined",
    "Two backends failed while they ran this very prompt. It is not tried on a third for a minute.",
  );

export const backendTimedOut = (message: string): ApiError =>
  make(504, "backend_error", "backend_timeout", message, { retryAfterSeconds: 2 });

export const notAvailable = (message: string): ApiError =>
  make(503, "api_error", "service_unavailable", message, { retryAfterSeconds: 2 });

export const notConfigured = (message: string): ApiError => make(503, "api_error", "not_configured", message);

export const internal = (): ApiError =>
  make(
    500,
    "api_error",
    "internal_error",
    "Something went wrong on our side. It was logged under the request's id.",
    {
      retryable: true,
    },
  );

/** Where an unexpected error came from, for the log. Its message may quote what was sent, and stays unsaid. */
export function framesOf(error: unknown): string {
  const lines = error instanceof Error ? (error.stack ?? "").split("\n") : [];
  return lines
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 5)
    .join("\n");
}
