// Which reports of ThreadSanitizer are about the addons. node is not built with it, so what orders node's own threads is not seen and reports
// of node alone mean nothing. One counts where a stack of it begins, below the sanitizer's own functions, in an addon: that the addon is
// further down only says that it had called node. What is no report of a race (the sanitizer's own failure) counts too.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

function isOfNode(part) {
  const counts = /^\s*(ThreadSanitizer: reported \d+ warnings\s*)?$/.test(part);
  const stacks = part.split(/^(?= +#0 )/m).slice(1);
  const begins = (stack) => stack.split('\n').find((line) => !line.includes('(libtsan.so'));
  return counts || (stacks.length > 0 && !stacks.some((stack) => /\(contrastive_kernels_\w+\.node\+/.test(begins(stack))));
}

/** Those that count, of all that the sanitizer wrote in one process. */
export function threadReports(text) {
  return text.split(/^={18}$/m).filter((part) => !isOfNode(part));
}

/** With function, file and line where there are none: a runtime that had reported before node loaded an addon does not look for them. */
export function withLines(report, folder) {
  return report.replace(/<null> <null> \((contrastive_kernels_\w+\.node)\+(0x[0-9a-f]+)\)/g, (frame, addon, offset) => {
    const { status, stdout } = spawnSync('addr2line', ['-Cfpe', join(folder, addon), offset], { encoding: 'utf8' });
    return status === 0 ? `${stdout.trim()} (${addon}+${offset})` : frame;
  });
}
