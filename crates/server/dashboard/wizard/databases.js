// Databases: which of the source's are moved.

import { post } from '../api.js';
import { fill, h, setText } from '../dom.js';
import { button, callout, cards, empty, field, input, loading, problem, textarea } from '../form.js';
import { bytes, plural } from '../format.js';
import { icon } from '../icons.js';
import { chosenDatabases, draft, endpointOf } from './draft.js';

/** Builds the step. */
export function databasesStep({ place, changed, signal }) {
  const server = draft.topology === 'server';
  const listing = h('div', { 'data-path': '/databases' });
  const tell = () => {
    draft.errors = draft.errors.filter((error) => !error.path.startsWith('/databases'));
    changed();
  };
  fill(place, cards('Which databases', draft.allDatabases ? 'all' : 'some', [
    ['all', 'All databases', 'Every database of the source, but for templates.'],
    ['some', 'Some databases', server ? 'Chosen from the list.' : 'Named by you.'],
  ], (value) => {
    draft.allDatabases = value === 'all';
    draw();
    tell();
  }), listing);

  function byName() {
    return field({
      label: 'Names', path: '/databases', hint: 'One a line.',
      control: textarea(draft.names, (value) => {
        draft.names = value;
        tell();
      }, { class: 'mono', rows: '6' }),
    }).node;
  }

  async function list() {
    fill(listing, loading('Asking the source'));
    try {
      const answer = await post('/source-databases', endpointOf('source'), { signal });
      draft.listed = answer?.value ?? [];
      draft.databases = draft.databases.filter((name) => draft.listed.some((entry) => entry.name === name));
      draw();
    } catch (error) {
      if (!signal.aborted) {
        fill(listing, problem(error), h('div', { class: 'row' }, button('Try again', list)),
          !draft.allDatabases && [callout('info', null, h('p', {}, 'You can name the databases instead.')), byName()]);
      }
    }
  }

  function draw() {
    if (!server) {
      fill(listing, !draft.allDatabases && byName());
      return;
    }
    if (!draft.listed) {
      list();
      return;
    }
    if (draft.listed.length === 0) {
      fill(listing, empty('database', 'The source has no databases to move', 'There are only templates, or the role may connect to none.'));
      return;
    }
    let text = '';
    const body = h('tbody');
    const sum = h('p', { class: 'quiet', role: 'status', 'aria-live': 'polite' });
    const every = h('input', { type: 'checkbox', 'aria-label': 'All that are shown', disabled: draft.allDatabases, on: { change: (event) => choose(shown().map((entry) => entry.name), event.target.checked) } });
    const shown = () => draft.listed.filter((entry) => entry.name.toLowerCase().includes(text.toLowerCase()));
    const chosen = (name) => draft.allDatabases || draft.databases.includes(name);

    function choose(names, on) {
      const kept = draft.databases.filter((name) => !names.includes(name));
      draft.databases = on ? [...kept, ...names] : kept;
      tell();
      rows();
    }

    function rows() {
      fill(body, shown().map((entry) => {
        const box = h('input', {
          type: 'checkbox', checked: chosen(entry.name), disabled: draft.allDatabases, 'aria-label': entry.name,
          on: {
            change: (event) => {
              choose([entry.name], event.target.checked);
              [...body.querySelectorAll('input')].find((node) => node.getAttribute('aria-label') === entry.name)?.focus();
            },
          },
        });
        return h('tr', {}, h('td', { class: 'box' }, box), h('th', { scope: 'row' }, entry.name), h('td', { class: 'number nowrap' }, bytes(entry.bytes)));
      }));
      const names = shown();
      every.checked = names.length > 0 && names.every((entry) => chosen(entry.name));
      every.indeterminate = !every.checked && names.some((entry) => chosen(entry.name));
      const all = draft.allDatabases ? draft.listed : draft.listed.filter((entry) => draft.databases.includes(entry.name));
      setText(sum, `${plural(all.length, 'database')} of ${draft.listed.length}, ${bytes(all.reduce((total, entry) => total + (entry.bytes ?? 0), 0))}`);
    }

    const search = input('', (value) => {
      text = value;
      rows();
    }, { type: 'search', placeholder: 'Filter by name', 'aria-label': 'Filter databases by name' });
    rows();
    fill(listing,
      h('div', { class: 'toolbar' }, h('div', { class: 'search' }, icon('search'), search), h('span', { class: 'grow' }), sum, button('Ask again', list)),
      h('div', { class: 'scroll-y' }, h('table', { class: 'list' },
        h('caption', { class: 'visually-hidden' }, 'Databases of the source'),
        h('thead', {}, h('tr', {}, h('th', { class: 'box' }, every), h('th', { scope: 'col' }, 'Database'), h('th', { scope: 'col', class: 'number' }, 'Size'))), body)));
  }

  draw();
  return { count: () => chosenDatabases().length };
}
