// Sizing: what this server has, against what its migrations need.

import { get } from './api.js';
import { fill, h } from './dom.js';
import { callout, empty, loading, problem } from './form.js';
import { bytes, count, plural } from './format.js';
import { every } from './live.js';
import { href } from './router.js';
import { heading } from './shell.js';
import { ended, stateBadge, totals } from './state.js';

/** How often it is asked for, in milliseconds. */
const AGAIN = 10_000;
/** Room on the target's disk for a source of size one: rows and indexes, and the log meanwhile. */
const ROOM = 1.25;
/** What a process of pghaul takes, in bytes: for itself, and for each table. */
const PROCESS = 256 * 1024 ** 2;
const TABLE = 2048;
/** How much of the rows a spool holds at most, packed. */
const PACKED = 0.4;

/** Opens the page. */
export function sizingPage({ main, setTitle, signal }) {
  setTitle('Sizing');
  const place = h('div', {}, loading());
  fill(main, heading('Sizing'), place);
  every(AGAIN, async () => {
    const [host, answer] = await Promise.all([get('/host', { signal }), get('/migrations?filter=active', { signal })]);
    draw(place, host ?? {}, (answer?.value ?? []).filter((m) => !ended(m)));
  }, (error) => {
    if (!error.away) {
      fill(place, problem(error));
    }
  }, signal);
}

function draw(place, host, migrations) {
  const most = Math.max(1, host.maxRunning ?? 1);
  const running = migrations.filter((m) => m.startedAt).length;
  const largest = migrations.map((m) => PROCESS + TABLE * totals(m).tables.all).sort((a, b) => b - a).slice(0, most);
  const memory = largest.reduce((sum, need) => sum + need, 0) || PROCESS;
  const relayed = migrations.filter((m) => m.topology === 'agents').reduce((sum, m) => sum + totals(m).bytesExpected * PACKED, 0);
  const used = host.diskBytes - host.diskFreeBytes;
  fill(place,
    h('section', { class: 'gauges', 'aria-label': 'This server' },
      gauge('Processors', count(host.processors), `${plural(running, 'migration')} of at most ${most} at a time`),
      gauge('Memory', bytes(host.memoryBytes), `about ${bytes(memory)} for ${plural(Math.max(1, largest.length), 'migration')} at a time`, memory / host.memoryBytes),
      gauge('Disk of the state', bytes(host.diskBytes), `${bytes(host.diskFreeBytes)} free`, used / host.diskBytes)),
    advice(host, memory, relayed),
    h('section', {}, h('h2', {}, 'What the active migrations need'), migrations.length === 0
      ? empty('gauge', 'No migration is active', 'With one, this shows its size against the target and this server.')
      : h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
        h('thead', {}, h('tr', {}, [['Migration'], ['State'], ['Size of the source', 'number'], ['Room on the target', 'number'], ['Room here', 'number'], ['Copies at a time', 'number']]
          .map(([label, kind]) => h('th', { scope: 'col', class: kind }, label)))),
        h('tbody', {}, migrations.map(line))))),
    h('section', {}, h('h2', {}, 'How to size'),
      h('ul', { class: 'advice' },
        h('li', {}, 'This server: two processors; more than four only for more than a gigabyte a second. 256 MB of memory for each migration that runs, and 2 kB for each of its tables.'),
        h('li', {}, 'The target: a disk of 1.25 times the size of the databases, and the processors and memory that it is to have in production; indexes are built there.'),
        h('li', {}, 'With agents, this server holds what is extracted and not loaded yet: at most 0.4 of the rows, packed.'),
        h('li', {}, 'Near the target is the best place for this server: the statements of a schema wait for one another, and each wait is a round trip.'))));
}

function advice(host, memory, relayed) {
  const found = [];
  if (memory > host.memoryBytes * 0.8) {
    found.push('The migrations that wait and run may need more memory than this server has.');
  }
  if (host.processors < 2) {
    found.push('One processor is less than one migration can use.');
  }
  if (relayed > 0 && relayed > host.diskFreeBytes) {
    found.push(`Migrations through agents may have to hold up to ${bytes(relayed)} here, and ${bytes(host.diskFreeBytes)} are free.`);
  }
  if (host.diskFreeBytes < host.diskBytes * 0.05) {
    found.push('The disk of the state directory is almost full.');
  }
  return found.length > 0 ? callout('warn', 'Needs a look', h('ul', {}, found.map((text) => h('li', {}, text))))
    : callout('good', 'This server is large enough for what it has to do');
}

function line(migration) {
  const size = totals(migration).bytesExpected;
  const here = migration.topology === 'agents' && size > 0;
  return h('tr', {}, h('th', { scope: 'row' }, h('a', { class: 'name', href: href('migrations', migration.name) }, migration.name)), h('td', {}, stateBadge(migration)),
    h('td', { class: 'number nowrap' }, size > 0 ? bytes(size) : 'not known yet'),
    h('td', { class: 'number nowrap' }, size > 0 ? `at least ${bytes(size * ROOM)}` : '–'),
    h('td', { class: 'number nowrap' }, here ? `up to ${bytes(size * PACKED)}` : 'none'),
    h('td', { class: 'number' }, migration.job?.jobs ? count(migration.job.jobs) : 'automatic'));
}

function gauge(label, value, note, share) {
  const part = Number.isFinite(share) ? Math.max(0, Math.min(1, share)) : null;
  const level = part === null ? null : h('span', { class: 'bar-fill' });
  level?.style.setProperty('width', `${part * 100}%`);
  const tone = part > 0.95 ? 'bad' : part > 0.8 ? 'warn' : 'busy';
  return h('div', { class: 'gauge' }, h('div', { class: 'gauge-label' }, label), h('div', { class: 'gauge-value' }, value),
    level && h('span', { class: `bar tone-${tone}`, 'aria-hidden': 'true' }, level), h('div', { class: 'sub' }, note));
}
