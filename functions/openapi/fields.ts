/** Fields that many answers have, as the OpenAPI document describes them. */
import { z } from "zod";

export const instant = z.iso.datetime().meta({ examples: ["2026-11-24T14:00:00.000Z"] });

export const usdText = z
  .string()
  .regex(/^-?\d+(\.\d{1,9})?$/)
  .meta({ description: "Decimal USD, exactly.", examples: ["1.5"] });

export const wholeText = z
  .string()
  .regex(/^-?\d+$/)
  .meta({
    description: "The same in nanodollars (1e-9 USD), a whole number as text.",
    examples: ["1500000000"],
  });

/** A list as every route answers it. */
export const listOf = <T extends z.ZodType>(item: T) =>
  z.strictObject({ object: z.literal("list"), data: z.array(item) });
