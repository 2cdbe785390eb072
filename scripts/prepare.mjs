// npm runs this after an install in a checkout, for a dependency that is a git repository, and before it packs: dist/ is not in git. Without
// the tools of development, or in a package that is already built, there is nothing to do.
import { existsSync } from 'node:fs';

const needed = ['./build.mjs', '../node_modules/tsdown'].map((path) => new URL(path, import.meta.url));
if (needed.every((url) => existsSync(url))) await import('./build.mjs');
