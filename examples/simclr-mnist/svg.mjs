/**
 * The few marks that the report's figures are made of, as SVG text: axes, lines, points, bars, labels. Colours come from the CSS
 * variables of the page (report.mjs), so that one figure serves light and dark.
 */

const MARGIN = { top: 14, right: 16, bottom: 40, left: 52 };

/** A number short enough for a coordinate or a label. */
export const short = (value, digits = 1) => String(Number(value.toFixed(digits)));

/** Text that is safe inside SVG and HTML. */
export const escapeText = (text) =>
  String(text).replace(/[&<>"]/g, (mark) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[mark]);

/** An <svg> of a drawing `width` x `height`, which the page scales; `title` is what a screen reader says. */
export function svg(width, height, title, body) {
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(title)}"><title>${escapeText(title)}</title>${body}</svg>`;
}

export function label(x, y, text, { anchor = 'middle', kind = 'note', turn = 0 } = {}) {
  const rotation = turn ? ` transform="rotate(${turn} ${short(x)} ${short(y)})"` : '';
  return `<text x="${short(x)}" y="${short(y)}" text-anchor="${anchor}" class="${kind}"${rotation}>${escapeText(text)}</text>`;
}

/** Many equal points as one path: short, and quick to draw. `at` is a list of [x, y] in drawing units. */
export function dots(at, colour, { size = 3, opacity = 0.7 } = {}) {
  if (at.length === 0) return '';
  const path = at.map(([x, y]) => `M${short(x)} ${short(y)}h0`).join('');
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${size}" stroke-linecap="round" stroke-opacity="${opacity}"/>`;
}

/** Steps of `given`, or of 1, 2 or 5 times a power of ten, about `count` of them inside [low, high]. */
function ticks([low, high], count, given) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = given ?? power * ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: last - first + 1 }, (_, i) => ({ value: (first + i) * step, text: ((first + i) * step).toFixed(digits) }));
}

/** A drawing area with linear axes; marks are given in the data's own units and drawn in the order they were added. */
export class Plot {
  /**
   * @param {object} frame width, height in drawing units; x, y: [low, high] of the data; labels; `title` for screen readers;
   *   xStep: between the ticks of x, where a round number would be an odd one
   */
  constructor({ width = 520, height = 300, x, y, xLabel, yLabel, title, xStep }) {
    Object.assign(this, { width, height, x, y, title, marks: [] });
    const { top, right, bottom, left } = MARGIN;
    this.scaleX = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right);
    this.scaleY = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0])) * (height - top - bottom);
    for (const { value, text } of ticks(x, 6, xStep)) {
      this.marks.push(
        this.#path(
          [
            [value, y[0]],
            [value, y[1]],
          ],
          'grid',
        ),
        label(this.scaleX(value), height - bottom + 16, text, { kind: 'tick' }),
      );
    }
    for (const { value, text } of ticks(y, 5)) {
      this.marks.push(
        this.#path(
          [
            [x[0], value],
            [x[1], value],
          ],
          'grid',
        ),
        label(left - 7, this.scaleY(value) + 4, text, { anchor: 'end', kind: 'tick' }),
      );
    }
    this.marks.push(label((left + width - right) / 2, height - 6, xLabel, { kind: 'axis' }));
    this.marks.push(label(14, (top + height - bottom) / 2, yLabel, { kind: 'axis', turn: -90 }));
  }

  #path(points, kind, style = '') {
    const path = points.map(([x, y], i) => `${i ? 'L' : 'M'}${short(this.scaleX(x))} ${short(this.scaleY(y))}`).join('');
    return `<path d="${path}" class="${kind}"${style}/>`;
  }

  line(points, colour = 'var(--accent)', width = 2) {
    this.marks.push(this.#path(points, 'line', ` style="stroke:${colour};stroke-width:${width}"`));
    return this;
  }

  points(points, colour = 'var(--accent)', options = {}) {
    this.marks.push(
      dots(
        points.map(([x, y]) => [this.scaleX(x), this.scaleY(y)]),
        colour,
        options,
      ),
    );
    return this;
  }

  /** A histogram: `heights[i]` over the i-th of equally wide bins across the x axis. */
  bars(heights, colour = 'var(--accent)') {
    const bin = (this.x[1] - this.x[0]) / heights.length;
    const base = this.scaleY(Math.max(0, this.y[0]));
    heights.forEach((height, i) => {
      const left = this.scaleX(this.x[0] + i * bin);
      const top = this.scaleY(Math.min(height, this.y[1]));
      const width = this.scaleX(this.x[0] + (i + 1) * bin) - left;
      this.marks.push(
        `<rect x="${short(left + 0.5)}" y="${short(top)}" width="${short(Math.max(width - 1, 0.5))}" height="${short(base - top)}" fill="${colour}"/>`,
      );
    });
    return this;
  }

  /** A vertical line at `x` with a word beside it. */
  marker(x, text) {
    this.marks.push(
      this.#path(
        [
          [x, this.y[0]],
          [x, this.y[1]],
        ],
        'marker',
      ),
    );
    const left = x > (this.x[0] + this.x[1]) / 2;
    this.marks.push(label(this.scaleX(x) + (left ? -6 : 6), this.scaleY(this.y[1]) + 12, text, { anchor: left ? 'end' : 'start' }));
    return this;
  }

  /** Words at a place in the data. */
  note(x, y, text, { dx = 0, dy = 0, anchor = 'middle' } = {}) {
    this.marks.push(label(this.scaleX(x) + dx, this.scaleY(y) + dy, text, { anchor }));
    return this;
  }

  toString() {
    return svg(this.width, this.height, this.title, this.marks.join(''));
  }
}
