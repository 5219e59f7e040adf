import { expect, it } from "vitest";
import { PlainOps } from "./plain.ts";
import { type RouterShape, route } from "./router.ts";
import { Scratch } from "./scratch.ts";

const shape: RouterShape = {
  routedExperts: 6,
  expertsPerToken: 2,
  groups: 3,
  groupsPerToken: 1,
  normaliseTopK: true,
  routedScalingFactor: 3,
};

/** Routes one token whose logits are exactly these. */
function chosen(logits: number[], bias: number[], changes: Partial<RouterShape> = {}) {
  const ops = new PlainOps();
  const gate = ops.matrix(logits.length, 1);
  ops.pack(gate, 0, Float32Array.from(logits));
  const router = { gate, correctionBias: Float32Array.from(bias) };
  const { experts, weights } = route(
    Float32Array.of(1),
    router,
    1,
    { ...shape, ...changes },
    ops,
    new Scratch(ops, 1),
  );
  return { experts: [...experts], weights: [...weights] };
}

const none = [0, 0, 0, 0, 0, 0];
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

it("keeps to the group whose two best experts sum highest, not to the one with the best expert", () => {
  expect(chosen([5, -5, 2, 2.1, 0, 0], none).experts).toEqual([3, 2]);
  expect(chosen([5, -5, 2, 2.1, 0, 0], none, { groups: 1 }).experts).toEqual([0, 3]);
});

it("chooses with the correction bias but weighs without it", () => {
  const { experts, weights } = chosen([1, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 2, 2], { groups: 1 });
  expect(experts).toEqual([4, 5]);
  expect(weights[0]).toBeCloseTo(1.5, 6);
  expect(weights[1]).toBeCloseTo(1.5, 6);
});

it("scales weights, normalised to one or as they are", () => {
  const normalised = chosen([1, 0, -9, -9, -9, -9], none, { groups: 1 }).weights;
  expect(normalised[0] + normalised[1]).toBeCloseTo(3, 6);
  const plain = chosen([1, 0, -9, -9, -9, -9], none, { groups: 1, normaliseTopK: false }).weights;
  expect(plain[0]).toBeCloseTo(3 * sigmoid(1), 5);
  expect(plain[1]).toBeCloseTo(1.5, 5);
});
