// The audit log: who did what.

import { get, query } from './api.js';
import { fill, h, show } from './dom.js';
import { busy, button, empty, input, loading, problem } from './form.js';
import { icon } from './icons.js';
import { time, words } from './format.js';
import { heading } from './shell.js';
import { badge } from './state.js';

const LIMIT = 200;

/** What was done, where the name of the operation does not say it. */
const ACTIONS = { putMigration: 'Create migration', issue: 'Make token for an agent', putUser: 'Add or change user', login: 'Sign in', logout: 'Sign out' };

/** Opens the page. */
export function auditPage({ main, setTitle, signal }) {
  setTitle('Audit log');
  let entries = [];
  let next = null;
  let text = '';
  const failed = h('div', {});
  const waiting = loading();
  const nothing = h('div', {});
  const body = h('tbody');
  const list = h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('caption', { class: 'visually-hidden' }, 'Audit log, newest first'),
    h('thead', {}, h('tr', {}, ['Time', 'User', 'Role', 'Action', 'On', 'Outcome', 'From'].map((label) => h('th', { scope: 'col' }, label)))), body));
  const older = button('Show older', () => busy(older, () => load(next)));
  const search = input('', (value) => {
    text = value.trim().toLowerCase();
    draw();
  }, { type: 'search', placeholder: 'Filter what is shown', 'aria-label': 'Filter the audit log' });
  fill(main, heading('Audit log', { actions: [button('Look again', () => {
    entries = [];
    load(null);
  })] }), h('div', { class: 'toolbar' }, h('div', { class: 'search' }, icon('search'), search)), failed, waiting, nothing, list, older);
  show(list, false);
  show(older, false);

  async function load(after) {
    try {
      const answer = await get(query('/audit', { after, limit: LIMIT }), { signal });
      entries = [...entries, ...(answer?.value ?? [])];
      next = answer?.next ?? null;
      fill(failed);
      draw();
    } catch (error) {
      if (!signal.aborted) {
        fill(failed, problem(error));
      }
    } finally {
      show(waiting, false);
    }
  }

  function draw() {
    const shown = entries.filter((entry) => !text || [entry.user, action(entry), entry.subject, entry.outcome, entry.address].some((word) => String(word ?? '').toLowerCase().includes(text)));
    fill(body, shown.map(line));
    show(list, shown.length > 0);
    show(older, next !== null);
    fill(nothing, shown.length === 0 && (text ? empty('search', 'Nothing matches') : empty('book', 'Nothing has been done yet', 'Whatever users do is listed here.')));
  }

  load(null);
}

const action = (entry) => ACTIONS[entry.action] ?? words(entry.action);

function line(entry) {
  const refused = entry.outcome && !/^(ok|succeeded|success|allowed|done|2\d\d)$/i.test(String(entry.outcome));
  return h('tr', {}, h('td', { class: 'nowrap' }, time(entry.time)), h('th', { scope: 'row' }, entry.user ?? '–'), h('td', {}, entry.role ?? ''),
    h('td', {}, action(entry)), h('td', { class: 'mono' }, entry.subject ?? ''),
    h('td', {}, entry.outcome ? badge(words(entry.outcome), refused ? 'bad' : 'good', refused ? 'cross' : 'check') : ''), h('td', { class: 'mono' }, entry.address ?? ''));
}
