/** What the document says of routes that are nobody's: the edge itself, and the document. */
import { z } from "zod";
import type { Operation } from "./operation.ts";

export const health: Operation = {
  tag: "Service",
  summary: "The edge is up",
  answer: z.strictObject({ status: z.literal("ok") }),
};
export const document: Operation = {
  tag: "Service",
  summary: "This document",
  answer: z.looseObject({ openapi: z.string() }),
};
export const page: Operation = {
  tag: "Service",
  summary: "This document as a page",
  media: "text/html",
};
