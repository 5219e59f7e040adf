/**
 * Numbers that TypeScript and AssemblyScript both need: this file is compiled by both, so it holds integer constants
 * and nothing else. README.md draws the layouts.
 */

/** Rows whose values lie together, in both layouts. A matrix is padded with rows of zeros to a multiple. */
export const rowsInBlock = 16;
/** int8: columns that share a scale a row, and activations that share one. Padded likewise. */
export const columnsInGroup = 32;
/** int8: 16 bf16 scales, then 16 x 32 weights. */
export const int8ScaleBytes = 32;
export const int8BlockBytes = 544;
/** int8 weights are stored unsigned, this much higher. */
export const int8Offset = 128;
/** A group of activations: 32 values of 1 or 2 bytes, the scale (f32), the correction (i32). */
export const relaxedGroupBytes = 40;
export const exactGroupBytes = 72;

/** How a product is computed. The formats of int8 differ in their activations only, not in the weights. */
export const formatF32 = 0;
export const formatExact = 1;
export const formatRelaxed = 2;

/** Control words, each on a cache line of its own; assembly/threads.ts tells what they mean. */
export const claimAt = 64;
export const doneAt = 128;
export const phaseAt = 192;
export const sleepersAt = 256;
export const mainSleepsAt = 320;
export const failedAt = 384;
export const stopAt = 448;
export const spinsAt = 512;
export const threadsAt = 576;

/** The command that is being executed: its code and its arguments, a word each. */
export const commandAt = 4096;
export const commandBytes = 256;
/** Each thread's own memory for what does not leave a command. */
export const threadMemoryAt = 65_536;
export const threadMemoryBytes = 65_536;

export const commandMatmul = 1;
export const commandMatmulHeads = 2;
export const commandExperts = 3;
export const commandNorm = 4;
export const commandAdd = 5;
export const commandStore = 6;
export const commandAttend = 7;
export const commandPack = 8;
export const commandGather = 9;
export const commandRead = 10;

/** Tokens that attention takes together, so that their cached positions are read from near memory. */
export const attentionTokens = 8;
/** Positions between two corrections of the running softmax; a multiple of the cache's block. */
export const attentionPositions = 64;

/** So few slots of experts have room for their results expert by expert, and take weights in long streams. */
export const fewSlots = 64;
