/** The report's figures, drawn from the results of a run with the marks of svg.mjs. */
import { dots, label, Plot, short, svg } from './svg.mjs';

/** One colour a digit; light enough for a dark page, dark enough for a light one. */
export const DIGIT_COLOURS = ['#4e79a7', '#f28e2b', '#e15759', '#3aa6a0', '#59a14f', '#c9a227', '#a06ab4', '#f27ea9', '#9c755f', '#8a8f98'];

/** [low, high] of some numbers, with a little air on both sides. */
function around(values, air = 0.06) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const margin = (high - low || 1) * air;
  return [low - margin, high + margin];
}

/** NT-Xent of the watched views, and of the batch that was just learnt from. */
export function lossCurve(history, { batch, watchedViews }) {
  const losses = history.flatMap(({ loss, batchLoss }) => [loss, batchLoss]).filter(Number.isFinite);
  const title = 'NT-Xent loss over the training steps';
  const x = [0, history.at(-1).step];
  const plot = new Plot({ x, y: around(losses), xLabel: 'training step', yLabel: 'NT-Xent loss', title });
  const batches = history.filter(({ batchLoss }) => Number.isFinite(batchLoss)).map(({ step, batchLoss }) => [step, batchLoss]);
  const watched = history.map(({ step, loss }) => [step, loss]);
  plot.line(batches, 'var(--second)', 1.5).line(watched);
  const last = history.at(-1);
  return plot
    .note(last.step, last.loss, `${watchedViews.toLocaleString('en')} views of test images`, { dy: -9, anchor: 'end' })
    .note(last.step, last.batchLoss, `${2 * batch} views of the batch`, { dy: -16, anchor: 'end' })
    .toString();
}

/** The path of training in the plane of Wang & Isola: both axes fall while the representation improves. */
export function alignmentUniformityPath(history) {
  const points = history.map(({ uniformity, alignment }) => [uniformity, alignment]);
  const title = 'Alignment against uniformity during training';
  const x = around(
    points.map(([u]) => u),
    0.12,
  );
  const y = around(
    points.map(([, a]) => a),
    0.12,
  );
  const plot = new Plot({ x, y, xLabel: 'uniformity (lower: more spread out)', yLabel: 'alignment (lower: closer)', title });
  plot.line(points, 'var(--line)', 1.5).points(points, 'var(--accent)', { size: 5, opacity: 0.8 });
  const [first, last] = [points[0], points.at(-1)];
  return plot
    .points([first, last], 'var(--second)', { size: 9, opacity: 1 })
    .note(first[0], first[1], 'untrained', { dy: 20, anchor: 'end' })
    .note(last[0], last[1], `step ${history.at(-1).step.toLocaleString('en')}`, { dy: 20, anchor: 'start' })
    .toString();
}

/** Points of a plane, coloured by digit. */
export function projection(points, digits, title) {
  const x = around(
    points.map(([a]) => a),
    0.03,
  );
  const y = around(
    points.map(([, b]) => b),
    0.03,
  );
  const frame = { width: 520, height: 420, x, y, xLabel: 'first principal component', yLabel: 'second principal component', title };
  const plot = new Plot(frame);
  DIGIT_COLOURS.forEach((colour, digit) => {
    plot.points(
      points.filter((_, i) => digits[i] === digit),
      colour,
      { size: 4 },
    );
  });
  return plot.toString();
}

/**
 * Unit vectors on their circle, coloured by digit; outwards their density; inside, each digit's number at the mean of its vectors,
 * so that a number far from the centre stands for a digit that keeps together.
 */
export function circle({ points, digits }, title) {
  const size = 300;
  const centre = size / 2;
  const radius = 92;
  const place = (x, y, r) => [centre + r * x, centre - r * y];
  const density = angleDensity(points);
  const peak = Math.max(...density);
  const ring = density.map((value, i) => {
    const angle = (2 * Math.PI * i) / density.length;
    return place(Math.cos(angle), Math.sin(angle), radius + 6 + (48 * value) / peak);
  });
  const outline = `M${ring.map(([x, y]) => `${short(x)} ${short(y)}`).join('L')}Z`;
  const r = radius + 6;
  const hole = `M${centre - r} ${centre}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  const marks = [`<path d="${outline}${hole}" fill="var(--accent)" fill-opacity="0.35" fill-rule="evenodd"/>`];
  DIGIT_COLOURS.forEach((colour, digit) => {
    const own = points.filter((_, i) => digits[i] === digit);
    // A few pixels of depth, each image always at the same one, so that points do not hide each other entirely.
    marks.push(
      dots(
        own.map(([x, y], i) => place(x, y, radius - ((i * 7) % 11))),
        colour,
        { size: 2.5, opacity: 0.55 },
      ),
    );
  });
  DIGIT_COLOURS.forEach((colour, digit) => {
    const own = points.filter((_, i) => digits[i] === digit);
    const mean = [0, 1].map((axis) => own.reduce((sum, point) => sum + point[axis], 0) / own.length);
    const [x, y] = place(mean[0], mean[1], radius - 20);
    marks.push(`<circle cx="${short(x)}" cy="${short(y)}" r="8" fill="${colour}"/>`, label(x, y + 4, digit, { kind: 'digit' }));
  });
  return svg(size, size, title, marks.join(''));
}

/** A smooth density over the whole turn: a von Mises kernel about 0.1 radians wide on every angle. */
function angleDensity(points, steps = 180, concentration = 100) {
  return Array.from({ length: steps }, (_, i) => {
    const angle = (2 * Math.PI * i) / steps;
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    return points.reduce((sum, [x, y]) => sum + Math.exp(concentration * (cos * x + sin * y - 1)), 0) / points.length;
  });
}

/** Share of `values` in each of `bins` equal bins over [low, high]. */
export function histogram(values, low, high, bins) {
  const shares = new Array(bins).fill(0);
  for (const value of values) {
    const bin = Math.floor(((value - low) / (high - low)) * bins);
    shares[Math.min(bins - 1, Math.max(0, bin))] += 1 / values.length;
  }
  return shares;
}

/** The angles of both studies on one scale: [untrained, trained]. */
export function angleHistograms(studies) {
  const shares = studies.map(({ points }) =>
    histogram(
      points.map(([x, y]) => (Math.atan2(y, x) * 180) / Math.PI),
      -180,
      180,
      36,
    ),
  );
  const top = Math.max(...shares.flat()) * 1.08;
  return shares.map((heights) => {
    const frame = { width: 360, height: 280, x: [-180, 180], y: [0, top], xLabel: 'angle (degrees)', yLabel: 'share of images', xStep: 90 };
    const even = 1 / heights.length;
    const plot = new Plot({ ...frame, title: 'Histogram of the angles of the features' }).bars(heights);
    return plot
      .line(
        [
          [-180, even],
          [180, even],
        ],
        'var(--second)',
        1.5,
      )
      .toString();
  });
}

/** The distances of positive pairs of both studies on one scale: [untrained, trained]. */
export function distanceHistograms(studies) {
  const shares = studies.map(({ distances }) => histogram(distances, 0, 2, 40));
  const top = Math.max(...shares.flat()) * 1.08;
  return shares.map((heights, i) => {
    const frame = { width: 360, height: 280, x: [0, 2], y: [0, top], xLabel: 'distance between the two views', yLabel: 'share of pairs' };
    const mean = studies[i].distances.reduce((sum, value) => sum + value, 0) / studies[i].distances.length;
    const plot = new Plot({ ...frame, title: 'Histogram of the distances of positive pairs' }).bars(heights);
    return plot.marker(mean, `mean ${mean.toFixed(2)}`).toString();
  });
}

/** How the milliseconds of a step divide: [{ name, loss, rest }]. */
export function stepBars(steps) {
  const width = 520;
  const left = 96;
  const longest = Math.max(...steps.map(({ loss, rest }) => loss + rest));
  const scale = (milliseconds) => (milliseconds / longest) * (width - left - 90);
  const marks = steps.map(({ name, loss, rest }, i) => {
    const y = 12 + 44 * i;
    const bar = (x, length, colour) => `<rect x="${short(x)}" y="${y}" width="${short(length)}" height="26" fill="${colour}"/>`;
    const share = `${((100 * loss) / (loss + rest)).toFixed(0)} % loss`;
    return (
      label(left - 10, y + 18, name, { anchor: 'end', kind: 'axis' }) +
      bar(left, scale(rest), 'var(--bar)') +
      bar(left + scale(rest), scale(loss), 'var(--second)') +
      label(left + scale(rest + loss) + 8, y + 12, `${(rest + loss).toFixed(1)} ms`, { anchor: 'start' }) +
      label(left + scale(rest + loss) + 8, y + 26, share, { anchor: 'start' })
    );
  });
  return svg(width, 12 + 44 * steps.length, 'Milliseconds of a training step, and the part of the loss', marks.join(''));
}
