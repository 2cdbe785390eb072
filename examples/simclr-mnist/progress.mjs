/** Progress of a training run: one line that is redrawn in a terminal, a plain line now and then elsewhere. */

const BAR = 24;
const PLAIN_LINES = 10;

export class Progress {
  constructor(total, stream = process.stdout) {
    Object.assign(this, { total, stream, started: performance.now(), plainLines: 0 });
  }

  /** @param {{ loss: number, alignment: number, uniformity: number }} state as of `step`, the number of steps done */
  update(step, { loss, alignment, uniformity }) {
    const spent = (performance.now() - this.started) / 1000;
    const left = step === 0 ? Number.NaN : (spent / step) * (this.total - step);
    const numbers = `loss ${loss.toFixed(3)}  alignment ${alignment.toFixed(3)}  uniformity ${uniformity.toFixed(3)}  ${duration(left)} left`;
    const place = `${String(step).padStart(String(this.total).length)}/${this.total}`;
    if (this.stream.isTTY) {
      const filled = Math.round((BAR * step) / this.total);
      const line = `${'█'.repeat(filled)}${'░'.repeat(BAR - filled)} ${place}  ${numbers}`;
      this.stream.write(`\r\x1b[2K${line.slice(0, (this.stream.columns ?? 100) - 1)}`);
      if (step === this.total) this.stream.write('\n');
    } else if (step * PLAIN_LINES >= this.plainLines * this.total) {
      this.plainLines = Math.floor((step * PLAIN_LINES) / this.total) + 1;
      this.stream.write(`  step ${place}  ${numbers}\n`);
    }
  }
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return '-:--';
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
