/** Errors of a loss that is computed by another one, whose arguments have other names. */
import { NonFiniteError } from '../errors.js';
import type { Plan } from './plan.js';

/** `error`, as one about `names[argument]` instead of `argument`; anything else as it is. */
export function renamed(error: unknown, names: Readonly<Record<string, string>>): unknown {
  if (!(error instanceof RangeError || error instanceof TypeError)) return error;
  error.message = error.message.replace(/^(out\.)?(\w+):/, (all, prefix = '', name: string) =>
    name in names ? `${prefix}${names[name]}:` : all,
  );
  if (error instanceof NonFiniteError) Object.assign(error, { argument: names[error.argument] ?? error.argument });
  return error;
}

/** What `call` returns; its errors renamed. */
export function withNames<R>(names: Readonly<Record<string, string>>, call: () => R): R {
  try {
    return call();
  } catch (error) {
    throw renamed(error, names);
  }
}

/** `plan`, whose errors are renamed. */
export function withNamesOf<R>(plan: Plan<R>, names: Readonly<Record<string, string>>): Plan<R> {
  return {
    run: () => withNames(names, () => plan.run()),
    runAsync: () =>
      plan.runAsync().catch((error) => {
        throw renamed(error, names);
      }),
  };
}
