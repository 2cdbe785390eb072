/**
 * The picture behind alignment and uniformity (Wang & Isola 2020, figure 3): an encoder with two outputs puts every image on a
 * circle, where its features can be looked at. A small model of its own, trained briefly with the same loss.
 */
import { SimClr } from './model.mjs';
import { train } from './train.mjs';

const IMAGES = 2000;
/** On a circle there is little room: a low temperature would let the nearest few negatives fill it in clumps. */
const TEMPERATURE = 1;

/** Features before and after: { points: [[x, y] on the circle], digits, distances: of positive pairs } for each. */
export function circleStudy({ digits, testDigits, views, seed, steps }) {
  const model = new SimClr(seed + 1, { encoder: [784, 128, 64], head: [64, 64, 2] });
  const indices = Int32Array.from({ length: IMAGES }, (_, i) => i);
  const images = testDigits.rows(indices);
  const look = () => {
    const pairs = onCircle(model.embed(views).z);
    const half = pairs.length / 2;
    return {
      points: onCircle(model.embed(images).z),
      digits: Array.from(indices, (i) => testDigits.labels[i]),
      distances: pairs.slice(0, half).map(([x, y], i) => Math.hypot(x - pairs[half + i][0], y - pairs[half + i][1])),
    };
  };
  const untrained = look();
  train({ model, digits, steps, seed, settings: { temperature: TEMPERATURE } });
  const trained = look();
  model.dispose();
  return { untrained, trained };
}

/** Rows of two numbers, each divided by its length. */
function onCircle({ data, shape: [rows] }) {
  return Array.from({ length: rows }, (_, i) => {
    const length = Math.hypot(data[2 * i], data[2 * i + 1]) || 1;
    return [data[2 * i] / length, data[2 * i + 1] / length];
  });
}
