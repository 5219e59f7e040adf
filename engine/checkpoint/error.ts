/**
 * What is wrong with a checkpoint on disk, said in one line. Reading code throws this for everything that a
 * damaged, truncated, hostile or unsupported file can cause; anything else that escapes is a bug.
 */
export type CheckpointErrorCode = "missing" | "truncated" | "corrupt" | "unsupported" | "too_large";

export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  readonly code: CheckpointErrorCode;
  /** The file that the error is about. */
  readonly path: string;

  constructor(code: CheckpointErrorCode, path: string, detail: string) {
    super(`${path}: ${detail}`);
    this.code = code;
    this.path = path;
  }
}
