/**
 * The choice of backend, with stand-ins for the two addons: what 'auto' takes, what a name does, what the environment changes,
 * and the one warning.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Backend, KernelName, Precision } from '../../src/backends/backend.js';

const standIn = (name: 'cpu' | 'cuda', precisions: readonly Precision[], kernels: readonly KernelName[] = ['ntXent']): Backend => ({
  name,
  precisions: () => precisions,
  supports: (kernel) => kernels.includes(kernel),
  run: () => expect.fail('not called'),
  runAsync: () => expect.fail('not called'),
  workspaceBytes: () => 0,
});

let cpu: Backend | null;
let cuda: Backend | null;
let cudaOpened: number;
let warnings: { message: string; code: string }[];

vi.mock('../../src/backends/cpu.js', () => ({
  openCpuBackend: () => ({ backend: cpu, status: { name: 'cpu', available: cpu !== null, reason: 'no compiler was found' } }),
}));
vi.mock('../../src/backends/cuda.js', () => ({
  openCudaBackend: () => {
    cudaOpened++;
    return { backend: cuda, status: { name: 'cuda', available: cuda !== null, reason: 'no CUDA device' } };
  },
}));

/** The module afresh: its warning has not been given yet. */
async function load() {
  vi.resetModules();
  const [select, errors] = await Promise.all([import('../../src/backends/select.js'), import('../../src/errors.js')]);
  return { ...select, ...errors };
}

const LARGE = 1e9;
const SMALL = 1e3;
const auto = { kernel: 'ntXent', backend: 'auto', precision: 'float32', fallbackWarning: true } as const;

beforeEach(() => {
  cpu = standIn('cpu', ['float32']);
  cuda = standIn('cuda', ['float32', 'bfloat16x3', 'bfloat16']);
  cudaOpened = 0;
  warnings = [];
  for (const name of ['BACKEND', 'REQUIRE_NATIVE', 'FALLBACK_WARNING']) vi.stubEnv(`CONTRASTIVE_KERNELS_${name}`, undefined);
  vi.spyOn(process, 'emitWarning').mockImplementation(((message: string, options: { code: string }) => {
    warnings.push({ message, code: options.code });
  }) as typeof process.emitWarning);
});

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe("'auto'", () => {
  test('takes CUDA for large problems, and does not even open it for small ones', async () => {
    const { selectBackend } = await load();
    expect(selectBackend(auto, LARGE).name).toBe('cuda');
    expect(cudaOpened).toBe(1);
    expect(selectBackend(auto, SMALL).name).toBe('cpu');
    expect(cudaOpened).toBe(1);
  });

  test('takes the CPU without CUDA, the reference without either', async () => {
    const { selectBackend } = await load();
    cuda = null;
    expect(selectBackend(auto, LARGE).name).toBe('cpu');
    expect(warnings).toEqual([]);
    cpu = null;
    expect(selectBackend(auto, LARGE).name).toBe('reference');
  });

  test('takes CUDA for another precision than float32, however small the problem, else the CPU if that has it', async () => {
    const { selectBackend, BackendUnavailableError } = await load();
    expect(selectBackend({ ...auto, precision: 'bfloat16' }, SMALL).name).toBe('cuda');
    cuda = null;
    expect(() => selectBackend({ ...auto, precision: 'bfloat16' }, LARGE)).toThrow(BackendUnavailableError);
    expect(() => selectBackend({ ...auto, precision: 'bfloat16' }, LARGE)).toThrow(
      /'cpu' is not available: it has no precision 'bfloat16' of 'ntXent'/,
    );
    cpu = standIn('cpu', ['float32', 'bfloat16']);
    expect(selectBackend({ ...auto, precision: 'bfloat16' }, SMALL).name).toBe('cpu');
  });
});

describe('by name', () => {
  test('is that backend, whatever the size', async () => {
    const { selectBackend } = await load();
    for (const backend of ['cuda', 'cpu', 'reference'] as const) expect(selectBackend({ ...auto, backend }, SMALL).name).toBe(backend);
  });

  test('or an error with the reason and what to do, never another backend', async () => {
    const { selectBackend, BackendUnavailableError } = await load();
    cpu = null;
    cuda = null;
    for (const [backend, reason, command] of [
      ['cpu', 'no compiler was found', 'npx contrastive-kernels build'],
      ['cuda', 'no CUDA device', 'npx contrastive-kernels build --cuda'],
    ] as const) {
      const call = () => selectBackend({ ...auto, backend }, LARGE);
      expect(call).toThrow(BackendUnavailableError);
      try {
        call();
      } catch (error) {
        expect(error).toMatchObject({ backend, reason, code: 'CONTRASTIVE_KERNELS_BACKEND_UNAVAILABLE' });
        expect((error as Error).message).toContain(command);
      }
    }
    expect(warnings).toEqual([]);
  });
});

describe('a kernel that a native backend lacks', () => {
  const other = { ...auto, kernel: 'uniformity' } as const;

  test("'auto' goes on to the next backend that has it, without a warning", async () => {
    const { selectBackend } = await load();
    expect(selectBackend(other, LARGE).name).toBe('reference');
    cpu = standIn('cpu', ['float32'], ['ntXent', 'uniformity']);
    expect(selectBackend(other, LARGE).name).toBe('cpu');
    cuda = standIn('cuda', ['float32'], ['uniformity']);
    expect(selectBackend(other, LARGE).name).toBe('cuda');
    expect(warnings).toEqual([]);
  });

  test('by name it is an error that says who has it', async () => {
    const { selectBackend, BackendUnavailableError } = await load();
    for (const backend of ['cuda', 'cpu'] as const) {
      const call = () => selectBackend({ ...other, backend }, LARGE);
      expect(call).toThrow(BackendUnavailableError);
      expect(call).toThrow(/it has no kernel 'uniformity'\n.*\n {2}- ask for a backend that has it: 'reference'\n/);
      expect(call).toThrow(expect.objectContaining({ backend, code: 'CONTRASTIVE_KERNELS_KERNEL_UNAVAILABLE' }));
    }
  });

  test('CONTRASTIVE_KERNELS_REQUIRE_NATIVE forbids the reference instead', async () => {
    const { selectBackend, BackendUnavailableError } = await load();
    vi.stubEnv('CONTRASTIVE_KERNELS_REQUIRE_NATIVE', '1');
    expect(() => selectBackend(other, SMALL)).toThrow(BackendUnavailableError);
  });
});

describe('the environment', () => {
  test('CONTRASTIVE_KERNELS_BACKEND decides for calls that name no backend', async () => {
    const { selectBackend } = await load();
    vi.stubEnv('CONTRASTIVE_KERNELS_BACKEND', 'reference');
    expect(selectBackend(auto, LARGE).name).toBe('reference');
    expect(selectBackend({ ...auto, backend: 'cpu' }, LARGE).name).toBe('cpu');
    expect(warnings).toEqual([]); // asked for, so no warning
    vi.stubEnv('CONTRASTIVE_KERNELS_BACKEND', '');
    expect(selectBackend(auto, LARGE).name).toBe('cuda');
  });

  test('an unknown name there is a RangeError that names the variable', async () => {
    const { selectBackend } = await load();
    vi.stubEnv('CONTRASTIVE_KERNELS_BACKEND', 'gpu');
    expect(() => selectBackend(auto, SMALL)).toThrow(RangeError);
    expect(() => selectBackend(auto, SMALL)).toThrow(/^CONTRASTIVE_KERNELS_BACKEND: expected one of .*got 'gpu'/);
  });

  test('a missing backend named there is an error, not a fallback', async () => {
    const { selectBackend, BackendUnavailableError } = await load();
    cpu = null;
    vi.stubEnv('CONTRASTIVE_KERNELS_BACKEND', 'cpu');
    expect(() => selectBackend(auto, SMALL)).toThrow(BackendUnavailableError);
  });

  test('CONTRASTIVE_KERNELS_REQUIRE_NATIVE makes the fallback an error, but not the reference by name', async () => {
    const { selectBackend, BackendUnavailableError } = await load();
    cpu = null;
    cuda = null;
    vi.stubEnv('CONTRASTIVE_KERNELS_REQUIRE_NATIVE', '1');
    expect(() => selectBackend(auto, SMALL)).toThrow(BackendUnavailableError);
    expect(() => selectBackend(auto, SMALL)).toThrow(/no compiler was found.*CONTRASTIVE_KERNELS_REQUIRE_NATIVE/);
    expect(selectBackend({ ...auto, backend: 'reference' }, SMALL).name).toBe('reference');
    vi.stubEnv('CONTRASTIVE_KERNELS_REQUIRE_NATIVE', '0');
    expect(selectBackend(auto, SMALL).name).toBe('reference');
  });
});

describe('the warning', () => {
  beforeEach(() => {
    cpu = null;
    cuda = null;
  });

  test('is given once, with the reason and the command that mends it', async () => {
    const { selectBackend } = await load();
    for (let call = 0; call < 3; call++) selectBackend(auto, SMALL);
    expect(warnings.length).toBe(1);
    expect(warnings[0].code).toBe('CONTRASTIVE_KERNELS_FALLBACK');
    expect(warnings[0].message).toContain('no compiler was found');
    expect(warnings[0].message).toContain('npx contrastive-kernels build');
  });

  test('is silenced by the option or the environment', async () => {
    const { selectBackend } = await load();
    selectBackend({ ...auto, fallbackWarning: false }, SMALL);
    vi.stubEnv('CONTRASTIVE_KERNELS_FALLBACK_WARNING', '0');
    selectBackend(auto, SMALL);
    expect(warnings).toEqual([]);
  });
});

test('backends() lists all three, with the reasons, in the order in which they are preferred', async () => {
  const { backends } = await load();
  cpu = null;
  expect(backends().map(({ name, available }) => [name, available])).toEqual([
    ['cuda', true],
    ['cpu', false],
    ['reference', true],
  ]);
  expect(backends()[1].reason).toBe('no compiler was found');
});
