/** The scale of the logits, given as a temperature that divides or as a logit scale that multiplies: never both. */
import { readScale } from '../validate.js';

export type ScaleName = 'temperature' | 'logitScale';

/** What the kernels take, and by which of the two the gradient is. */
export interface Scale {
  readonly temperature: number;
  readonly name: ScaleName;
}

/** @param otherwise the temperature when neither is given. */
export function readTemperatureOrScale(
  { temperature, logitScale }: { readonly temperature?: unknown; readonly logitScale?: unknown },
  otherwise: number,
): Scale {
  if (temperature !== undefined && logitScale !== undefined) {
    throw new RangeError(`logitScale: expected temperature or logitScale, got both (${String(temperature)} and ${String(logitScale)})`);
  }
  if (logitScale === undefined) return { temperature: readScale('temperature', temperature, otherwise), name: 'temperature' };
  return { temperature: 1 / readScale('logitScale', logitScale, 1), name: 'logitScale' };
}

/** The gradient by the scale that was given, from the kernel's gradient by temperature: d/ds = -temperature^2 d/dtemperature. */
export function scaleGradient({ temperature, name }: Scale, temperatureGradient: number): number {
  return name === 'temperature' ? temperatureGradient : -temperature * temperature * temperatureGradient;
}
