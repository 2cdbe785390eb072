/**
 * The install flow, from the packed tarball into fresh projects: with a compiler, without one, with scripts blocked, with a
 * prebuild, and where native code is required. A CommonJS and an ES module training script run from each.
 */
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { hasCompiler, installed, npmInstall, npx, pathWith, project, run, tarball, train, works } from './support.js';

const MINUTES = 60_000;
const builtFile = (folder: string) => join(installed(folder), 'build', 'Release', 'contrastive_kernels_cpu.node');
const installScript = (folder: string) => join(installed(folder), 'scripts', 'install.cjs');

function expectTraining(folder: string, backend: 'cpu' | 'reference') {
  for (const script of ['train.cjs', 'train.mjs'] as const) {
    const result = train(folder, script, { CONTRASTIVE_KERNELS_FALLBACK_WARNING: '0' });
    expect(result.backend).toBe(backend);
    expect(result.last).toBeLessThan(result.first - 1);
    expect(result.stderr).toBe('');
    if (script === 'train.mjs') {
      expect(result.sharedFunctions).toBe(true);
      expect(result.sharedErrors).toBe(true);
      expect(result.alignment).toBeLessThan(0.5);
    }
  }
}

let plain: string;
beforeAll(() => {
  plain = tarball({ prebuild: false });
}, MINUTES);

describe.runIf(hasCompiler)('with a compiler', () => {
  let folder: string;
  let cpuSeconds: number;
  beforeAll(() => {
    folder = project(plain);
    const result = npmInstall(folder);
    cpuSeconds = result.cpuSeconds;
    expect(result.log).toContain('contrastive-kernels: native CPU backend built');
    expect(result.status).toBe(0);
  }, 5 * MINUTES);

  test('npm install compiles the CPU addon, within a minute of two cores', () => {
    expect(existsSync(builtFile(folder))).toBe(true);
    expect(cpuSeconds).toBeGreaterThan(1);
    expect(cpuSeconds).toBeLessThan(2 * 60);
  });

  test('both training scripts run on it', () => expectTraining(folder, 'cpu'), MINUTES);

  test('a second run of the install script finds a build that loads and leaves it', () => {
    const before = statSync(builtFile(folder));
    const result = run(process.execPath, [installScript(folder)], { cwd: folder });
    expect([result.status, result.log.trim()]).toEqual([0, '']);
    expect(statSync(builtFile(folder)).ino).toBe(before.ino);
  });

  test('doctor says what runs', () => {
    const result = npx(folder, ['doctor', '--json']);
    expect(result.status).toBe(0);
    const report = JSON.parse(result.stdout);
    const cpu = report.backends.find(({ name }: { name: string }) => name === 'cpu');
    expect(cpu).toMatchObject({ available: true, check: 'ok', path: builtFile(folder) });
    expect(cpu.threads).toBeGreaterThan(0);
    expect(cpu.instructionSet).toMatch(/^(amx|avx512|avx2|neon|portable)$/);
  });
});

describe('without a compiler', () => {
  let folder: string;
  let bare: string;
  beforeAll(() => {
    folder = project(plain);
    bare = pathWith();
    const result = npmInstall(folder, [], { PATH: bare });
    expect(result.log).toContain('contrastive-kernels: the native CPU backend was not built: no Python');
    expect(result.log).toContain('TypeScript reference');
    expect(result.log).toContain('npx contrastive-kernels build');
    expect(result.log).not.toContain('gyp ERR');
    expect(result.status).toBe(0);
  }, 5 * MINUTES);

  test('nothing half-made is left', () => expect(existsSync(join(installed(folder), 'build'))).toBe(false));

  test('both training scripts run on the reference', () => expectTraining(folder, 'reference'), MINUTES);

  test('the fallback is said once, with the command that mends it', () => {
    const { stderr } = train(folder, 'train.cjs');
    expect(stderr.match(/CONTRASTIVE_KERNELS_FALLBACK/g)).toHaveLength(1);
    expect(stderr).toContain('npx contrastive-kernels build');
  });

  test('a required backend that is not there is an error', () => {
    const result = run(process.execPath, ['train.cjs'], { cwd: folder, env: { ...process.env, CONTRASTIVE_KERNELS_BACKEND: 'cpu' } });
    expect(result.status).not.toBe(0);
    expect(result.stderr).toContain('BackendUnavailableError');
  });

  test.each([
    ['no make', ['python3']],
    ['no C++ compiler', ['python3', 'make', 'touch', 'mkdir', 'rm', 'printf', 'cp', 'ln', 'echo', 'test']],
  ])(
    'the reason is named: %s',
    (reason, commands) => {
      const result = run(process.execPath, [installScript(folder)], { cwd: folder, env: { ...process.env, PATH: pathWith(commands) } });
      expect(result.log).toContain(`was not built: ${reason}`);
      expect(result.log.trim().split('\n')).toHaveLength(3);
      expect(result.status).toBe(0);
    },
    MINUTES,
  );

  test.each([
    ['CONTRASTIVE_KERNELS_REQUIRE_NATIVE=1', [], { CONTRASTIVE_KERNELS_REQUIRE_NATIVE: '1' }],
    ['--build-from-source', ['--build-from-source'], {}],
  ])(
    '%s makes it an error with the log',
    (_name, args, env) => {
      const other = project(plain);
      const result = npmInstall(other, args, { PATH: bare, ...env });
      expect(result.status).not.toBe(0);
      expect(result.log).toContain('gyp ERR!');
      expect(result.log).toContain('contrastive-kernels: the native CPU backend could not be built');
    },
    MINUTES,
  );

  test('a build that does not load is not taken for one, and goes', () => {
    mkdirSync(join(installed(folder), 'build', 'Release'), { recursive: true });
    writeFileSync(builtFile(folder), 'not an addon');
    const doctor = JSON.parse(npx(folder, ['doctor', '--json']).stdout);
    expect(doctor.backends[1]).toMatchObject({ name: 'cpu', available: false, mend: 'npx contrastive-kernels build' });
    expect(doctor.backends[1].tried[0].path).toBe(builtFile(folder));
    const result = run(process.execPath, [installScript(folder)], { cwd: folder, env: { ...process.env, PATH: bare } });
    expect(result.status).toBe(0);
    expect(existsSync(join(installed(folder), 'build'))).toBe(false);
  });

  test('`build` without a compiler fails with the log', () => {
    const result = npx(folder, ['build'], { PATH: bare });
    expect(result.status).toBe(1);
    expect(result.log).toContain('gyp ERR!');
  });

  test('`build --cuda` without nvcc and cmake says what it needs', () => {
    const result = npx(folder, ['build', '--cuda'], { PATH: bare, CUDA_PATH: '', CUDA_HOME: '' });
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(/needs (nvcc|cmake)/);
  });

  test.runIf(hasCompiler)(
    '`build` compiles it later: by plain cmake, or by node-gyp where there is no cmake',
    () => {
      const result = npx(folder, ['build']);
      expect(result.log).toContain(works('cmake') ? `built ${builtFile(folder)}` : 'native CPU backend built');
      expect(result.status).toBe(0);
      expectTraining(folder, 'cpu');
      rmSync(join(installed(folder), 'build'), { recursive: true });
    },
    5 * MINUTES,
  );

  test.runIf(works('nvcc') && works('cmake'))(
    '`build --cuda` compiles the CUDA addon, which loads and says what it finds',
    () => {
      // One architecture instead of all: the shortest way to a file.
      const result = npx(folder, ['build', '--cuda'], { CUDAARCHS: '80-real' });
      expect(result.status, result.log).toBe(0);
      const { backends } = JSON.parse(npx(folder, ['doctor', '--json']).stdout);
      const [cuda] = backends;
      expect(cuda.name).toBe('cuda');
      expect(cuda.mend).toBeUndefined();
      if (cuda.available) expect(cuda.device).toBeTruthy();
      else expect(cuda.reason).toMatch(/device|driver/);
    },
    10 * MINUTES,
  );
});

describe('with --ignore-scripts', () => {
  test(
    'nothing is built and everything works on the reference',
    () => {
      const folder = project(plain);
      expect(npmInstall(folder, ['--ignore-scripts']).status).toBe(0);
      expect(existsSync(join(installed(folder), 'build'))).toBe(false);
      expectTraining(folder, 'reference');
    },
    MINUTES,
  );
});

describe.runIf(hasCompiler)('with a prebuild and no compiler', () => {
  let folder: string;
  let packed: string;
  beforeAll(() => {
    packed = tarball({ prebuild: true });
    folder = project(packed);
    const result = npmInstall(folder, [], { PATH: pathWith() });
    expect(result.log).not.toContain('contrastive-kernels:');
    expect(result.status).toBe(0);
  }, 5 * MINUTES);

  test('the tarball is under 2 MB', () => expect(statSync(packed).size).toBeLessThan(2_000_000));

  test('both training scripts run on the CPU addon', () => expectTraining(folder, 'cpu'), MINUTES);

  test(
    'a broken build does not hide the prebuild',
    () => {
      mkdirSync(join(installed(folder), 'build', 'Release'), { recursive: true });
      writeFileSync(builtFile(folder), 'not an addon');
      expectTraining(folder, 'cpu');
    },
    MINUTES,
  );

  test('loading takes less than 50 ms', () => {
    const program = 'const t = performance.now(); require("contrastive-kernels").backends(); console.log(performance.now() - t)';
    const times = Array.from({ length: 7 }, () => Number(run(process.execPath, ['-e', program], { cwd: folder }).stdout));
    expect(Math.min(...times)).toBeGreaterThan(0);
    expect(times.sort((a, b) => a - b)[3]).toBeLessThan(50);
  });
});
