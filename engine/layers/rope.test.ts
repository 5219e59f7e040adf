import { expect, it } from "vitest";
import type { DeepseekV3Config } from "../checkpoint/config.ts";
import { Rope } from "./rope.ts";

const plain = { qkRopeDim: 4, qkNopeDim: 12, ropeTheta: 100, ropeInterleaved: true, yarn: undefined };

function rotated(config: object, position: number, values: number[]): number[] {
  const rope = new Rope(config as DeepseekV3Config);
  const [cos, sin] = [new Float32Array(values.length / 2), new Float32Array(values.length / 2)];
  rope.tables(cos, sin, position, 1);
  const x = Float32Array.from(values);
  const lines = { values: x, first: 0, stride: x.length };
  rope.rotate(lines, lines, 1, 1, cos, sin);
  return [...x];
}

it("turns neighbouring pairs when interleaved and halves when not", () => {
  const angles = [3, 3 * 100 ** -0.5];
  const turn = (a: number, b: number, angle: number) => [
    a * Math.cos(angle) - b * Math.sin(angle),
    b * Math.cos(angle) + a * Math.sin(angle),
  ];
  const [x0, x1] = turn(1, 2, angles[0]);
  const [x2, x3] = turn(3, 4, angles[1]);
  const interleaved = rotated(plain, 3, [1, 2, 3, 4]);
  const halves = rotated({ ...plain, ropeInterleaved: false }, 3, [1, 3, 2, 4]);
  for (const [i, value] of [x0, x1, x2, x3].entries()) expect(interleaved[i]).toBeCloseTo(value, 6);
  for (const [i, value] of [x0, x2, x1, x3].entries()) expect(halves[i]).toBeCloseTo(value, 6);
});

it("leaves position 0 alone", () => {
  expect(rotated(plain, 0, [1, 2, 3, 4])).toEqual([1, 2, 3, 4]);
});

it("scales scores by the head's size, and with YaRN by mscale_all_dim squared as well", () => {
  expect(new Rope(plain as unknown as DeepseekV3Config).softmaxScale).toBeCloseTo(1 / 4, 12);
  // DeepSeek-V3's own values: factor 40, both mscales 1.
  const yarn = {
    factor: 40,
    originalMaxPositions: 4096,
    betaFast: 32,
    betaSlow: 1,
    mscale: 1,
    mscaleAllDim: 1,
    truncate: true,
  };
  const mscale = 0.1 * Math.log(40) + 1;
  const rope = new Rope({ ...plain, yarn } as unknown as DeepseekV3Config);
  expect(rope.softmaxScale).toBeCloseTo((1 / 4) * mscale * mscale, 12);
});
