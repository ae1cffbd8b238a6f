// What happened, newest first, and more as it happens.

import { at, get, query } from '../api.js';
import { fill, h, show } from '../dom.js';
import { button, busy, checkbox, empty, loading, problem } from '../form.js';
import { bytes, clockTime, count, duration, time, words } from '../format.js';

const LIMIT = 200;
/** So many are kept in the page; older ones can be read in the log of events. */
const MOST = 2000;
/** Told elsewhere, and far too often for a list. */
const LEFT_OUT = ['progress', 'tables', 'part_progress'];
/** Of single parts and steps: many, and rarely of interest. */
const FINE = ['part_started', 'part_done', 'part_elsewhere', 'step_started', 'step_done'];
const BAD = ['part_retried', 'omitted', 'error', 'failed'];

/** Opens the tab. */
export function eventsTab({ place, name, signal }) {
  let fine = false;
  let entries = [];
  let oldest = null;
  let asking = new AbortController();
  const body = h('tbody');
  const failed = h('div', {});
  const waiting = loading();
  const nothing = empty('list', 'Nothing has happened yet', 'Events are shown here as they come.');
  const list = h('div', { class: 'scroll-x' }, h('table', { class: 'list events' },
    h('caption', { class: 'visually-hidden' }, 'Events, newest first'),
    h('thead', {}, h('tr', {}, ['Time', 'Database', 'Event', 'What'].map((label) => h('th', { scope: 'col' }, label)))), body));
  const older = button('Show older', (event) => busy(event.currentTarget, () => load(oldest)));
  fill(place, h('div', { class: 'toolbar' }, checkbox({
    label: 'Parts and steps, too', value: fine, onChange: (value) => {
      fine = value;
      entries = [];
      oldest = null;
      load(null);
    },
  })), failed, waiting, nothing, list, older);

  async function load(before) {
    asking.abort();
    asking = new AbortController();
    try {
      const exclude = [...LEFT_OUT, ...(fine ? [] : FINE)].join();
      const answer = await get(query(at('migrations', name, 'events'), { exclude, tail: LIMIT, before }), { signal: AbortSignal.any([signal, asking.signal]) });
      const got = answer?.value ?? [];
      oldest = answer?.before ?? null;
      const known = new Set(entries.map((entry) => entry.id));
      entries = [...got.filter((entry) => !known.has(entry.id)), ...entries].slice(-MOST);
      fill(failed);
      draw();
    } catch (error) {
      if (error.name !== 'AbortError') {
        show(waiting, false);
        fill(failed, problem(error));
      }
    }
  }

  function draw() {
    show(waiting, false);
    show(nothing, entries.length === 0);
    show(list, entries.length > 0);
    show(older, oldest !== null);
    fill(body, entries.toReversed().map(line));
  }

  show(nothing, false);
  show(list, false);
  show(older, false);
  load(null);
  return {
    event(event) {
      if (LEFT_OUT.includes(event.event) || (!fine && FINE.includes(event.event)) || entries.some((entry) => entry.id === event.id)) {
        return;
      }
      entries = [...entries, event].slice(-MOST);
      show(nothing, false);
      show(list, true);
      body.prepend(line(event));
    },
  };
}

function line(event) {
  const bad = BAD.includes(event.event) || event.severity === 'Failed' || event.severity === 'warning' || event.severity === 'Warning' || event.error;
  return h('tr', { class: bad ? 'notable' : null },
    h('td', { class: 'nowrap', title: time(event.time) }, clockTime(event.time)), h('td', {}, event.database ?? ''),
    h('td', { class: 'nowrap event-name' }, words(event.event)), h('td', {}, sentence(event)));
}

/** The parts of an event that are told in a way of their own. */
const TOLD = new Set(['id', 'time', 'event', 'database', 'subject', 'object', 'message', 'step', 'rows', 'bytes', 'seconds', 'remedy', 'reason', 'error', 'table', 'part', 'objects', 'severity', 'scope', 'sqlstate', 'side']);

function quantity(key, value) {
  if (typeof value !== 'number') {
    return value;
  }
  if (/bytes/i.test(key)) {
    return bytes(value);
  }
  if (/seconds/i.test(key)) {
    return duration(value);
  }
  return /rows|parts|tables|objects/i.test(key) ? count(value) : String(value);
}

function sentence(event) {
  const error = event.error && typeof event.error === 'object' ? event.error.message : event.error;
  const table = event.table && typeof event.table === 'object' ? [event.table.schema, event.table.name].filter(Boolean).join('.') : event.table;
  const said = [
    event.step && words(event.step), event.subject || event.object || table, event.message, event.reason, error,
    typeof event.rows === 'number' && `${count(event.rows)} rows`,
    typeof event.bytes === 'number' && bytes(event.bytes),
    typeof event.seconds === 'number' && `in ${duration(event.seconds)}`,
    ...Object.entries(event).filter(([key, value]) => !TOLD.has(key) && value !== null && typeof value !== 'object')
      .map(([key, value]) => `${words(key).toLowerCase()}: ${quantity(key, value)}`),
  ].filter(Boolean);
  return [said.join(' · '), event.remedy && h('p', { class: 'remedy' }, h('strong', {}, 'What to do: '), event.remedy)];
}
