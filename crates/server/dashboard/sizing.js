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
/** A process of pghaul takes about so many bytes: its buffers, and what describes the tables. */
const PER_MIGRATION = 256 * 1024 ** 2;

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
  const running = migrations.filter((m) => m.startedAt).length;
  const jobs = migrations.filter((m) => m.startedAt).reduce((sum, m) => sum + (m.job?.jobs ?? host.cores ?? 0), 0);
  const relayed = migrations.filter((m) => m.topology === 'agents').reduce((sum, m) => sum + totals(m).bytesExpected, 0);
  const memory = PER_MIGRATION * Math.max(1, migrations.length);
  const used = host.diskTotalBytes - host.diskFreeBytes;
  fill(place,
    h('section', { class: 'gauges', 'aria-label': 'This server' },
      gauge('Processors', count(host.cores), running > 0 ? `${plural(jobs, 'copy', 'copies')} at a time in ${plural(running, 'migration')}` : 'no migration runs'),
      gauge('Memory', bytes(host.memoryBytes), `about ${bytes(memory)} for ${plural(Math.max(1, migrations.length), 'migration')}`, memory / host.memoryBytes),
      gauge('Disk of the state', bytes(host.diskTotalBytes), `${bytes(host.diskFreeBytes)} free`, used / host.diskTotalBytes)),
    advice(host, memory, jobs, relayed),
    h('section', {}, h('h2', {}, 'What the active migrations need'), migrations.length === 0
      ? empty('gauge', 'No migration is active', 'With one, this shows its size against the target and this server.')
      : h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
        h('thead', {}, h('tr', {}, [['Migration'], ['State'], ['Size of the source', 'number'], ['Room on the target', 'number'], ['Room here', 'number'], ['Copies at a time', 'number']]
          .map(([label, kind]) => h('th', { scope: 'col', class: kind }, label)))),
        h('tbody', {}, migrations.map((m) => line(m, host)))))),
    h('section', {}, h('h2', {}, 'How to size'),
      h('ul', { class: 'advice' },
        h('li', {}, 'This server: as many processors as the target, or more. It copies from socket to socket, so it needs little memory and, without agents, hardly any disk.'),
        h('li', {}, 'The target: as many processors as the source, and a disk of at least 1.25 times the size of the databases.'),
        h('li', {}, 'With agents, the relay holds what is extracted and not loaded yet: in the worst case the whole source, packed.'),
        h('li', {}, 'Near the target is the best place for this server: writes wait for round trips more often than reads do.'))));
}

function advice(host, memory, jobs, relayed) {
  const found = [];
  if (memory > host.memoryBytes * 0.8) {
    found.push('The migrations that wait and run may need more memory than this server has.');
  }
  if (jobs > host.cores * 2) {
    found.push(`${jobs} copies at a time are more than twice the processors of this server; they share them.`);
  }
  if (relayed > 0 && relayed > host.diskFreeBytes) {
    found.push(`Migrations through agents may have to hold up to ${bytes(relayed)} here, and ${bytes(host.diskFreeBytes)} are free.`);
  }
  if (host.diskFreeBytes < host.diskTotalBytes * 0.05) {
    found.push('The disk of the state directory is almost full.');
  }
  return found.length > 0 ? callout('warn', 'Needs a look', h('ul', {}, found.map((text) => h('li', {}, text))))
    : callout('good', 'This server is large enough for what it has to do');
}

function line(migration, host) {
  const size = totals(migration).bytesExpected;
  const here = migration.topology === 'agents' && size > 0;
  return h('tr', {}, h('th', { scope: 'row' }, h('a', { class: 'name', href: href('migrations', migration.name) }, migration.name)), h('td', {}, stateBadge(migration)),
    h('td', { class: 'number nowrap' }, size > 0 ? bytes(size) : 'not known yet'),
    h('td', { class: 'number nowrap' }, size > 0 ? `at least ${bytes(size * ROOM)}` : '–'),
    h('td', { class: 'number nowrap' }, here ? `up to ${bytes(size)}` : 'hardly any'),
    h('td', { class: 'number' }, migration.job?.jobs ? count(migration.job.jobs) : host.cores ? `automatic, about ${host.cores}` : 'automatic'));
}

function gauge(label, value, note, share) {
  const part = Number.isFinite(share) ? Math.max(0, Math.min(1, share)) : null;
  const level = part === null ? null : h('span', { class: 'bar-fill' });
  level?.style.setProperty('width', `${part * 100}%`);
  const tone = part > 0.95 ? 'bad' : part > 0.8 ? 'warn' : 'busy';
  return h('div', { class: 'gauge' }, h('div', { class: 'gauge-label' }, label), h('div', { class: 'gauge-value' }, value),
    level && h('span', { class: `bar tone-${tone}`, 'aria-hidden': 'true' }, level), h('div', { class: 'sub' }, note));
}
