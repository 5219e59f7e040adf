/**
 * From the kernels' bytes to machine code. V8 compiles all of it at once with its optimising compiler, since a step is
 * too short to leave the baseline code soon, and makes 256-bit instructions of pairs of 128-bit ones, which doubles
 * the speed of int8 products where the processor has them. That is an experimental part of V8: it is switched on for
 * this module only, and self-check.ts must agree with what comes out.
 */
import { setFlagsFromString } from "node:v8";
import { Module, type WasmModule } from "./webassembly.ts";

/** A custom section without content: other bytes, so that V8 does not give back what it compiled before. */
const emptySection = [0x00, 0x02, 0x01, 0x2d];

export function compileKernels(bytes: Uint8Array<ArrayBuffer>, wide: boolean): WasmModule {
  const flags = ["liftoff", "wasm-lazy-compilation"];
  try {
    for (const flag of flags) setFlagsFromString(`--no-${flag}`);
    if (wide) setFlagsFromString("--experimental-wasm-revectorize");
    return new Module(wide ? bytes : Uint8Array.of(...bytes, ...emptySection));
  } finally {
    setFlagsFromString("--no-experimental-wasm-revectorize");
    for (const flag of flags) setFlagsFromString(`--${flag}`);
  }
}
