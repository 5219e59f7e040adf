/**
 * What an operator sends, checked. Unknown fields are refused here, unlike in a client's request: a mistyped name
 * of an operator must not pass as "left at its default".
 */
import type { Context } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import { type ApiError, invalid, Refusal } from "../errors.ts";
import { type Nanodollars, parseUsd } from "../money.ts";
import { readJson } from "../surfaces/openai/body.ts";

const MAX_BODY_BYTES = 64 * 1024;

/** The body through a schema. Throws a Refusal that names the first wrong field. */
export async function body<S extends z.ZodType>(c: Context<AppEnv>, schema: S): Promise<z.output<S>> {
  return checked(schema, await readJson(c.req.raw, MAX_BODY_BYTES));
}

/** A value through a schema, as above. */
export function checked<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new Refusal(firstIssue(parsed.error));
  return parsed.data;
}

function firstIssue(error: z.ZodError): ApiError {
  const issue = error.issues[0]!;
  const path = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const field = [...issue.path, issue.keys[0]].join(".");
    return invalid(`'${field}' is no field of this route.`, field, "unknown_parameter");
  }
  return invalid(path ? `'${path}': ${issue.message}` : issue.message, path || undefined);
}

/** A parameter of the route's path, decoded. */
export const pathParam = (c: Context<AppEnv>, name: string): string => c.req.param(name) ?? "";

/** What people call a thing. Control characters would forge lines in logs and tables. */
export const name = z
  .string()
  .min(1)
  .max(200)
  .regex(/^\P{Cc}*$/u, { error: "must not hold control characters" });

/** Jurisdictions whose regions alone may serve. */
export const residency = z
  .array(z.string().regex(/^[a-z]{2,10}$/, { error: "must be a jurisdiction such as 'eu'" }))
  .min(1)
  .max(20);

/** Decimal USD as text: JSON's numbers would round it. */
export const usd = z
  .string({ error: 'must be decimal USD as a string, such as "12.5"' })
  .transform((text, context): Nanodollars => {
    const value = parseUsd(text);
    if (value !== undefined) return value;
    context.addIssue('must be decimal USD with at most nine places, such as "12.5"');
    return z.NEVER;
  });
