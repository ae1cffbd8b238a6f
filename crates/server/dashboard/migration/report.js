// The report of the migration, once there is one.

import { at, get } from '../api.js';
import { fill, h } from '../dom.js';
import { button, empty, loading, problem } from '../form.js';
import { bytes, count, duration, words } from '../format.js';
import { ended } from '../state.js';

/** Opens the tab. */
export function reportTab({ place, name, signal }) {
  let state = null;
  fill(place, loading());

  async function ask() {
    try {
      const report = await get(at('migrations', name, 'report'), { signal });
      if (!report) {
        none();
        return;
      }
      const file = new Blob([JSON.stringify(report, null, 2)], { type: 'application/json' });
      const save = button('Save as JSON', () => {
        const url = URL.createObjectURL(file);
        h('a', { href: url, download: `${name}-report.json` }).click();
        URL.revokeObjectURL(url);
      });
      fill(place, h('div', { class: 'toolbar' }, h('span', { class: 'grow' }), save), h('div', { class: 'report' }, part(report)));
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      if (error.status === 404 || error.status === 409) {
        none();
      } else {
        fill(place, problem(error));
      }
    }
  }

  function none() {
    fill(place, empty('book', 'No report yet', 'It is written when the migration ends: what was moved, how long it took, what the target lacks, and what to do next.'));
  }

  return {
    update(migration) {
      const now = `${migration.currentStatus?.state} ${migration.verified} ${ended(migration)}`;
      if (now !== state) {
        state = now;
        ask();
      }
    },
  };
}

/** Any value as a part of a report: objects become lists of terms, lists of objects tables. */
function part(value, key = '') {
  if (value === null || value === undefined) {
    return '–';
  }
  if (Array.isArray(value)) {
    if (value.length === 0) {
      return h('span', { class: 'quiet' }, 'none');
    }
    return value.every((entry) => entry && typeof entry === 'object' && !Array.isArray(entry)) ? grid(value) : h('ul', {}, value.map((entry) => h('li', {}, part(entry))));
  }
  if (typeof value === 'object') {
    const simple = Object.entries(value).filter(([, entry]) => entry === null || typeof entry !== 'object');
    const complex = Object.entries(value).filter(([, entry]) => entry !== null && typeof entry === 'object');
    return [
      simple.length > 0 && h('dl', { class: 'terms' }, simple.map(([name, entry]) => h('div', {}, h('dt', {}, words(name)), h('dd', {}, part(entry, name))))),
      complex.map(([name, entry]) => h('section', {}, h('h3', {}, words(name)), part(entry, name))),
    ];
  }
  return plain(value, key);
}

function plain(value, key) {
  if (typeof value === 'boolean') {
    return value ? 'yes' : 'no';
  }
  if (typeof value === 'number') {
    if (/bytes(?!Per)|size/i.test(key)) {
      return bytes(value);
    }
    return /seconds|elapsed|copying|indexing/i.test(key) ? duration(value) : Number.isInteger(value) ? count(value) : String(value);
  }
  return String(value);
}

function grid(list) {
  const columns = [...new Set(list.flatMap((entry) => Object.keys(entry)))];
  const numeric = (column) => list.every((entry) => entry[column] === null || entry[column] === undefined || typeof entry[column] === 'number');
  return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, columns.map((column) => h('th', { scope: 'col', class: numeric(column) ? 'number' : null }, words(column))))),
    h('tbody', {}, list.map((entry) => h('tr', {}, columns.map((column) => h('td', { class: numeric(column) ? 'number' : null }, part(entry[column], column))))))));
}
