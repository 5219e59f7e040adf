/**
 * The ways to compute that a processor offers. Within one of them a result's bits are fixed; all of int8 give the
 * same integers, and so the same bits, while those of f32 differ in their last places.
 */
import type { Precision } from "../layers/ops.ts";
import { formatExact, formatF32, formatRelaxed } from "./constants.ts";
import type { Flavour } from "./generate.ts";
import { Instance, Module } from "./webassembly.ts";

export interface Variant {
  readonly name: string;
  readonly precision: Precision;
  /** The module it runs in. */
  readonly flavour: Flavour;
  /** Of its products with matrices that are not kept in f32. */
  readonly format: number;
}

/** The best first. Not each of them is right on each processor. */
export const allVariants: readonly Variant[] = [
  { name: "fma", precision: "f32", flavour: "fma", format: formatF32 },
  { name: "strict", precision: "f32", flavour: "strict", format: formatF32 },
  { name: "relaxed-dot", precision: "int8", flavour: "fma", format: formatRelaxed },
  { name: "exact", precision: "int8", flavour: "fma", format: formatExact },
];

/** Those that this processor runs exactly, the fastest first. */
export function variants(precision: Precision): readonly string[] {
  return usable(precision).map(({ name }) => name);
}

/** Errors: RangeError for a name that is none, or that this processor would compute wrongly. */
export function chooseVariant(precision: Precision, name: string | undefined): Variant {
  const found = usable(precision).find((variant) => name === undefined || variant.name === name);
  if (found) return found;
  throw new RangeError(
    `no ${precision} kernels "${name}" on this processor: there are ${variants(precision).join(", ")}`,
  );
}

function usable(precision: Precision): Variant[] {
  return allVariants.filter(
    (variant) => variant.precision === precision && (variant.format !== formatRelaxed || relaxedDotIsExact()),
  );
}

/**
 * (module (func (export "dot") (param i32 i32) (result i32)
 *   (i32x4.extract_lane 0 (i32x4.relaxed_dot_i8x16_i7x16_add_s
 *     (i32x4.splat (local.get 0)) (i32x4.splat (local.get 1)) (i32x4.splat (i32.const 0))))))
 */
const probe = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x07, 0x01, 0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7f],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x07, 0x01, 0x03, 0x64, 0x6f, 0x74, 0x00, 0x00],
  ...[0x0a, 0x16, 0x01, 0x14, 0x00],
  ...[0x20, 0x00, 0xfd, 0x11, 0x20, 0x01, 0xfd, 0x11, 0x41, 0x00, 0xfd, 0x11],
  ...[0xfd, 0x93, 0x02, 0xfd, 0x1b, 0x00, 0x0b],
);

/** What the relaxed dot product makes of four times 127 x 255: it may saturate on the way, or take 255 for -1. */
export function probeRelaxedDot(): number {
  const { exports } = new Instance(new Module(probe));
  return (exports.dot as (a: number, b: number) => number)(0x7f7f7f7f, -1);
}

function relaxedDotIsExact(): boolean {
  return probeRelaxedDot() === 4 * 127 * 255;
}
