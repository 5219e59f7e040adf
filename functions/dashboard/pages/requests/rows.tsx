/** The list itself: as many rows as are seen are in the page. On a phone each is a block of two lines. */
import { useEffect, useRef } from "preact/hooks";
import { clock, count, day, duration, fullTime, share, UNKNOWN } from "../../format.ts";
import type { RequestRow } from "../../live.ts";
import { Money, State, Unknown } from "../../parts.tsx";
import type { Names } from "../names.ts";
import { CELL, HEAD, NAME, ROW, ROWS, TABLE } from "../roles.ts";
import { useMedia, useRowWindow } from "./window.ts";

/** As styles/requests.css has them. */
const ROW_PX = 53;
const BLOCK_PX = 61;
const HEAD_PX = 32;
/** So many rows before the end the next ones are asked for. */
const AHEAD = 20;

interface Props {
  readonly rows: readonly RequestRow[];
  readonly zone: string;
  readonly names: Names;
  /** The address of one of them. */
  readonly link: (id: string) => string;
  readonly open: string | undefined;
  readonly isMore: boolean;
  readonly more: () => void;
  /** Set to what scrolls to a row. */
  readonly reveal: { current: ((index: number) => void) | null };
}

export const isSame = ({ id, request_id }: RequestRow, open: string | undefined): boolean =>
  open !== undefined && (id === open || request_id === open);

export function Rows({ rows, zone, names, link, open, isMore, more, reveal }: Props) {
  const table = useRef<HTMLTableElement>(null);
  const isPhone = useMedia("(max-width: 700px)");
  const seen = useRowWindow(table, rows.length, isPhone ? BLOCK_PX : ROW_PX, isPhone ? 0 : HEAD_PX);
  reveal.current = seen.reveal;
  const last = seen.items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (isMore && last >= rows.length - AHEAD) more();
  }, [last, rows.length, isMore]);
  const wide = open === undefined;
  const now = Date.now();
  // As high as all rows are; those that are in the page stand where they belong.
  const grow = (element: HTMLElement | null) => {
    if (element) element.style.height = `${(isPhone ? 0 : HEAD_PX) + seen.height}px`;
  };
  const move = (element: HTMLTableSectionElement | null) => {
    if (element) element.style.translate = `0 ${seen.above}px`;
  };
  return (
    <div ref={grow}>
      <table
        ref={table}
        class="requests"
        {...TABLE}
        aria-label="Requests, newest first"
        aria-rowcount={rows.length + 1}
      >
        <thead {...ROWS}>
          <tr {...ROW} aria-rowindex={1}>
            <Heading name="Time" />
            <Heading name="Outcome" />
            <Heading name="Model and key" />
            {wide && <Heading name="Placement" />}
            {wide && <Heading name="Input" number />}
            {wide && <Heading name="Output" number />}
            <Heading name="TTFT" number />
            {wide && <Heading name="Total" number />}
            <Heading name="Cost" number />
          </tr>
        </thead>
        <tbody {...ROWS} ref={move}>
          {seen.items.map(({ index }) => {
            const row = rows[index];
            return (
              row && (
                <Row
                  key={row.sequence}
                  row={row}
                  index={index}
                  wide={wide}
                  isOpen={isSame(row, open)}
                  {...{ zone, names, link, now }}
                />
              )
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

const Heading = ({ name, number = false }: { name: string; number?: boolean }) => (
  <th {...HEAD} class={`c-${name.split(" ")[0]!.toLowerCase()}${number ? " number" : ""}`}>
    {name}
  </th>
);

interface RowProps extends Pick<Props, "zone" | "names" | "link"> {
  readonly row: RequestRow;
  readonly index: number;
  readonly wide: boolean;
  readonly isOpen: boolean;
  readonly now: number;
}

function Row({ row, index, wide, isOpen, zone, names, link, now }: RowProps) {
  const { settled_at: at, input_tokens: fresh, cached_input_tokens: cached } = row;
  const input = fresh === null || cached === null ? null : fresh + cached;
  const isAwaited = row.cost_nanodollars === null;
  const date = day(at, zone);
  const time = (
    <time dateTime={at} title={fullTime(at, zone, now)}>
      {clock(at, zone)}
    </time>
  );
  return (
    <tr {...ROW} aria-rowindex={index + 2} aria-current={isOpen ? "true" : undefined}>
      <th {...NAME} class="c-time">
        {row.id === null ? (
          time
        ) : (
          <a id={`row-${row.id}`} href={link(row.id)}>
            {time}
          </a>
        )}
        {date !== day(new Date(now).toISOString(), zone) && <small>{date}</small>}
      </th>
      <td {...CELL} class="c-outcome">
        <State of={isAwaited && row.outcome === "finished" ? "awaited" : row.outcome} />
        {row.failed_over && <small class="warn">failed over</small>}
      </td>
      <td {...CELL} class="c-model">
        <span title={row.model ?? undefined}>{row.model ?? <Unknown />}</span>
        <small title={names.key(row.key) ?? undefined}>{names.key(row.key)}</small>
      </td>
      {wide && (
        <td {...CELL} class="c-placement">
          <span>{row.region ?? <Unknown />}</span>
          <small>{names.backend(row.backend)}</small>
        </td>
      )}
      {wide && (
        <td {...CELL} class="c-input number">
          {known(count(input))}
          {input !== null && cached !== null && cached > 0 && (
            <small>{share(cached / input, 0)} cached</small>
          )}
        </td>
      )}
      {wide && (
        <td {...CELL} class="c-output number">
          {known(count(row.output_tokens))}
          {row.output_tokens_per_second !== null && (
            <small>{row.output_tokens_per_second.toFixed(1)} tokens/s</small>
          )}
        </td>
      )}
      <td {...CELL} class="c-ttft number">
        {known(duration(row.ttft_ms))}
      </td>
      {wide && (
        <td {...CELL} class="c-total number">
          {known(duration(row.duration_ms))}
        </td>
      )}
      <td {...CELL} class="c-cost number">
        <Money nano={row.cost_nanodollars} request />
      </td>
    </tr>
  );
}

const known = (text: string) => (text === UNKNOWN ? <Unknown /> : text);
