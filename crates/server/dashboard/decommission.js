// Decommission: what is left on this server, and its end.

import { ApiError, get, post } from './api.js';
import { announce } from './announce.js';
import { confirmByName } from './dialog.js';
import { fill, h } from './dom.js';
import { button, callout, checkbox, empty, loading, problem } from './form.js';
import { bytes, plural, words } from './format.js';
import { href } from './router.js';
import { heading } from './shell.js';
import { badge, plainBadge } from './state.js';

/** How often to look how far it is, in milliseconds. */
const POLL = 1000;

/** What has to be typed. */
const WORD = 'decommission';

/** What is left, by kind. */
const KINDS = { ledger: 'Record on the target', spool: 'Spool', run: 'Events and logs', state: 'State of the server' };

/** Opens the page. */
export function decommissionPage({ main, setTitle, signal }) {
  setTitle('Decommission');
  const place = h('div', {}, loading('Looking'));
  fill(main, heading('Decommission', {
    below: h('p', { class: 'lead' }, 'When every migration is complete and verified, this server is no longer needed. Decommissioning removes what pghaul left behind: its records on the targets, the spool, events and logs.'),
  }), place);

  async function ask(before) {
    try {
      draw(await get('/decommission', { signal }), before);
    } catch (error) {
      if (!signal.aborted) {
        fill(place, problem(error), h('div', { class: 'row' }, button('Try again', () => ask())));
      }
    }
  }

  function draw({ complete, migrations = [], left = [] }, done) {
    const open = migrations.filter((migration) => migration.reason);
    let force = false;
    const act = button('Decommission', () => confirmByName({
      title: force ? 'Decommission by force' : 'Decommission this server', name: WORD, action: 'Decommission',
      consequences: [
        `${plural(migrations.length, 'migration')} of this server will be forgotten: progress, validation, events, logs and reports.`,
        ...(left.length > 0 ? [`Everything in the list “What is left” will be removed: ${plural(left.length, 'entry', 'entries')}.`] : []),
        ...(force ? open.map((migration) => `Lost: ${migration.name} (${migration.reason})`) : []),
        'The databases on the sources and on the targets stay as they are.',
      ],
      act: async () => {
        let course = await post('/decommission', { force });
        while (course.state === 'running') {
          await new Promise((resolve) => setTimeout(resolve, POLL));
          course = await get('/decommission/progress', { signal });
        }
        if (course.state !== 'done') {
          throw new ApiError(500, { detail: course.error?.message ?? 'The server was started anew before it was done', remedy: course.error?.remedy ?? 'Do it again.' });
        }
        announce('This server is decommissioned');
        ask(course.result);
      },
    }), { kind: 'danger', sign: 'box' });
    act.disabled = !complete;
    fill(place,
      done && callout('good', 'Decommissioned', h('p', {}, `${plural(done.removed?.length ?? 0, 'thing')} removed, ${plural(done.lost?.length ?? 0, 'thing')} lost.`)),
      complete ? callout('good', 'Ready', h('p', {}, 'Every migration is complete and verified. Nothing of value is lost.'))
        : callout('warn', 'Not yet', h('p', {}, `${plural(open.length, 'migration is', 'migrations are')} not complete and verified.`)),
      h('section', {}, h('h2', {}, 'Migrations'), migrations.length === 0 ? empty('list', 'No migration is left') : migrationList(migrations)),
      h('section', {}, h('h2', {}, 'What is left'), left.length === 0 ? empty('check', 'Nothing is left') : leftList(left)),
      !complete && h('div', { class: 'row' }, checkbox({
        label: 'Decommission all the same', hint: 'What is not complete is lost, and cannot be brought back.', value: false, onChange: (value) => {
          force = value;
          act.disabled = !value;
        },
      })),
      h('div', { class: 'row' }, act, button('Look again', () => ask())));
  }

  ask();
}

function migrationList(migrations) {
  return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, ['Migration', 'State', 'Verified', 'Why not yet'].map((label) => h('th', { scope: 'col' }, label)))),
    h('tbody', {}, migrations.map((migration) => h('tr', {},
      h('th', { scope: 'row' }, h('a', { class: 'name', href: href('migrations', migration.name) }, migration.name)),
      h('td', {}, plainBadge(migration.state)),
      h('td', {}, migration.verified === true ? badge('Verified', 'good', 'check') : migration.verified === false ? badge('Differs', 'bad', 'cross') : '–'),
      h('td', {}, migration.reason ?? ''))))));
}

function leftList(left) {
  return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, [['What'], ['Migration'], ['Where'], ['Size', 'number']].map(([label, kind]) => h('th', { scope: 'col', class: kind }, label)))),
    h('tbody', {}, left.map((entry) => h('tr', {}, h('td', { class: 'nowrap' }, KINDS[entry.kind] ?? words(entry.kind)), h('td', {}, entry.migration ?? '–'),
      h('td', { class: 'mono' }, entry.place ?? ''), h('td', { class: 'number nowrap' }, bytes(entry.bytes)))))));
}
