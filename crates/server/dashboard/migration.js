// The page of one migration: what holds for all of it at the top, and its parts in tabs.

import { at, get } from './api.js';
import { fill, h, setText, show } from './dom.js';
import { empty, loading, problem } from './form.js';
import { between, bytes, count, duration, percent, plural, rate, time } from './format.js';
import { icon } from './icons.js';
import { every, follow } from './live.js';
import { progressBar } from './progress_bar.js';
import { href } from './router.js';
import { heading } from './shell.js';
import { badge, doing, ended, look, option, stateBadge, totals } from './state.js';
import { acts } from './migration/acts.js';
import { phases } from './migration/phases.js';
import { progressTab } from './migration/progress.js';
import { tablesTab } from './migration/tables.js';
import { validationTab } from './migration/validation.js';
import { eventsTab } from './migration/events.js';
import { logsTab } from './migration/logs.js';
import { reportTab } from './migration/report.js';
import { jobTab } from './migration/job.js';

/** How often the migration is asked for, in milliseconds: while it runs, and afterwards. */
const AGAIN = 2000;
/** After an event that may have changed it, in milliseconds. */
const SOON = 300;
/** So many failed checks are shown before one opens all of them. */
const FIRST = 3;

const TABS = [
  ['progress', 'Progress', progressTab],
  ['tables', 'Tables', tablesTab],
  ['validation', 'Validation', validationTab],
  ['events', 'Events', eventsTab],
  ['logs', 'Logs', logsTab],
  ['report', 'Report', reportTab],
  ['job', 'Settings', jobTab],
];

/** Opens the page of the migration that the address names. */
export function migrationPage({ main, rest, setTitle, signal }) {
  const [name] = rest;
  setTitle(name);
  const place = h('div', {}, loading());
  fill(main, place);

  /** Listeners of the open tab; each gets what is new. */
  let tab = null;
  let tabEnd = new AbortController();
  let migration = null;
  let head = null;
  let lastEvent = null;
  let openTab = rest[1];
  const panel = h('div', { role: 'tabpanel', class: 'panel', tabindex: '-1' });
  const failed = h('div', {});

  const refresh = every(AGAIN, async () => {
    const answer = await get(at('migrations', name), { signal });
    fill(failed);
    const first = migration === null;
    migration = answer;
    if (first) {
      head = top(migration, refreshSoon);
      fill(place, head.node, failed, panel);
      openPanel(openTab);
      watch();
    }
    head.update(migration);
    setTitle(ended(migration) ? name : `${percent(totals(migration).fraction)} ${name}`);
    tab?.update?.(migration);
  }, (error) => {
    if (error.away) {
      return;
    }
    if (error.status === 404) {
      fill(place, empty('search', 'There is no migration of this name', 'It may have been deleted.',
        h('a', { class: 'button', href: href('migrations') }, 'To the migrations')));
    } else if (migration) {
      fill(failed, problem(error));
    } else {
      fill(place, problem(error));
    }
  }, signal);

  let soon = null;
  function refreshSoon() {
    soon ??= setTimeout(() => {
      soon = null;
      refresh();
    }, SOON);
  }

  // What was said before the page was opened comes from the list of events, not from the stream.
  async function watch() {
    try {
      const answer = await get(`${at('migrations', name, 'events')}?tail=1`, { signal });
      lastEvent = answer?.value?.at(-1)?.id ?? null;
    } catch {
      if (signal.aborted) {
        return;
      }
    }
    const path = at('migrations', name, 'events', 'stream');
    follow(() => (lastEvent === null ? path : `${path}?after=${encodeURIComponent(lastEvent)}`), (event, id) => {
      lastEvent = id || event.id || lastEvent;
      tab?.event?.(event);
      if (event.event !== 'progress' && event.event !== 'tables') {
        refreshSoon();
      }
    }, () => !ended(migration), signal);
  }

  function openPanel(wantedTab) {
    const [id, , open] = TABS.find(([key]) => key === wantedTab) ?? TABS[0];
    openTab = id;
    tabEnd.abort();
    tabEnd = new AbortController();
    fill(panel);
    head.mark(id);
    panel.setAttribute('aria-labelledby', `tab-${id}`);
    tab = open({ place: panel, name, migration, refresh: refreshSoon, signal: AbortSignal.any([signal, tabEnd.signal]) });
    tab?.update?.(migration);
  }

  return {
    moved: ([, wantedTab]) => {
      openTab = wantedTab;
      if (migration) {
        openPanel(wantedTab);
      }
    },
  };
}

function top(migration, refresh) {
  const state = h('span', { class: 'state' });
  const what = h('span', { class: 'sub' });
  const bar = progressBar('Progress of all databases');
  const buttons = acts(refresh);
  const steps = phases();
  const trouble = h('div', {});
  const tiles = Object.fromEntries(['Copied', 'Rows', 'Tables', 'Throughput', 'Time left', 'Elapsed'].map((label) => [label, tile(label)]));
  const links = new Map(TABS.map(([id, label]) => [id, h('a', { role: 'tab', id: `tab-${id}`, href: href('migrations', migration.name, id) }, label)]));
  const tabs = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Parts of the migration' }, [...links.values()]);
  // As tab lists do: the arrow keys go from tab to tab, and Tab into the panel.
  tabs.addEventListener('keydown', (event) => {
    const all = [...links.values()];
    const now = all.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: all.length - 1 }[event.key];
    if (now < 0 || next === undefined) {
      return;
    }
    event.preventDefault();
    const chosen = all[(next + all.length) % all.length];
    chosen.focus();
    chosen.click();
  });
  const endpoint = (side) => (side?.host ? `${side.user ? `${side.user}@` : ''}${side.host}${side.port ? `:${side.port}` : ''}` : 'agent');
  const meta = h('div', { class: 'meta' },
    h('span', {}, option(migration)), h('span', {}, 'Offline'),
    h('span', { class: 'flow' }, h('span', { class: 'clip' }, endpoint(migration.source)), icon('arrow'), h('span', { class: 'clip' }, endpoint(migration.target))),
    h('span', {}, `created ${time(migration.createdAt)}${migration.createdBy ? ` by ${migration.createdBy}` : ''}`));
  const node = h('div', {},
    heading(migration.name, {
      above: [h('a', { href: href('migrations') }, 'Migrations'), h('span', { 'aria-hidden': 'true' }, ' / '), migration.name],
      beside: [state, what], actions: buttons.node, below: meta,
    }),
    steps.node, trouble,
    h('section', { class: 'overview', 'aria-label': 'Overall progress' }, bar.node, h('dl', { class: 'tiles' }, Object.values(tiles).map((entry) => entry.node))),
    tabs);
  let drawn = '';
  let told = '';
  return {
    node,
    mark(id) {
      for (const [key, link] of links) {
        link.setAttribute('aria-selected', String(key === id));
        link.tabIndex = key === id ? 0 : -1;
      }
    },
    update(m) {
      const [label, tone] = look(m);
      if (drawn !== label) {
        drawn = label;
        fill(state, stateBadge(m));
      }
      setText(what, doing(m));
      buttons.update(m);
      steps.update(m);
      const sums = totals(m);
      bar.update(sums.fraction, tone);
      const validation = m.currentStatus?.currentSubStateDetails?.validationDetails;
      const error = m.currentStatus?.error;
      const text = JSON.stringify([error, m.bytesPerSecond, ended(m)]);
      if (told !== text) {
        told = text;
        fill(trouble, error && mishap(error, m), m.currentStatus?.state === 'ValidationFailed' && objections(m.name, validation), m.bytesPerSecond && !ended(m) && h('p', { class: 'throttled' },
          badge('Throttled', 'warn', 'speed'), ` to ${rate(m.bytesPerSecond)}`));
      }
      tiles.Copied.set(bytes(sums.bytes), sums.bytesExpected ? `of about ${bytes(sums.bytesExpected)}` : '');
      tiles.Rows.set(count(sums.rows), sums.rowsExpected ? `of about ${count(sums.rowsExpected)}` : '');
      tiles.Tables.set(count(sums.tables.completed), sums.tables.errored
        ? `of ${count(sums.tables.all)}, ${count(sums.tables.errored)} with errors` : `of ${count(sums.tables.all)}`);
      tiles.Throughput.set(ended(m) ? averageRate(m, sums) : m.paused ? '–' : rate(sums.bytesPerSecond), ended(m) ? 'average' : m.paused ? 'paused' : 'now');
      tiles['Time left'].set(ended(m) || m.paused ? '–' : duration(sums.etaSeconds), ended(m) || m.paused ? '' : 'estimate');
      tiles.Elapsed.set(m.startedAt ? duration(between(m.startedAt, m.endedAt)) : '–', m.endedAt ? `ended ${time(m.endedAt)}` : m.startedAt ? `since ${time(m.startedAt)}` : 'not started');
      setText(links.get('validation'), validation?.status && validation.status !== 'Succeeded' ? `Validation (${validation.status.toLowerCase()})` : 'Validation');
    },
  };
}

function averageRate(migration, sums) {
  const seconds = between(migration.startedAt, migration.endedAt);
  return seconds > 0 && sums.bytes > 0 ? rate(sums.bytes / seconds) : '–';
}

function mishap(error, migration) {
  const causes = (error.causes ?? []).filter(Boolean);
  return h('div', { class: 'callout tone-bad', role: 'alert' }, icon('warning'), h('div', {},
    h('p', { class: 'callout-title' }, look(migration)[0]),
    h('p', {}, error.message),
    causes.length > 0 && h('ul', { class: 'causes' }, causes.map((cause) => h('li', {}, typeof cause === 'string' ? cause : cause.message))),
    error.remedy && h('p', { class: 'remedy' }, h('strong', {}, 'What to do: '), error.remedy)));
}

/** The first of the checks that failed, and the way to all of them. */
function objections(name, validation) {
  const groups = [...(validation?.serverLevelValidationDetails ?? []), ...(validation?.dbLevelValidationDetails ?? []).flatMap((entry) => entry.summary ?? [])];
  const found = groups.flatMap((group) => group.messages ?? []).filter((message) => message.state === 'Failed');
  return h('div', { class: 'callout tone-bad' }, icon('warning'), h('div', {},
    h('p', { class: 'callout-title' }, `Nothing was changed: ${plural(found.length, 'check')} failed`),
    h('ul', {}, found.slice(0, FIRST).map((message) => h('li', {}, h('code', {}, String(message.code)), ' ', message.message, message.remedy && h('span', { class: 'sub' }, ` (${message.remedy})`)))),
    h('p', {}, h('a', { href: href('migrations', name, 'validation') }, found.length > FIRST ? 'All that failed' : 'What was checked'))));
}

function tile(label) {
  const value = h('span', { class: 'tile-value' });
  const note = h('span', { class: 'tile-note' });
  return {
    node: h('div', { class: 'tile' }, h('dt', {}, label), h('dd', {}, value, note)),
    set(text, below) {
      setText(value, text);
      setText(note, below);
      show(note, Boolean(below));
    },
  };
}
