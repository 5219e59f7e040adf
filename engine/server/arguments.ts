/** The command line. README.md lists the options. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import type { Precision } from "../layers/ops.ts";

export interface Arguments {
  readonly model: string;
  readonly port: number;
  readonly host: string;
  readonly region: string;
  readonly name: string | undefined;
  readonly maxSequences: number;
  readonly maxQueue: number;
  readonly cacheBytes: number;
  readonly drainMs: number;
  readonly weights: Precision;
  /** One of the kernels' variants; the best that this processor runs where none is named. */
  readonly variant: string | undefined;
  readonly threads: number;
}

/** The command line or the environment is wrong; the message says how. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export function parseArguments(argv: readonly string[]): Arguments {
  const option = { type: "string" } as const;
  let values: Partial<Record<string, string>>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        model: option,
        port: option,
        host: option,
        region: option,
        name: option,
        "max-sequences": option,
        "max-queue": option,
        "cache-mib": option,
        "drain-seconds": option,
        weights: option,
        variant: option,
        threads: option,
      },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { model } = values;
  if (!model) throw new UsageError("--model DIR is required");
  if (values.port === undefined) throw new UsageError("--port N is required");
  return {
    model,
    port: whole(values, "port", 0, 65_535, 0),
    host: values.host ?? "127.0.0.1",
    region: values.region ?? "local",
    name: values.name,
    maxSequences: whole(values, "max-sequences", 1, 1_024, 8),
    maxQueue: whole(values, "max-queue", 1, 100_000, 64),
    cacheBytes: whole(values, "cache-mib", 1, 1_048_576, 256) * 1024 * 1024,
    drainMs: whole(values, "drain-seconds", 0, 3_600, 10) * 1000,
    weights: precision(values.weights),
    variant: values.variant,
    threads: whole(values, "threads", 1, 256, availableParallelism()),
  };
}

function precision(text = "f32"): Precision {
  if (text !== "f32" && text !== "int8") throw new UsageError("--weights must be f32 or int8");
  return text;
}

function whole(
  values: Partial<Record<string, string>>,
  name: string,
  least: number,
  most: number,
  absent: number,
): number {
  const text = values[name];
  if (text === undefined) return absent;
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new UsageError(`--${name} must be a whole number from ${least} to ${most}`);
  }
  return value;
}
