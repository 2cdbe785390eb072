#!/usr/bin/env node
/** `contrastive-kernels <command>`: reads the command line and hands over to the command's own file. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../native/loader.js';
import { build } from './build.js';
import { doctor } from './doctor.js';

const HELP = `usage: contrastive-kernels <command>

  doctor [--json]   what computes here and why: every backend, its version, the files that were tried, how to mend it
  build             builds the native CPU addon in the installed package (a C++17 compiler and cmake, or python3 and make)
  build --cuda      builds the CUDA addon (nvcc and cmake)

  -h, --help        this text
  -v, --version     the version of the package
`;

function main(args: string[]): number {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (error) {
    return misuse((error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.version) {
    console.log(JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')).version);
    return 0;
  }
  const [command, ...rest] = positionals;
  if (command === undefined) return misuse('no command given');
  if (rest.length > 0) return misuse(`unexpected argument '${rest[0]}'`);
  if (values.json && command !== 'doctor') return misuse("'--json' belongs to 'doctor'");
  if (values.cuda && command !== 'build') return misuse("'--cuda' belongs to 'build'");
  if (command === 'doctor') return doctor(values.json ?? false);
  if (command === 'build') return build(values.cuda ?? false);
  return misuse(`unknown command '${command}'`);
}

function parse(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
      json: { type: 'boolean' },
      cuda: { type: 'boolean' },
    },
  });
}

function misuse(what: string): number {
  process.stderr.write(`contrastive-kernels: ${what}\n\n${HELP}`);
  return 2;
}

process.exitCode = main(process.argv.slice(2));
