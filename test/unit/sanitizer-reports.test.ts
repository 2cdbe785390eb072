/** Which reports of ThreadSanitizer make `npm test -- --sanitize thread` fail: those of the addons, and none of node's. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const script = join(__dirname, '..', '..', 'scripts', 'sanitizer-reports.mjs');
const reports = async (...parts: string[]): Promise<string[]> => {
  const { threadReports } = await import(pathToFileURL(script).href);
  const all = parts.map((part) => `==================\n${part}==================\n`).join('');
  return threadReports(`${all}ThreadSanitizer: reported ${parts.length} warnings\n`);
};

const thread = `  Thread T8 (tid=16676, running) created by main thread at:
    #0 pthread_create ../../../../src/libsanitizer/tsan/tsan_interceptors_posix.cpp:1001 (libtsan.so+0x5e686)
    #1 uv_thread_create_ex ../deps/uv/src/unix/thread.c:172 (node+0x18bab10)
`;

const inNode = `WARNING: ThreadSanitizer: data race (pid=15908)
  Write of size 8 at 0x7b3000005df8 by thread T3:
    #0 operator delete(void*, unsigned long) ../../../../src/libsanitizer/tsan/tsan_new_delete.cpp:150 (libtsan.so+0x86c3d)
    #1 v8::platform::DefaultJobWorker::~DefaultJobWorker() <null> (node+0x1d5aa65)

  Previous write of size 1 at 0x7b3000005df8 by main thread (mutexes: write M300750600956543056):
    #0 pthread_mutex_destroy ../../../../src/libsanitizer/tsan/tsan_interceptors_posix.cpp:1312 (libtsan.so+0x42191)
    #1 v8::platform::DefaultJobState::~DefaultJobState() <null> (node+0x1d65445)
    #2 allocate /src/native/addon/device.cc:50 (contrastive_kernels_cuda_simt.node+0x1515c)

  Mutex M300750600956543056 is already destroyed.

${thread}
SUMMARY: ThreadSanitizer: data race ../../../../src/libsanitizer/tsan/tsan_new_delete.cpp:150 in operator delete(void*, unsigned long)
`;

/** An access of an addon, and one that the sanitizer's own function makes for node. */
const race = (access: string, other: string): string => `WARNING: ThreadSanitizer: data race (pid=16661)
  Read of size 4 at 0x7fbd03ade504 by thread T8:
${access}
    #1 node::ThreadPoolWork::ScheduleWork()::{lambda(uv_work_s*)#1}::_FUN(uv_work_s*) <null> (node+0xc71348)

  Previous write of size 4 at 0x7fbd03ade504 by main thread:
${other}

${thread}
SUMMARY: ThreadSanitizer: data race (/build/Release/contrastive_kernels_cuda_simt.node+0x12286)
`;
const own = '    #0 <null> <null> (contrastive_kernels_cuda_simt.node+0x12286)';
const copied = `    #0 memcpy ../../../../src/libsanitizer/sanitizer_common/sanitizer_common_interceptors.inc:827 (libtsan.so+0x5ec11)
    #1 ck_addon::AsyncCall::OnOK() /src/native/addon/async_call.cc:104 (contrastive_kernels_cpu.node+0x12297)`;
const ofNode = `    #0 memcpy ../../../../src/libsanitizer/sanitizer_common/sanitizer_common_interceptors.inc:827 (libtsan.so+0x5ec11)
    #1 v8::internal::Heap::CopyBlock() <null> (node+0x1d65445)`;

test('reports of node alone do not count, also where an addon had called node', async () => {
  expect(await reports(inNode)).toEqual([]);
  expect(await reports(inNode, race(ofNode, ofNode))).toEqual([]);
  expect(await reports()).toEqual([]);
});

test.each([
  ['both accesses', race(own, own)],
  ['the later one', race(own, ofNode)],
  ['the earlier one', race(ofNode, own)],
  ['one inside of a function that the sanitizer replaces', race(ofNode, copied)],
])('a race in an addon counts: %s', async (_, report) => {
  const found = await reports(inNode, report, inNode);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain('pid=16661');
});

test('a failure of the sanitizer itself counts', async () => {
  expect(await reports('FATAL: ThreadSanitizer: unexpected memory mapping 0x7f00-0x7f10\n')).toHaveLength(1);
});
