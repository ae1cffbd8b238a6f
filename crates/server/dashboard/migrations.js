// The list of migrations.

import { get } from './api.js';
import { fill, h, keyed, setText, show } from './dom.js';
import { button, empty, input, loading, problem, select } from './form.js';
import { between, bytes, duration, plural, rate, time } from './format.js';
import { icon } from './icons.js';
import { every } from './live.js';
import { progressBar } from './progress_bar.js';
import { href } from './router.js';
import { may } from './session.js';
import { heading } from './shell.js';
import { doing, ended, look, option, queued, stateBadge, totals } from './state.js';

/** How often the list is asked for, in milliseconds. */
const AGAIN = 2000;
/** So many rows are drawn at once; a button draws more. */
const STEP = 200;

/** What the list is narrowed to; kept while the dashboard is open. */
const narrowed = { filter: 'active', text: '', state: '', sort: 'createdAt', down: true };

const COLUMNS = [
  ['name', 'Name', (m) => m.name.toLowerCase()],
  ['state', 'State', (m) => look(m)[0]],
  ['progress', 'Progress', (m) => totals(m).fraction],
  ['route', 'Source and target', (m) => host(m.source) + host(m.target)],
  ['databases', 'Databases', (m) => databaseCount(m), 'number'],
  ['createdAt', 'Created', (m) => m.createdAt ?? ''],
  ['duration', 'Duration', (m) => between(m.startedAt, m.endedAt) ?? -1, 'number'],
];

const host = (endpoint) => (endpoint?.host ? `${endpoint.host}${endpoint.port ? `:${endpoint.port}` : ''}` : '');

function databaseCount(migration) {
  const details = migration.currentStatus?.currentSubStateDetails?.dbDetails;
  return Object.keys(details ?? {}).length || (migration.dbsToMigrate?.length ?? 0);
}

/** Opens the list. */
export function migrationsPage({ main, setTitle, signal }) {
  setTitle('Migrations');
  let all = null;
  let limit = STEP;

  const body = h('tbody');
  const rows = keyed(body, (m) => m.migrationId ?? m.name, row);
  const failed = h('div', {});
  const waiting = loading();
  const place = h('div', {}, waiting);
  const tally = h('div', { class: 'tally', role: 'status', 'aria-live': 'polite' });
  const more = button('Show more', () => {
    limit += STEP;
    draw();
  });

  const headers = COLUMNS.map(([name, label, , kind]) => {
    const sort = button(label, () => {
      narrowed.down = narrowed.sort === name ? !narrowed.down : kind === 'number' || name === 'createdAt';
      narrowed.sort = name;
      draw();
    }, { kind: 'sort' });
    return [name, h('th', { scope: 'col', class: kind }, sort)];
  });
  const table = h('div', { class: 'scroll-x' }, h('table', { class: 'list migrations' },
    h('caption', { class: 'visually-hidden' }, 'Migrations'),
    h('thead', {}, h('tr', {}, headers.map(([, cell]) => cell))), body));

  const filter = h('fieldset', { class: 'segmented' }, h('legend', { class: 'visually-hidden' }, 'Which migrations'),
    [['active', 'Active'], ['all', 'All']].map(([value, label]) => h('label', {},
      h('input', {
        type: 'radio', name: 'filter', value, checked: narrowed.filter === value,
        on: {
          change: () => {
            narrowed.filter = value;
            all = null;
            ask();
          },
        },
      }), h('span', {}, label))));
  const search = input(narrowed.text, (text) => {
    narrowed.text = text;
    draw();
  }, { type: 'search', placeholder: 'Filter by name, host or database', 'aria-label': 'Filter by name, host or database' });
  const states = select(narrowed.state, [['', 'Any state'], ['Queued', 'Queued'], ['Scheduled', 'Scheduled'],
    ['In progress', 'In progress'], ['Paused', 'Paused'], ['Succeeded', 'Succeeded'], ['Failed', 'Failed'],
    ['Validation failed', 'Validation failed'], ['Canceled', 'Canceled']], (value) => {
    narrowed.state = value;
    draw();
  }, { 'aria-label': 'State' });

  const create = may('operator') && h('a', { class: 'button primary', href: href('new') }, icon('plus'), 'New migration');
  fill(main, heading('Migrations', { actions: [create] }),
    h('div', { class: 'toolbar' }, filter, h('div', { class: 'search' }, icon('search'), search), states, tally),
    failed, place);

  function chosen() {
    const text = narrowed.text.trim().toLowerCase();
    const value = COLUMNS.find(([name]) => name === narrowed.sort)[2];
    return all
      .filter((m) => !narrowed.state || look(m)[0] === narrowed.state)
      .filter((m) => !text || [m.name, host(m.source), host(m.target), ...(m.dbsToMigrate ?? [])].some((word) => word.toLowerCase().includes(text)))
      .map((m) => [value(m), m])
      .sort(([a, first], [b, second]) => {
        const order = a < b ? -1 : a > b ? 1 : first.name.localeCompare(second.name);
        return narrowed.down ? -order : order;
      })
      .map(([, m]) => m);
  }

  function draw() {
    if (!all) {
      return;
    }
    for (const [name, cell] of headers) {
      if (name === narrowed.sort) {
        cell.setAttribute('aria-sort', narrowed.down ? 'descending' : 'ascending');
      } else {
        cell.removeAttribute('aria-sort');
      }
    }
    const matching = chosen();
    const running = all.filter((m) => !ended(m) && !queued(m)).length;
    const waitingCount = all.filter(queued).length;
    setText(tally, [running && `${running} running`, waitingCount && `${waitingCount} queued`,
      `${matching.length === all.length ? plural(all.length, 'migration') : `${matching.length} of ${plural(all.length, 'migration')}`}`].filter(Boolean).join(' · '));
    rows(matching.slice(0, limit));
    if (matching.length > 0) {
      if (table.parentNode !== place) {
        fill(place, table, more);
      }
      show(more, matching.length > limit);
    } else if (all.length > 0) {
      fill(place, empty('search', 'Nothing matches', 'No migration of this list matches the filter.'));
    } else if (narrowed.filter === 'active') {
      fill(place, empty('list', 'No migration is active', 'What has ended is under “All”.',
        create && h('a', { class: 'button', href: href('new') }, icon('plus'), 'New migration')));
    } else {
      fill(place, empty('list', 'No migration yet', 'A migration moves databases from one PostgreSQL server to another.',
        create && h('a', { class: 'button', href: href('new') }, icon('plus'), 'New migration')));
    }
  }

  const ask = every(AGAIN, async () => {
    const asked = narrowed.filter;
    const answer = await get(`/migrations?filter=${asked}`, { signal });
    fill(failed);
    if (asked === narrowed.filter) {
      all = answer?.value ?? [];
      draw();
    }
  }, (error) => {
    if (!error.away) {
      fill(failed, problem(error));
      waiting.remove();
    }
  }, signal);
}

function row(migration) {
  const bar = progressBar(`Progress of ${migration.name}`);
  const name = h('a', { class: 'name', href: href('migrations', migration.name) }, migration.name);
  const kind = h('div', { class: 'sub nowrap' });
  const state = h('td', {});
  const doingNode = h('div', { class: 'sub' });
  const flow = h('div', { class: 'sub' });
  const route = h('td', { class: 'route' });
  const number = h('td', { class: 'number' });
  const created = h('td', { class: 'nowrap' });
  const took = h('td', { class: 'number nowrap' });
  let drawnState = '';
  const node = h('tr', {}, h('th', { scope: 'row' }, name, kind), state, h('td', { class: 'progress-cell' }, bar.node, flow), route, number, created, took);
  return {
    node,
    update(m) {
      const [label, tone] = look(m);
      if (drawnState !== label) {
        drawnState = label;
        fill(state, stateBadge(m), doingNode);
      }
      setText(kind, option(m));
      setText(doingNode, doing(m));
      const sums = totals(m);
      bar.update(sums.fraction, tone);
      setText(flow, ended(m) || m.paused || !sums.bytesPerSecond
        ? (sums.bytes ? bytes(sums.bytes) : '')
        : `${rate(sums.bytesPerSecond)}${sums.etaSeconds === undefined ? '' : ` · ${duration(sums.etaSeconds)} left`}`);
      if (!route.firstChild) {
        fill(route, m.topology === 'agents'
          ? h('span', { class: 'sub' }, 'through agents')
          : [h('div', { class: 'clip', title: host(m.source) }, host(m.source)), h('div', { class: 'clip', title: host(m.target) }, icon('arrow'), host(m.target))]);
      }
      setText(number, databaseCount(m) || 'all');
      setText(created, time(m.createdAt));
      setText(took, m.startedAt ? duration(between(m.startedAt, m.endedAt)) : '–');
    },
  };
}
