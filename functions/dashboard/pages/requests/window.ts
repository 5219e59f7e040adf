/** Which rows of a long list are in the page: those that are seen and a few around them. The window scrolls. */
import {
  observeWindowOffset,
  observeWindowRect,
  type VirtualItem,
  Virtualizer,
  windowScroll,
} from "@tanstack/virtual-core";
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useMemo, useState } from "preact/hooks";

const AROUND = 6;

export interface RowWindow {
  readonly items: readonly VirtualItem[];
  /** Of all rows, pixels. */
  readonly height: number;
  /** Of those that are left out before the first one, pixels. */
  readonly above: number;
  /** Scrolls no further than it must. */
  readonly reveal: (index: number) => void;
}

/** @param table whose rows they are. @param rowHeight as the style has it. @param headHeight of what is above them. */
export function useRowWindow(
  table: RefObject<HTMLElement | null>,
  count: number,
  rowHeight: number,
  headHeight: number,
): RowWindow {
  const [, draw] = useState({});
  const [top, setTop] = useState(0);
  const options = {
    count,
    overscan: AROUND,
    scrollMargin: top,
    estimateSize: () => rowHeight,
    getScrollElement: () => window,
    observeElementRect: observeWindowRect,
    observeElementOffset: observeWindowOffset,
    scrollToFn: windowScroll,
    initialRect: { width: innerWidth, height: innerHeight },
    initialOffset: () => scrollY,
    onChange: () => draw({}),
  };
  const rows = useMemo(() => new Virtualizer<Window, HTMLElement>(options), []);
  rows.setOptions(options);
  useEffect(() => rows._didMount(), [rows]);
  useLayoutEffect(() => {
    rows._willUpdate();
    const rect = table.current?.getBoundingClientRect();
    // Hidden: it stands nowhere.
    if (rect && rect.width > 0) setTop(Math.round(rect.top + scrollY) + headHeight);
  });
  useLayoutEffect(() => rows.measure(), [rowHeight]);
  const items = rows.getVirtualItems();
  return {
    items,
    above: (items[0]?.start ?? top) - top,
    height: rows.getTotalSize(),
    reveal: (index) => rows.scrollToIndex(index, { align: "auto" }),
  };
}

/** Whether a media query matches now. */
export function useMedia(text: string): boolean {
  const query = useMemo(() => matchMedia(text), [text]);
  const [, draw] = useState({});
  useEffect(() => {
    const changed = () => draw({});
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, [query]);
  return query.matches;
}
