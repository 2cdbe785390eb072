/** The two functions that every loss of "one against many" ends in, written so that neither end loses digits. */

/** log(1 + exp(a)), to full relative accuracy at both ends. */
export function softplus(a: number): number {
  return a > 0 ? a + Math.log1p(Math.exp(-a)) : Math.log1p(Math.exp(a));
}

/** 1 / (1 + exp(-a)), to full relative accuracy where it is small. */
export function sigmoid(a: number): number {
  if (a > 0) return 1 / (1 + Math.exp(-a));
  const e = Math.exp(a);
  return e / (1 + e);
}
