/** The report of a run as one self-contained HTML page: no scripts, no outside files, light and dark. */
import {
  alignmentUniformityPath,
  angleHistograms,
  circle,
  DIGIT_COLOURS,
  distanceHistograms,
  lossCurve,
  projection,
  stepBars,
} from './figures.mjs';
import { escapeText } from './svg.mjs';

const STYLE = `
:root { color-scheme: light dark; --page: #fff; --ink: #1d2430; --quiet: #5d6675; --grid: #e6e9ee; --line: #aab3c0; --panel: #f7f8fa;
  --accent: #2f6fb0; --second: #d9622b; --bar: #b9c6d6; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #e7eaf0; --quiet: #9aa4b3; --grid: #2a3039; --line: #5a6575;
  --panel: #1b1f26; --accent: #6aa9e6; --second: #ee8a56; --bar: #46566b; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 1120px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .3rem; } h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { max-width: 76ch; margin: .4rem 0 .9rem; } .quiet { color: var(--quiet); font-size: .9rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.numbers div { background: var(--panel); border-radius: 8px; padding: .7rem 1rem; min-width: 9.5rem; }
.numbers b { display: block; font-size: 1.5rem; line-height: 1.2; }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .7rem; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--quiet); font-weight: 600; font-size: .88rem; }
tr.best td { font-weight: 600; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.three { display: grid; gap: 1rem; grid-template-columns: 300fr 360fr 360fr; align-items: center; }
@media (max-width: 760px) { .three { grid-template-columns: 1fr; } }
figure { margin: 0; background: var(--panel); border-radius: 8px; padding: .9rem; } figure + figure.row { margin-top: 1rem; }
figure.wide { grid-column: 1 / -1; } .wide svg { max-width: 640px; }
figcaption { color: var(--quiet); font-size: .88rem; margin-top: .3rem; }
svg { display: block; width: 100%; height: auto; } svg text { font-family: inherit; fill: var(--ink); }
.tick { font-size: 11px; fill: var(--quiet); } .axis { font-size: 12.5px; fill: var(--quiet); } .note { font-size: 12px; paint-order: stroke; stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round; }
.digit { font-size: 11px; font-weight: 700; fill: #fff; }
path.grid { stroke: var(--grid); stroke-width: 1; fill: none; } path.line { fill: none; stroke-linejoin: round; }
path.marker { stroke: var(--second); stroke-width: 1.5; stroke-dasharray: 4 3; fill: none; }
.key { display: flex; flex-wrap: wrap; gap: .2rem .9rem; font-size: .9rem; margin: .2rem 0 .8rem; }
.key i { display: inline-block; width: .75em; height: .75em; border-radius: 50%; margin-right: .35em; }
`;

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** @param {object} result what simclr-mnist.json holds; @param {object} pictures { circle, planes } */
export function reportPage(result, { circle: study, planes }) {
  const { rows, history, seed, steps, settings, protocol } = result;
  const row = (name) => rows.find((entry) => entry.name === name);
  const [raw, h] = [row('raw pixels'), row('trained h')];
  const studies = [study.untrained, study.trained];
  const angles = angleHistograms(studies);
  const distances = distanceHistograms(studies);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>SimCLR on MNIST, trained from Node</title><style>${STYLE}</style></head><body>
<h1>SimCLR on MNIST, trained from Node</h1>
<p>An encoder learnt to see digits without being told one label: ${steps.toLocaleString('en')} steps of ${settings.batch} images, two random views of each,
the NT-Xent loss at temperature ${settings.temperature} and its gradient computed by contrastive-kernels. Then a linear probe with ten
labels a digit reads off what it learnt.</p>
<div class="numbers">
<div><b>${percent(h.probe10)}</b>with 10 labels a digit</div>
<div><b>${percent(raw.probe10)}</b>the same from raw pixels</div>
<div><b>${percent(h.knn)}</b>nearest neighbours</div>
<div><b>${result.seconds.toFixed(0)} s</b>for everything here</div>
</div>
<p class="quiet">Seed ${seed}; loss by ${escapeText(result.backendDescription)}; ${result.cores} cores; Node ${escapeText(result.node)}.</p>

<h2>Results</h2>
${table(rows)}
<p class="quiet">Probe: softmax regression on frozen features, divided by their length, of the first 10 or 100 training images of every digit;
its penalty is chosen by cross-validation on those images. Raw pixels get the best accuracy on the test images among six probes (three
penalties, two scalings) and the nearest neighbour. k-NN: cosine, k = 10, among ${protocol.neighbourImages.toLocaleString('en')} training images. Tested on the first
${protocol.testImages.toLocaleString('en')} test images. Alignment (α = 2), uniformity (t = 2) and the mutual-information bound
(log k − NT-Xent, in nats; it cannot exceed log k = ${h.informationLimit.toFixed(2)}) are those of two views of ${protocol.watchedViews / 2} test images.</p>

<h2>Training</h2>
<div class="grid">
<figure><h3>Loss</h3>${lossCurve(history, { batch: settings.batch, watchedViews: protocol.watchedViews })}
<figcaption>Fewer rows to tell apart make the batch's loss lower: log k is ${Math.log(2 * settings.batch - 1).toFixed(2)} there and
${h.informationLimit.toFixed(2)} for the watched views.</figcaption></figure>
<figure><h3>Alignment and uniformity</h3>${alignmentUniformityPath(history)}
<figcaption>Of the projections z. An untrained network keeps everything close together; training spreads the images over the sphere and
keeps the two views of each near each other.</figcaption></figure>
<figure class="wide"><h3>Where a step spends its time</h3>${stepBars([
    stepOf(result.backend, result.lossMilliseconds, result.lossShare),
    stepOf('in TypeScript', result.referenceLossMilliseconds, result.referenceLossShare),
  ])}
<figcaption>Orange: the loss with its gradient, ${result.lossMilliseconds.toFixed(2)} ms by this run's backend and
${result.referenceLossMilliseconds.toFixed(1)} ms by the TypeScript reference. Gray: augmentation, encoder, head and update.</figcaption></figure>
</div>

<h2>What the encoder keeps of an image</h2>
<p>The 128 features h of 2,000 test images, seen along their two principal directions and coloured by digit. The labels colour the points;
training never saw them.</p>
${digitKey()}
<div class="grid">
<figure><h3>Untrained</h3>${projection(planes.untrained, planes.digits, 'Principal components of the untrained features')}</figure>
<figure><h3>Trained</h3>${projection(planes.trained, planes.digits, 'Principal components of the trained features')}</figure>
</div>

<h2>The method, seen on a circle</h2>
<p>A second, small model has only two outputs, so all its features lie on a circle. The loss pulls the two views of an image together
(alignment) and pushes different images apart (uniformity): the features spread over the circle, and like digits end up side by side,
because random views of like digits look alike. The band outside is the density of the features; a numbered disc is the mean of a digit's
features, near the rim where the digit keeps together.</p>
${digitKey()}
${['Untrained', 'Trained']
  .map(
    (name, i) => `<figure class="row"><h3>${name}</h3><div class="three">
<div>${circle(studies[i], `${name} features on the circle`)}</div><div>${angles[i]}</div><div>${distances[i]}</div></div></figure>`,
  )
  .join('\n')}
<p class="quiet">Orange line in the angle histograms: the even spread of perfect uniformity. The distance between two points of the circle is
at most 2.</p>
</body></html>
`;
}

/** A step divided, from the time of its loss and the share that is. */
function stepOf(name, loss, share) {
  return { name, loss, rest: loss / share - loss };
}

function digitKey() {
  return `<div class="key">${DIGIT_COLOURS.map((colour, digit) => `<span><i style="background:${colour}"></i>${digit}</span>`).join('')}</div>`;
}

function table(rows) {
  const head = ['', 'dim', '10 labels', '100 labels', 'k-NN', 'alignment', 'uniformity', 'MI bound (nats)'];
  const body = rows.map((row) => {
    const cells = [escapeText(row.name), row.dimensions, percent(row.probe10), percent(row.probe100), percent(row.knn)];
    const numbers = [row.alignment.toFixed(3), row.uniformity.toFixed(3), row.informationBound.toFixed(2)];
    const kind = row.name === 'trained h' ? ' class="best"' : '';
    return `<tr${kind}>${[...cells, ...numbers].map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  });
  return `<div class="table"><table><thead><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}
