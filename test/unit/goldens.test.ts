/** Which test reads each golden file: a file that no test reads fails here, and so does a row of this list that is not true. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { goldens, ntXentGoldens } from '../support/golden.js';
import { systemGoldens } from '../support/system-goldens.js';

/** Tests in test/kernels run on every backend. test/unit has what runs in TypeScript only. */
const READ_BY: Readonly<Record<string, readonly string[]>> = {
  'kernels/alignment.test.ts': ['align_uniform_align_02', 'align_uniform_align_05', 'lightly_hypersphere_02'],
  'kernels/uniformity.test.ts': ['align_uniform_edge_02', 'align_uniform_uniform_02', 'align_uniform_uniform_05'],
  'kernels/columns.test.ts': ['barlowtwins_03', 'lightly_barlow_02', 'lightly_vicreg_02'],
  'kernels/cosine-similarity.test.ts': ['st_cos_sim_02'],
  'kernels/dcl.test.ts': ['lightly_dcl_03'],
  'kernels/gathered.test.ts': ['dist_lightly_ntxent_02'],
  'kernels/negative-cosine.test.ts': ['lightly_negcos_03', 'lightly_symnegcos_02', 'solo_byol_02'],
  'kernels/nt-xent.test.ts': [
    'lightly_ntxent_03',
    'lightly_ntxent_10',
    'lightly_ntxent_edge_02',
    'lightly_ntxent_edge_06',
    'simclr_official_03',
    'supcontrast_02',
  ],
  'kernels/sig-lip.test.ts': ['dist_openclip_siglip_07', 'openclip_siglip_03'],
  'kernels/systems.test.ts': [
    'dist_openclip_clip_04',
    'dpr_nll_02',
    'gradcache_simple_02',
    'hfst_mnrl_02',
    'infonce_explicit_02',
    'lightly_ntxent_bank_02',
    'moco_infonce_02',
    'mocov3_ctr_02',
    'openclip_clip_03',
    'pml_ntxent_02',
    'pml_selfsup_02',
    'pml_supcon_02',
    'pml_supcon_06',
    'simcse_03',
    'solo_simclr_02',
    'st_gist_02',
    'st_mnrl_02',
    'st_mnsrl_02',
    'supcontrast_06',
  ],
  'unit/memory-bank.test.ts': ['cmc_nce_03'],
};

const tests = join(__dirname, '..');

/** The golden files that a test file reads, by the calls in its source. */
function readBy(file: string): Set<string> {
  const source = readFileSync(join(tests, file), 'utf8');
  const found = new Set<string>();
  for (const [, quoted] of source.matchAll(/goldens\(((?:'[^']*'(?:, )?)+)\)/g)) {
    for (const { file } of goldens(...Array.from(quoted.matchAll(/'([^']*)'/g), ([, loss]) => loss))) found.add(file);
  }
  if (source.includes('ntXentGoldens()')) for (const { golden } of ntXentGoldens()) found.add(golden.file);
  if (source.includes('systemGoldens()')) for (const { golden } of systemGoldens()) found.add(golden.file);
  return found;
}

describe('golden files', () => {
  test('every one is listed, once', () => {
    const files = readdirSync(join(tests, 'fixtures', 'golden')).sort();
    const listed = Object.values(READ_BY).flat();
    expect(listed.map((name) => `${name}.json`).sort()).toEqual(files);
  });

  test.each(Object.entries(READ_BY))('%s reads its own', (file, names) => {
    const read = readBy(file);
    for (const name of names) expect(read, name).toContain(`${name}.json`);
  });
});
