/** Refusals and failures as the OpenAI API writes them. The table of codes is in README.md. */

export type ErrorType = "invalid_request_error" | "authentication_error" | "server_error";

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;
  /** The field or header that is wrong. */
  readonly param: string | null;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    status: number,
    code: string,
    message: string,
    detail: { param?: string; retryAfterSeconds?: number } = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = detail.param ?? null;
    this.retryAfterSeconds = detail.retryAfterSeconds;
  }

  get type(): ErrorType {
    if (this.status === 401) return "authentication_error";
    return this.status >= 500 ? "server_error" : "invalid_request_error";
  }

  get body(): { error: { message: string; type: ErrorType; param: string | null; code: string } } {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } };
  }
}

export function invalidValue(param: string, message: string): ApiError {
  return new ApiError(400, "invalid_value", message, { param });
}
