/**
 * The reference page: the document as HTML, made by the Worker, with no script at all. The viewers that people use
 * (Scalar's and Redoc's bundles) are one to three megabytes of script and write their styles into the page, which
 * the strict policy here would have to allow; this is a hundred kilobytes, and searches as any page does.
 */
import { html, raw } from "hono/html";
import type { Json } from "./document.ts";

type Html = ReturnType<typeof html>;
interface Media {
  readonly schema: Json;
  readonly example?: unknown;
}
interface Shown {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly "x-scope"?: string;
  readonly security: readonly Json[];
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
    readonly description?: string;
    readonly schema: Json;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> };
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Readonly<Record<string, Media>> }>
  >;
}

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: light-dark(#0b57d0, #a8c7fa); }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.55 system-ui, sans-serif; display: grid; grid-template-columns: 17rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1rem; border-right: 1px solid var(--line); font-size: 13px; }
nav a { display: block; padding: .15rem 0; color: inherit; text-decoration: none; overflow-wrap: anywhere; }
nav a:hover, nav a:focus-visible { color: var(--accent); text-decoration: underline; }
nav h2 { font-size: 13px; margin: 1rem 0 .2rem; }
main { padding: 1rem 2rem 4rem; max-width: 60rem; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
h1 { margin: 0; } h3 { margin: 0 0 .3rem; font-size: 17px; } h4 { margin: 1rem 0 .3rem; font-size: 13px; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: .7rem; overflow: auto; border-radius: 6px; margin: .3rem 0; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-top: 1px solid var(--line); font-weight: normal; }
.method { font-weight: 600; color: var(--accent); } .soft { opacity: .75; } .path { overflow-wrap: anywhere; }
ul { margin: .2rem 0; padding-left: 1.2rem; list-style: none; border-left: 1px solid var(--line); }
@media (max-width: 50rem) { body { display: block; } nav { position: static; height: auto; border: 0; } main { padding: 1rem; } }
`;

/** The page, and the Content-Security-Policy that goes with it. */
export async function pageOf(document: Json): Promise<{ html: string; policy: string }> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(STYLE));
  const hash = btoa(String.fromCharCode(...new Uint8Array(digest)));
  const info = document.info as { title: string; description: string };
  const operations = Object.entries(document.paths as Record<string, Record<string, Shown>>).flatMap(
    ([path, methods]) => Object.entries(methods).map(([method, shown]) => ({ method, path, shown })),
  );
  const groups = Map.groupBy(operations, ({ shown }) => shown.tags[0]!);
  const byTag = (document.tags as { name: string }[]).map(({ name }) => [name, groups.get(name)!] as const);
  const { schemas } = document.components as { schemas: Record<string, Json> };
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${info.title} API</title>
        <style>${raw(STYLE)}</style>
      </head>
      <body>
        <nav aria-label="Operations">
          <a href="/openapi.json">openapi.json</a>
          ${byTag.map(
            ([tag, members]) => html`<h2>${tag}</h2>
              ${members.map(({ method, path, shown }) => html`<a href="#${shown.operationId}">${method.toUpperCase()} ${path}</a>`)}`,
          )}
          <h2>Schemas</h2>
          ${Object.keys(schemas).map((name) => html`<a href="#schema-${name}">${name}</a>`)}
        </nav>
        <main>
          <h1>${info.title} API</h1>
          ${prose(info.description)} ${byTag.map(([tag, members]) => html`<h2>${tag}</h2>${members.map(operation)}`)}
          <h2>Schemas</h2>
          ${Object.entries(schemas).map(
            ([name, schema]) =>
              html`<section id="schema-${name}"><h3>${name}</h3>${about(schema)}${fields(schema)}</section>`,
          )}
        </main>
      </body>
    </html>`;
  return {
    html: String(await page),
    policy: `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  };
}

function operation({ method, path, shown }: { method: string; path: string; shown: Shown }): Html {
  const { parameters = [], requestBody, responses } = shown;
  const scope = shown["x-scope"];
  return html`<section id="${shown.operationId}">
    <h3>${shown.summary}</h3>
    <p class="path"><code><span class="method">${method.toUpperCase()}</span> ${path}</code></p>
    <p class="soft">${credentials(shown.security)}${scope ? html` Scope: <code>${scope}</code>.` : ""}</p>
    ${prose(shown.description)}
    ${
      parameters.length > 0
        ? html`<h4>Parameters</h4>
          <table>
            ${parameters.map(
              (parameter) =>
                html`<tr>
                  <th scope="row"><code>${parameter.name}</code> <span class="soft">${parameter.in}</span></th>
                  <td>${type(parameter.schema)}${parameter.required ? "" : html` <span class="soft">optional</span>`}</td>
                  <td>${inline(String(parameter.description ?? parameter.schema.description ?? ""))}</td>
                </tr>`,
            )}
          </table>`
        : ""
    }
    ${requestBody ? html`<h4>Body</h4>${contents(requestBody.content)}` : ""}
    <h4>Answers</h4>
    <table>
      ${Object.entries(responses).map(
        ([status, response]) =>
          html`<tr>
            <th scope="row"><code>${status}</code></th>
            <td>${inline(response.description)}${status < "300" ? contents(response.content ?? {}) : ""}</td>
          </tr>`,
      )}
    </table>
  </section>`;
}

function credentials(security: readonly Json[]): string {
  const names = security.flatMap((one) => Object.keys(one));
  if (names.length === 0) return "For anybody.";
  if (names.includes("operator")) return "The operator's bearer.";
  return names.includes("session") ? "API key or the dashboard's session." : "API key.";
}

const contents = (content: Readonly<Record<string, Media>>): Html =>
  html`${Object.entries(content).map(
    ([media, { schema, example }]) =>
      html`<p><code>${media}</code> ${type(schema)}</p>
        ${fields(schema)}${example === undefined ? "" : html`<pre>${JSON.stringify(example, null, 2)}</pre>`}`,
  )}`;

/** The fields of an object, those of its parts within. What is a component is shown once, elsewhere. */
function fields(schema: Json): Html | "" {
  const inner = unwrapped(schema);
  const properties = inner.properties as Record<string, Json> | undefined;
  if (!properties) return "";
  const required = (inner.required ?? []) as readonly string[];
  return html`<ul>
    ${Object.entries(properties).map(
      ([name, property]) =>
        html`<li>
          <code>${name}</code> ${type(property)}${required.includes(name) ? "" : html` <span class="soft">optional</span>`}
          ${about(property)}${fields(property)}
        </li>`,
    )}
  </ul>`;
}

/** What a list holds, or what may be null. */
function unwrapped(schema: Json): Json {
  if (schema.type === "array" && schema.items) return unwrapped(schema.items as Json);
  const rest = ((schema.anyOf ?? []) as readonly Json[]).filter(({ type }) => type !== "null");
  return rest.length === 1 ? unwrapped(rest[0]!) : schema;
}

/** A schema's type in a few words. */
function type(schema: Json): Html | string {
  if (typeof schema.$ref === "string") {
    const name = schema.$ref.split("/").at(-1)!;
    return html`<a href="#schema-${name}">${name}</a>`;
  }
  if (schema.const !== undefined) return html`<code>${JSON.stringify(schema.const)}</code>`;
  const values = schema.enum as readonly unknown[] | undefined;
  if (values) return html`<code>${values.map((value) => JSON.stringify(value)).join(" | ")}</code>`;
  const choices = (schema.anyOf ?? schema.oneOf) as readonly Json[] | undefined;
  if (choices) return html`${choices.map((choice, i) => html`${i > 0 ? " or " : ""}${type(choice)}`)}`;
  if (schema.type === "array") return html`list of ${type((schema.items ?? {}) as Json)}`;
  const limits = [
    schema.format,
    schema.minimum !== undefined && `from ${schema.minimum}`,
    schema.maximum !== undefined && `to ${schema.maximum}`,
    schema.maxLength !== undefined && `at most ${schema.maxLength} characters`,
    schema.default !== undefined && `default ${JSON.stringify(schema.default)}`,
  ].filter(Boolean);
  const name = [schema.type ?? "any"].flat().join(" or ");
  return html`${name}${limits.length > 0 ? html` <span class="soft">${limits.join(", ")}</span>` : ""}`;
}

const about = (schema: Json): Html | "" =>
  typeof schema.description === "string"
    ? html` <span class="soft">${inline(schema.description)}</span>`
    : "";

/** Paragraphs, with code and bold as Markdown writes them. */
function prose(text: string | undefined): Html | "" {
  if (text === undefined) return "";
  return html`${text.split(/\n\n+/).map((paragraph) => html`<p>${inline(paragraph.replaceAll("\n", " "))}</p>`)}`;
}

/** Code and bold. */
const inline = (line: string) =>
  line.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return html`<code>${part.slice(1, -1)}</code>`;
    return part.startsWith("**") ? html`<strong>${part.slice(2, -2)}</strong>` : part;
  });
