// The tables of one database: by pages, because there can be a hundred thousand.

import { at, get, query } from '../api.js';
import { fill, h, keyed, setText, show } from '../dom.js';
import { button, empty, input, loading, problem, select } from '../form.js';
import { bytes, count, duration, plural } from '../format.js';
import { icon } from '../icons.js';
import { every } from '../live.js';
import { progressBar } from '../progress_bar.js';
import { databases, ended, plainBadge } from '../state.js';

const LIMIT = 100;
/** How often the page of tables is asked for, in milliseconds. */
const AGAIN = 2500;
/** After the last key, in milliseconds, until a filter is sent. */
const TYPED = 300;

/** Opens the tab. */
export function tablesTab({ place, name, migration, signal }) {
  const wanted = new URLSearchParams(location.hash.split('?')[1] ?? '').get('database');
  let known = '';
  let database = wanted ?? databases(migration)[0]?.databaseName ?? migration.dbsToMigrate?.[0] ?? '';
  let state = '';
  let text = '';
  /** Where each page up to the open one begins. */
  let starts = [null];
  let over = ended(migration);
  let answer = null;

  const choice = h('div', {});
  const failed = h('div', {});
  const body = h('tbody');
  const rows = keyed(body, (table) => table.table, row);
  const list = h('div', { class: 'scroll-x' }, h('table', { class: 'list tables' },
    h('caption', { class: 'visually-hidden' }, 'Tables'),
    h('thead', {}, h('tr', {}, [['Table'], ['State'], ['Progress'], ['Rows', 'number'], ['Bytes', 'number'], ['Time left', 'number']]
      .map(([label, kind]) => h('th', { scope: 'col', class: kind }, label)))), body));
  const waiting = loading();
  const nothing = h('div', {});
  const range = h('span', { class: 'range', role: 'status' });
  const before = button('Previous', () => turn(() => starts.pop()), { sign: 'left' });
  const after = button('Next', () => turn(() => starts.push(answer.next)), { sign: 'right', class: 'plain icon-last' });
  const pager = h('nav', { class: 'pager', 'aria-label': 'Pages of tables' }, range, before, after);
  let timer = null;
  const search = input('', (value) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      text = value.trim();
      restart();
    }, TYPED);
  }, { type: 'search', placeholder: 'Filter by name', 'aria-label': 'Filter tables by name' });
  const states = select('', [['', 'Any state'], ['queued', 'Queued'], ['loading', 'Loading'], ['completed', 'Completed'], ['errored', 'Errored']], (value) => {
    state = value;
    restart();
  }, { 'aria-label': 'State of tables' });
  fill(place, h('div', { class: 'toolbar' }, choice, h('div', { class: 'search' }, icon('search'), search), states), failed, waiting, nothing, list, pager);
  show(list, false);
  show(pager, false);

  function choose(all) {
    const names = all.map((entry) => entry.databaseName);
    if (names.join('\n') === known) {
      return;
    }
    known = names.join('\n');
    if (!database && names.length > 0) {
      [database] = names;
      restart();
    }
    fill(choice, select(database, names.map((entry) => [entry, entry]), (value) => {
      database = value;
      restart();
    }, { 'aria-label': 'Database' }));
  }

  function turn(change) {
    change();
    ask();
    place.scrollIntoView({ block: 'nearest' });
  }

  function restart() {
    starts = [null];
    ask();
  }

  const asked = () => JSON.stringify([database, state, text, starts.at(-1)]);

  const ask = every(AGAIN, async () => {
    if (!database || (over && answer && answer.asked === asked())) {
      show(waiting, false);
      if (!database) {
        fill(nothing, empty('list', 'No table yet', 'Tables are listed as soon as the source has been asked.'));
      }
      return;
    }
    const question = asked();
    const got = await get(query(at('migrations', name, 'databases', database, 'tables'), {
      state, name: text, after: starts.at(-1), limit: LIMIT,
    }), { signal });
    if (question !== asked()) {
      ask();
      return;
    }
    answer = { ...got, asked: question };
    fill(failed);
    draw();
  }, (error) => {
    show(waiting, false);
    if (!error.away) {
      fill(failed, problem(error));
    }
  }, signal);

  function draw() {
    const tables = answer.value ?? [];
    rows(tables);
    show(waiting, false);
    show(list, tables.length > 0);
    fill(nothing, tables.length === 0 && (state || text
      ? empty('search', 'No table matches', 'Nothing in this database matches the filter.')
      : empty('list', 'No table yet', 'Tables are listed as soon as the source has been asked.')));
    const first = (starts.length - 1) * LIMIT;
    const total = answer.total;
    setText(range, tables.length === 0 ? '' : `${count(first + 1)}–${count(first + tables.length)}${
      typeof total === 'number' ? ` of ${plural(total, 'table')}` : ''}`);
    before.disabled = starts.length === 1;
    after.disabled = answer.next === null || answer.next === undefined;
    show(pager, tables.length > 0 || starts.length > 1);
  }

  return {
    update(now) {
      const hasEnded = ended(now);
      if (hasEnded && !over) {
        answer = null;
        over = true;
        ask();
      }
      choose(databases(now));
    },
  };
}

function row(table) {
  const bar = progressBar(`Progress of ${table.table}`);
  const state = h('td', {});
  const rowsCell = h('td', { class: 'number nowrap' });
  const bytesCell = h('td', { class: 'number nowrap' });
  const left = h('td', { class: 'number nowrap' });
  let drawn = '';
  return {
    node: h('tr', {}, h('th', { scope: 'row', class: 'mono', title: table.table }, h('span', { class: 'clip wide' }, table.table)), state, h('td', { class: 'progress-cell' }, bar.node), rowsCell, bytesCell, left),
    update(t) {
      if (drawn !== t.state) {
        drawn = t.state;
        fill(state, plainBadge(t.state));
      }
      const done = t.state === 'completed';
      const share = done ? 1 : t.bytesExpected > 0 ? Math.min(0.99, t.bytes / t.bytesExpected) : 0;
      bar.update(share, { completed: 'good', errored: 'bad', loading: 'busy' }[t.state] ?? 'idle');
      setText(rowsCell, done || !t.rowsExpected ? count(t.rows) : `${count(t.rows)} / ${count(t.rowsExpected)}`);
      setText(bytesCell, done || !t.bytesExpected ? bytes(t.bytes) : `${bytes(t.bytes)} / ${bytes(t.bytesExpected)}`);
      setText(left, done ? '–' : duration(t.etaSeconds ?? undefined));
    },
  };
}
