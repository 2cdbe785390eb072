/** Turns the timings of one run into a table for the terminal, a JSON file, a chart and docs/benchmarks.md. */
import { cpus } from 'node:os';
import { askedRatio, askedShare, askedShareOfOne, type BenchCase } from './cases.js';
import type { Figure } from './conditions.js';
import type { Timing } from './measure.js';

export interface Row extends BenchCase {
  readonly contender: string;
  /** Threads it may use. */
  readonly threads: number;
  readonly timing: Timing;
  /** The algorithm's FLOP floor at this contender's median, as a share of the measured FMA peak of as many threads; null when unknown. */
  readonly shareOfPeak: number | null;
}

export interface Report {
  readonly date: string;
  readonly machine: string;
  readonly node: string;
  readonly instructionSet: string;
  /** FLOP/s of multiply-adds measured in this process, by thread count. */
  readonly peak: Record<string, number>;
  /** The same of other instruction sets, by name. */
  readonly otherPeak: Record<string, Record<string, number>>;
  /** What is not a row of the table. */
  readonly figures: readonly Figure[];
  readonly contenders: Record<string, string>;
  readonly absent: Record<string, string>;
  readonly rows: readonly Row[];
  /** Peak resident memory of the benchmark process, bytes. */
  readonly peakMemory: number;
}

export function machineName(): string {
  const list = cpus();
  return `${list[0]?.model.trim() ?? 'unknown CPU'}, ${list.length} cores`;
}

const milliseconds = (value: number) => (value < 10 ? value.toFixed(3) : value < 100 ? value.toFixed(2) : value.toFixed(0));
const percent = (value: number | null) => (value === null ? '' : `${(100 * value).toFixed(1)} %`);

/** Our fastest row of a case: what the ratios compare with. */
function ours(rows: readonly Row[]): Row | undefined {
  return rows.filter((row) => row.contender.startsWith('cpu,')).sort((a, b) => a.timing.median - b.timing.median)[0];
}

function groups(rows: readonly Row[]): Row[][] {
  const byCase = new Map<string, Row[]>();
  for (const row of rows) {
    const key = `${row.kernel} ${row.rows}x${row.cols}`;
    byCase.set(key, [...(byCase.get(key) ?? []), row]);
  }
  return [...byCase.values()];
}

interface Line {
  readonly cells: readonly string[];
  readonly first: boolean;
}

const header = ['kernel', 'rows x cols', 'contender', 'min ms', 'median ms', 'of FMA peak', 'times ours'];

function lines(rows: readonly Row[]): Line[] {
  return groups(rows).flatMap((group) => {
    const best = ours(group);
    return group.map((row, index) => ({
      first: index === 0,
      cells: [
        index === 0 ? row.kernel : '',
        index === 0 ? `${row.rows} x ${row.cols}` : '',
        row.contender,
        milliseconds(row.timing.minimum),
        milliseconds(row.timing.median),
        percent(row.shareOfPeak),
        best === undefined || row.contender.startsWith('cpu') ? '' : `${(row.timing.median / best.timing.median).toFixed(1)} x`,
      ],
    }));
  });
}

export function table(report: Report): string {
  const all = [header, ...lines(report.rows).map((line) => line.cells)];
  const widths = header.map((_, column) => Math.max(...all.map((cells) => cells[column].length)));
  const text = all.map((cells) =>
    cells.map((cell, column) => (column < 3 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  '),
  );
  const absent = Object.entries(report.absent).map(([name, reason]) => `${name}: not measured (${reason})`);
  const figures = report.figures.map(({ what, value, target }) => `${what}: ${value}${target && ` (asked: ${target})`}`);
  return [
    text[0],
    widths.map((width) => '-'.repeat(width)).join('  '),
    ...text.slice(1),
    '',
    askedShares(report),
    '',
    askedTimes(report),
    '',
    ...figures,
    '',
    ...absent,
  ].join('\n');
}

/** A table of a document: the first two columns of text, the others of numbers. */
function markdownTable(head: readonly string[], lines: readonly (readonly string[])[]): string {
  return [head, head.map((_, column) => (column < 2 ? '---' : '---:')), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

const shape = ({ rows, cols }: Row) => `${rows} x ${cols}`;
const mostThreads = (report: Report) => Math.max(...Object.keys(report.peak).map(Number));
const shareAt = (row: Row | undefined, time: keyof Pick<Timing, 'median' | 'minimum'>) =>
  row === undefined || row.shareOfPeak === null ? '' : percent((row.shareOfPeak * row.timing.median) / row.timing[time]);

/** Shares beside what is asked of them, misses included: at the median, and at the minimum. */
function askedShares(report: Report): string {
  const names = [report.instructionSet, ...Object.keys(report.otherPeak)];
  const lines = groups(report.rows).flatMap((group) =>
    [
      { threads: mostThreads(report), asked: askedShare(group[0]) },
      { threads: 1, asked: askedShareOfOne(group[0]) },
    ].flatMap(({ threads, asked }) => {
      if (asked === null) return [];
      const cells = names.flatMap((name, index) => {
        const row = group.find((one) => one.threads === threads && one.contender.startsWith(index === 0 ? 'cpu,' : `cpu ${name},`));
        return [shareAt(row, 'median'), shareAt(row, 'minimum')];
      });
      return [[group[0].kernel, shape(group[0]), String(threads), percent(asked), ...cells]];
    }),
  );
  return markdownTable(
    ['kernel', 'rows x cols', 'threads', 'asked', ...names.flatMap((name) => [`${name}, median`, `${name}, best`])],
    lines,
  );
}

/** How many times our time the alternatives take, beside what is asked and what the peak would allow, misses included. */
function askedTimes(report: Report): string {
  const times = (value: number) => `${value.toFixed(1)} x`;
  const lines = groups(report.rows).flatMap((group) => {
    const best = ours(group);
    const alternatives = new Map<string, Row>(); // of several set-ups the fastest
    for (const row of group) {
      const name = row.contender.split(',')[0];
      if (row.timing.median < (alternatives.get(name)?.timing.median ?? Number.POSITIVE_INFINITY)) alternatives.set(name, row);
    }
    return [...alternatives].flatMap(([name, row]) => {
      const asked = askedRatio(name, row);
      if (asked === null || best === undefined) return [];
      const atPeak = (row.floor / report.peak[mostThreads(report)]) * 1e3;
      return [
        [
          row.kernel,
          shape(row),
          row.contender,
          times(asked),
          times(row.timing.median / best.timing.median),
          times(row.timing.median / atPeak),
        ],
      ];
    });
  });
  return markdownTable(
    ['kernel', 'rows x cols', 'alternative', 'asked', 'ours, by medians', 'if ours took no more than its multiply-adds'],
    lines,
  );
}

/** The body of docs/benchmarks.md. */
export function markdown(report: Report, command: string): string {
  const peaks = Object.entries(report.peak).map(
    ([threads, flops]) => `${(flops / 1e9).toFixed(0)} GFLOP/s on ${threads} thread${threads === '1' ? '' : 's'}`,
  );
  const others = Object.entries(report.otherPeak).flatMap(([name, rates]) =>
    Object.entries(rates).map(([threads, flops]) => `${(flops / 1e9).toFixed(0)} with ${name} on ${threads}`),
  );
  const contenders = Object.entries(report.contenders).map(([name, what]) => `- ${name}: ${what}`);
  const absent = Object.entries(report.absent).map(([name, reason]) => `- ${name}: not measured here (${reason})`);
  return `# Benchmarks

Made by \`${command}\` on ${report.date.slice(0, 10)}; do not edit by hand.

Machine: ${report.machine}; instruction set ${report.instructionSet}; Node ${report.node}.
FMA peak measured in the same process: ${peaks.join(', ')}${others.length > 0 ? `; ${others.join(', ')}` : ''}. Standard normal rows, temperature 0.1, t = 2.
Every contender ran in this one run, one after another. "Of FMA peak" is the algorithm's own FLOP floor (NT-Xent 1 and 4,
uniformity 1 and 3, cosine matrix 1, in units of rows² x cols) divided by the median time and by the peak. "Times ours" divides
medians by that of our fastest CPU row. Peak memory of the whole process with every contender in it: ${(report.peakMemory / 1e6).toFixed(0)} MB.

CUDA: not run on a GPU. The CUDA kernels are checked under an emulation, whose times say nothing, so there are none here.

![Median time of each contender, relative to ours](benchmarks.svg)

| ${header.join(' | ')} |
|${header.map((_, column) => (column < 3 ? '---|' : '---:|')).join('')}
${lines(report.rows)
  .map((line) => `| ${line.cells.join(' | ')} |`)
  .join('\n')}

## Shares of peak, beside what is asked

The shares asked for were set on a processor whose AVX-512 and AVX2 peaks are equal (Zen 4). Where AVX-512 doubles the
peak (Zen 5), everything that is not a multiply-add weighs twice as much there.

${askedShares(report)}

What keeps a share below 100 %, as measured on one block of 192 x 192 whose operands are in the second-level cache (Zen 5, AVX-512):
dot products alone 96 to 100 %; with the exponential and the sums, 90 to 92 % at 128 dimensions and 96 % at 768; the coefficient products
95 to 98 %. The rest is operands that come from the third level or from the other core's caches, packing, tiles cut by the diagonal (1 % of
the pairs at 4096 rows, 2 % at 2048), and the ends of passes, which two threads of a small problem wait for. A virtual machine adds what
its neighbours take: there the same chain of multiply-adds that measures the peak averages 90 to 93 % of its best over seconds. And its
two cores may share a last-level cache in one minute and not in the next: a line between them takes 28 or 165 nanoseconds then, packing 1 or
2 % of a forward at 8192 x 128.

## Times of the alternatives, beside what is asked

The fastest set-up of each, its median time divided by ours. No library that computes these products in float32 on these cores can exceed
the last column, the alternative's time divided by that of the multiply-adds alone at the measured peak: where it is below what is asked,
the alternative ran faster than when that was set, and what is asked cannot be had.

${askedTimes(report)}

## Other figures

| figure | measured | asked |
|---|---|---|
${report.figures.map(({ what, value, target }) => `| ${what} | ${value} | ${target} |`).join('\n')}

How to read these. A loss of two matrices keeps no similarities, so forward + backward takes four products (similarities twice, coefficients
applied to both sides) where a stored matrix would take three: the first of the two shares counts three, the second the work that is done.
The losses are asked for a share of NT-Xent's own share because what limits NT-Xent limits them, too. SupCon also walks the pairs within
each class a second time, relative to the class's mean, and sorts the rows; SigLIP takes a logarithm where the others take only an
exponential; Barlow Twins spends the rest of its call on the columns' means and on turning rows into columns and back. The stored matrix
computes a block of 192 x 192 in the cache and then copies it to its two places, so its products and its writes take turns: writing one block
while the next is computed gained nothing on Zen 4 and Intel and took 5 to 14 % longer on Zen 3, where writes past the caches hold up the loads.
bfloat16 solves the problem of the unit rows as they were rounded: there its error is that of rounded coefficients, on the rows given that of
the rounded rows, too.

Contenders

${[...contenders, ...absent].join('\n')}
`;
}

/** Bars of median time relative to ours, on a logarithmic axis, a panel a case. */
export function chart(report: Report): string {
  const xml = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const bar = 16;
  const [left, width, right] = [250, 460, 70];
  const parts: string[] = [];
  let y = 40;
  const ratios = groups(report.rows).flatMap((group) => {
    const best = ours(group);
    return best === undefined ? [] : group.map((row) => row.timing.median / best.timing.median);
  });
  const most = Math.max(10, ...ratios);
  const scale = (ratio: number) => (Math.log10(Math.max(ratio, 1)) / Math.log10(most)) * width;
  for (const group of groups(report.rows)) {
    const best = ours(group);
    if (best === undefined) continue;
    parts.push(`<text x="10" y="${y + 12}" class="case">${xml(`${group[0].kernel}, ${group[0].rows} x ${group[0].cols}`)}</text>`);
    y += bar + 6;
    for (const row of group) {
      const ratio = row.timing.median / best.timing.median;
      const mine = row.contender.startsWith('cpu');
      parts.push(`<text x="${left - 8}" y="${y + 12}" text-anchor="end">${xml(row.contender)}</text>`);
      parts.push(
        `<rect x="${left}" y="${y + 2}" width="${Math.max(2, scale(ratio)).toFixed(1)}" height="${bar - 4}" class="${mine ? 'ours' : 'other'}"/>`,
      );
      parts.push(
        `<text x="${(left + Math.max(2, scale(ratio)) + 6).toFixed(1)}" y="${y + 12}">${ratio.toFixed(1)} x (${milliseconds(row.timing.median)} ms)</text>`,
      );
      y += bar;
    }
    y += 10;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${left + width + right + 60} ${y + 10}" font-family="system-ui, sans-serif" font-size="11">
<title>Median time of each contender relative to contrastive-kernels on the CPU</title>
<style>text{fill:#333}.case{font-weight:600}.title{font-size:14px;font-weight:600}.ours{fill:#2166ac}.other{fill:#b2b2b2}@media(prefers-color-scheme:dark){text{fill:#ddd}.ours{fill:#67a9cf}.other{fill:#666}}</style>
<text x="10" y="22" class="title">Median time relative to our fastest CPU row (logarithmic, shorter is better)</text>
${parts.join('\n')}
</svg>
`;
}
