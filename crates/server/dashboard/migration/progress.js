// Progress: charts over time, the databases with their bars, and the steps that run.

import { at, get } from '../api.js';
import { chart } from '../chart.js';
import { fill, h, keyed, setText, show } from '../dom.js';
import { empty } from '../form.js';
import { between, bytes, count, duration, percent, rate, short, words } from '../format.js';
import { progressBar } from '../progress_bar.js';
import { href } from '../router.js';
import { databases, ended, fractionOf, plainBadge, totals } from '../state.js';

/** Over so many milliseconds a rate is taken, so that it does not flicker. */
const OVER = 5000;
/** A shorter time than so many seconds gives no rate. */
const LEAST = 0.8;

/** Opens the tab. */
export function progressTab({ place, name, signal }) {
  const throughput = chart({ title: 'Throughput', format: rate, axis: bytes, binary: true });
  const rowRate = chart({ title: 'Rows per second', format: (value) => `${count(value)} rows/s`, axis: short });
  const done = chart({ title: 'Copied', format: (value) => percent(value / 100), axis: (value) => `${value} %`, most: 100 });
  const body = h('tbody');
  const rows = keyed(body, (database) => database.databaseName, (database) => row(database, name));
  const steps = h('ul', { class: 'steps' });
  const stepRows = keyed(steps, (step) => `${step.database} ${step.step} ${step.subject}`, stepRow);
  const noSteps = h('p', { class: 'quiet' });
  const list = h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('caption', { class: 'visually-hidden' }, 'Databases'),
    h('thead', {}, h('tr', {}, [['Database'], ['State'], ['Progress'], ['Tables', 'number'], ['Rows', 'number'], ['Bytes', 'number'], ['Rate', 'number'], ['Left or taken', 'number']]
      .map(([label, kind]) => h('th', { scope: 'col', class: kind }, label)))), body));
  const none = empty('database', 'No database has begun', 'They are listed as soon as the source has been asked.');
  fill(place,
    h('div', { class: 'charts' }, throughput.node, rowRate.node, done.node),
    h('section', {}, h('h2', {}, 'Databases'), none, list),
    h('section', {}, h('h2', {}, 'Under way besides copying'), noSteps, steps));

  const samples = [];
  /** A sample belongs at the end; one that is older than the last is of no use. */
  function add(sample) {
    const last = samples.at(-1);
    if (!last || sample.at > last.at) {
      samples.push(sample);
    }
  }

  function draw() {
    throughput.set(rates('bytes'));
    rowRate.set(rates('rows'));
    done.set(samples.map((sample) => [sample.at, sample.fraction * 100]));
  }

  function rates(name) {
    const points = [];
    let from = 0;
    for (let index = 1; index < samples.length; index += 1) {
      while (from + 1 < index && samples[index].at - samples[from].at > OVER) {
        from += 1;
      }
      const seconds = (samples[index].at - samples[from].at) / 1000;
      if (seconds < LEAST) {
        continue;
      }
      // A retry makes void what was counted; that is not a negative rate.
      points.push([samples[index].at, Math.max(0, (samples[index][name] - samples[from][name]) / seconds)]);
    }
    return points;
  }

  get(at('migrations', name, 'samples'), { signal }).then((answer) => {
    const past = (answer?.value ?? []).map((sample) => ({ ...sample, at: Date.parse(sample.time) }));
    const live = samples.splice(0);
    [...past, ...live].forEach(add);
    draw();
  }, () => {});

  return {
    update(migration) {
      const all = databases(migration).map((database) => ({ ...database, paused: migration.paused }));
      rows(all);
      show(none, all.length === 0);
      show(list, all.length > 0);
      const running = all.flatMap((database) => (database.runningSteps ?? []).map((step) => ({ ...step, database: database.databaseName })));
      stepRows(running);
      show(steps, running.length > 0);
      show(noSteps, running.length === 0);
      setText(noSteps, ended(migration) ? 'Nothing: the migration has ended.' : 'Nothing just now. Index builds and other steps show up here while they run.');
      if (migration.startedAt && !ended(migration)) {
        const sums = totals(migration);
        add({ at: Date.now(), rows: sums.rows, bytes: sums.bytes, fraction: sums.fraction });
        draw();
      }
    },
  };
}

/** A word becomes a sentence; what has names in it stays as it is. */
function operation(text) {
  return /^[A-Za-z-]+$/.test(text) ? words(text) : text;
}

function row(database, migration) {
  const bar = progressBar(`Progress of ${database.databaseName}`);
  const state = h('td', {});
  const note = h('div', { class: 'sub note' });
  const cells = Object.fromEntries(['tables', 'rows', 'bytes', 'rate', 'eta'].map((key) => [key, h('td', { class: 'number nowrap' })]));
  const node = h('tr', {},
    h('th', { scope: 'row' }, h('a', { class: 'name', href: `${href('migrations', migration, 'tables')}?database=${encodeURIComponent(database.databaseName)}` }, database.databaseName), note),
    state, h('td', { class: 'progress-cell' }, bar.node), Object.values(cells));
  let drawn = '';
  return {
    node,
    update({ paused, ...d }) {
      if (drawn !== d.migrationState) {
        drawn = d.migrationState;
        fill(state, plainBadge(d.migrationState));
      }
      const over = ['Succeeded', 'Failed', 'Canceled'].includes(d.migrationState);
      const tone = { Succeeded: 'good', Failed: 'bad', Canceled: 'idle' }[d.migrationState] ?? 'busy';
      bar.update(fractionOf(d), tone);
      setText(note, d.message || (over ? '' : operation(d.migrationOperation ?? '')));
      note.classList.toggle('failed', d.migrationState === 'Failed');
      const all = (d.fullLoadQueuedTables ?? 0) + (d.fullLoadLoadingTables ?? 0) + (d.fullLoadCompletedTables ?? 0) + (d.fullLoadErroredTables ?? 0);
      setText(cells.tables, `${count(d.fullLoadCompletedTables ?? 0)} / ${count(all)}`);
      setText(cells.rows, count(d.rows));
      setText(cells.bytes, bytes(d.bytes));
      setText(cells.rate, over || paused ? '–' : rate(d.bytesPerSecond));
      setText(cells.eta, over ? (d.startedOn ? duration(between(d.startedOn, d.endedOn)) : '–') : paused ? '–' : duration(d.etaSeconds ?? undefined));
    },
  };
}

function stepRow(step) {
  const elapsed = h('span', { class: 'step-time' });
  return {
    node: h('li', {}, h('span', { class: 'step-kind' }, words(step.step)), h('span', { class: 'step-subject clip', title: step.subject }, step.subject || step.database),
      step.subject && h('span', { class: 'sub' }, step.database), elapsed),
    update: (now) => setText(elapsed, duration(now.elapsedSeconds)),
  };
}
