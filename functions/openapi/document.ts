/**
 * The OpenAPI 3.1 document, made from the route table itself and from the schemas that validate what is sent. A route
 * that is not described is a bug that a test finds.
 */
import type { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app.ts";
import type { Scope } from "../auth/scopes.ts";
import { type Operation, TAGS } from "./operation.ts";

export type Json = { readonly [key: string]: unknown };

/** One route as its line in the table says it. */
export interface Route {
  readonly method: string;
  /** In the document's spelling: `/v1/keys/{id}`. */
  readonly path: string;
  readonly operation: Operation | undefined;
  readonly scope: Scope | undefined;
  /** The dashboard's cookie is good for it. */
  readonly session: boolean;
}

/** Every route, each once, in the table's order. What stands for whole subtrees is no route. */
export function routesOf(app: Pick<Hono<AppEnv>, "routes">): Route[] {
  const routes = new Map<string, { -readonly [K in keyof Route]: Route[K] }>();
  for (const { method, path, handler } of app.routes) {
    if (method === "ALL") continue;
    const marks = handler as {
      readonly operation?: Operation;
      readonly scope?: Scope;
      readonly keysOnly?: true;
    };
    const shown = path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}").replace(/(.)\/$/, "$1");
    const name = `${method} ${shown}`;
    const route = routes.get(name) ?? {
      method,
      path: shown,
      operation: undefined,
      scope: undefined,
      session: shown.startsWith("/v1/"),
    };
    routes.set(name, route);
    if (marks.operation) route.operation = marks.operation;
    if (marks.scope) route.scope = marks.scope;
    if (marks.keysOnly) route.session = false;
  }
  return [...routes.values()];
}

const ERROR_TYPES = [
  "invalid_request_error",
  "authentication_error",
  "permission_error",
  "not_found_error",
  "insufficient_balance",
  "rate_limit_error",
  "overloaded_error",
  "backend_error",
  "api_error",
] as const;

export const errorShape = z
  .strictObject({
    error: z.strictObject({
      message: z.string().meta({ description: "What is wrong and what to do." }),
      type: z.enum(ERROR_TYPES),
      param: z.string().nullable().meta({ description: "The field that is wrong." }),
      code: z.string().meta({ description: "Stable: programs decide by it." }),
    }),
  })
  .meta({ id: "Error" });

const header = (description: string, example: string, schema: Json = { type: "string" }): Json => ({
  description,
  schema,
  example,
});

const HEADERS: Record<string, Json> = {
  "x-request-id": header("The request's id. Logs and support know it.", "req_01K0000000000000000000000A"),
  "x-should-retry": header("Whether asking again can help.", "true", { enum: ["true", "false"] }),
  "retry-after": header("Whole seconds, at most 60, where waiting helps.", "2", {
    type: "string",
    pattern: "^\\d+$",
  }),
  "x-ratelimit-limit-requests": header("Requests a minute.", "60"),
  "x-ratelimit-remaining-requests": header("What is left of them.", "59"),
  "x-ratelimit-reset-requests": header("When the window is empty again.", "60.000s"),
  "x-ratelimit-limit-tokens": header("Tokens a minute.", "100000"),
  "x-ratelimit-remaining-tokens": header("What is left of them.", "99000"),
  "x-ratelimit-reset-tokens": header("When the window is empty again.", "60.000s"),
  "x-causeway-region": header("Where it ran; `pending` when a stream's headers came first.", "eu-west"),
  "x-causeway-backend": header("What served it; `pending` as above.", "bknd_eu-west"),
  "x-causeway-attempts": header("Tries on backends; `pending` as above.", "1"),
  "x-causeway-ignored": header("Fields that were sent and have no effect.", "user"),
};
const OF_ERRORS = ["x-request-id", "x-should-retry", "retry-after"];
const OF_LIMITED = Object.keys(HEADERS).filter((name) => !OF_ERRORS.includes(name));

const headersOf = (names: readonly string[]): Json =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

/** What an operation's errors mean; its own come first. */
const MEANINGS: Readonly<Record<number, string>> = {
  400: "Something that was sent is wrong; `param` names it. Unknown fields and parameters are wrong, too.",
  401: "No credential, or one that opens nothing: unknown, expired or revoked.",
  403: "The key lacks the scope that this needs (`missing_scope`).",
  404: "It does not exist in this account.",
  408: "The body was not there in time (`request_timeout`).",
  413: "The body is too large (`request_too_large`).",
  500: "Our mistake (`internal_error`).",
  503: "Not available at the moment; Retry-After says when to come again.",
};

class Schemas {
  readonly components: Record<string, Json> = {};

  /** A schema's JSON. Those that have an id become components, and are referred to. */
  of(schema: z.ZodType, io: "input" | "output"): Json {
    const { properties, $defs = {} } = z.toJSONSchema(z.object({ root: schema }), {
      io,
      unrepresentable: "any",
      override: ({ zodSchema, jsonSchema }) => {
        // The form's name says it; zod's pattern for it is a page long.
        if (jsonSchema.format === "date-time" || jsonSchema.format === "date") delete jsonSchema.pattern;
        // Answers grow: a reader must not refuse what it does not know.
        if (io === "output" && jsonSchema.additionalProperties === false)
          delete jsonSchema.additionalProperties;
        // Where a default stands in, nothing has to be sent; a key of the registry is no keyword.
        if (zodSchema._zod.def.type !== "object") return;
      },
    });
    for (const [id, { id: _, ...definition }] of Object.entries($defs)) {
      const text = JSON.stringify(definition);
      const before = this.components[id];
      const after = JSON.parse(referred(text)) as Json;
      if (before && JSON.stringify(before) !== JSON.stringify(after))
        throw new Error(`two schemas are called '${id}'`);
      this.components[id] = after;
    }
    return JSON.parse(referred(JSON.stringify(properties!.root))) as Json;
  }
}

const referred = (text: string): string => text.replaceAll('"#/$defs/', '"#/components/schemas/');

const TITLE = "Causeway";
const INTRODUCTION = `Inference over HTTP in OpenAI's shape, and the account that pays for it.

**Conventions.** Names are snake_case. Times are ISO 8601 in UTC. Money comes twice: \`x\` is decimal USD as text and
\`x_nanodollars\` the same as a whole number of nanodollars (1e-9 USD), as text, for those who calculate. \`null\` is
unknown. Lists are \`{"object": "list", "data": [...]}\`. Every answer has \`x-request-id\`; every error is
\`{"error": {message, type, param, code}}\`, with \`x-should-retry\` and, where waiting helps, \`retry-after\`.`;

/** The document for a route table. The same table gives the same document. */
export function documentOf(app: Pick<Hono<AppEnv>, "routes">, version: string): Json {
  const schemas = new Schemas();
  const paths: Record<string, Record<string, Json>> = {};
  const tags = new Set<string>();
  const error = schemas.of(errorShape, "output");
  for (const route of routesOf(app)) {
    if (!route.operation) throw new Error(`${route.method} ${route.path} is not described`);
    tags.add(route.operation.tag);
    const path = (paths[route.path] ??= {});
    path[route.method.toLowerCase()] = operationOf(route, route.operation, schemas, error);
  }
  return {
    openapi: "3.1.0",
    info: { title: TITLE, version, description: INTRODUCTION },
    servers: [{ url: "/" }],
    tags: TAGS.filter((name) => tags.has(name)).map((name) => ({ name })),
    paths,
    components: {
      schemas: schemas.components,
      headers: HEADERS,
      securitySchemes: {
        apiKey: {
          type: "http",
          scheme: "bearer",
          description: "An API key, `cw_...`. Its scopes are named beside each operation.",
        },
        apiKeyHeader: {
          type: "apiKey",
          in: "header",
          name: "x-api-key",
          description: "The same key in another place.",
        },
        session: {
          type: "apiKey",
          in: "cookie",
          name: "__Host-causeway_session",
          description: "The dashboard's session.",
        },
        operator: {
          type: "http",
          scheme: "bearer",
          description: "The operator's own credential, ADMIN_KEY.",
        },
      },
    },
  };
}

function operationOf(route: Route, operation: Operation, schemas: Schemas, error: Json): Json {
  const { query, body, examples = {} } = operation;
  const parameters = [
    ...[...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name,
      in: "path",
      required: true,
      schema: { type: "string" },
    })),
    ...(query ? parametersOf(schemas.of(query, "input")) : []),
    ...(operation.idempotent ? [IDEMPOTENCY_KEY] : []),
  ];
  return {
    operationId: nameOf(route),
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.description !== undefined && { description: operation.description }),
    ...(route.scope !== undefined && { "x-scope": route.scope }),
    security: securityOf(route),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: !operation.bodyOptional,
        content: { "application/json": contentOf(schemas.of(body, "input"), examples.body) },
      },
    }),
    responses: responsesOf(route, operation, schemas, error),
  };
}

function responsesOf(route: Route, operation: Operation, schemas: Schemas, error: Json): Json {
  const { status = 200, answer, media, events, examples = {} } = operation;
  const content = {
    ...(answer && { "application/json": contentOf(schemas.of(answer, "output"), examples.answer) }),
    ...(media !== undefined && { [media]: { schema: { type: "string" } } }),
    ...(events && { "text/event-stream": contentOf(schemas.of(events, "output"), undefined) }),
  };
  const headers = headersOf(["x-request-id", ...(operation.limited ? OF_LIMITED : [])]);
  const success = {
    description: operation.summary,
    headers,
    ...(Object.keys(content).length > 0 && { content }),
  };
  const own = operation.errors ?? {};
  const codes = new Set([
    ...(operation.query || operation.body ? [400] : []),
    ...(route.path.startsWith("/v1/") || route.path.startsWith("/admin/") ? [401, 503] : []),
    ...(route.scope ? [403] : []),
    ...(route.path.includes("{") ? [404] : []),
    ...(operation.body ? [408, 413] : []),
    ...Object.keys(own).map(Number),
    500,
  ]);
  const failures = [...codes]
    .sort((a, b) => a - b)
    .map((code) => [
      String(code),
      {
        description: own[code] ?? MEANINGS[code],
        headers: headersOf(OF_ERRORS),
        content: { "application/json": { schema: error } },
      },
    ]);
  return { [String(status)]: success, ...Object.fromEntries(failures) };
}

const IDEMPOTENCY_KEY: Json = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description:
    "1 to 255 visible ASCII characters. What is asked twice under the same one within 24 h runs once: while it runs " +
    "the second gets 409 with Retry-After, after it 409 with `x-should-retry: false` and the first one's id, and with " +
    "another body 422. A request that was refused, or failed before it delivered anything, may be asked again.",
  schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
};

function securityOf({ path, scope, session }: Route): Json[] {
  if (path.startsWith("/admin")) return [{ operator: [] }];
  if (!path.startsWith("/v1/")) return [];
  const roles = scope === undefined ? [] : [scope];
  return [{ apiKey: roles }, { apiKeyHeader: roles }, ...(session ? [{ session: roles }] : [])];
}

/** The fields of a query's object, each a parameter. */
function parametersOf(schema: Json): Json[] {
  const properties = schema.properties as Record<string, Json>;
  const required = (schema.required ?? []) as readonly string[];
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: "query",
    required: required.includes(name),
    ...(description !== undefined && { description }),
    schema: rest,
  }));
}

const contentOf = (schema: Json, example: unknown): Json => ({
  schema,
  ...(example !== undefined && { example }),
});

/** `get_v1_keys_id`: stable while the path is. */
const nameOf = ({ method, path }: Route): string =>
  `${method.toLowerCase()}${path.replace(/[{}]/g, "").replace(/[^A-Za-z0-9]+/g, "_")}`;
