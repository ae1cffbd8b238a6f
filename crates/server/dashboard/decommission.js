// Decommission: what is left on this server, and its end.

import { get, post } from './api.js';
import { announce } from './announce.js';
import { confirmByName } from './dialog.js';
import { fill, h } from './dom.js';
import { button, callout, checkbox, empty, loading, problem } from './form.js';
import { words } from './format.js';
import { href } from './router.js';
import { heading } from './shell.js';

/** What has to be typed. */
const WORD = 'decommission';

/** Opens the page. */
export function decommissionPage({ main, setTitle, signal }) {
  setTitle('Decommission');
  const place = h('div', {}, loading('Looking'));
  fill(main, heading('Decommission', {
    below: h('p', { class: 'lead' }, 'When every migration is complete and verified, this server is no longer needed. Decommissioning removes what pghaul left behind: its records on the servers, the spool and the state.'),
  }), place);

  async function ask() {
    try {
      draw(await get('/decommission', { signal }) ?? {});
    } catch (error) {
      if (!signal.aborted) {
        fill(place, problem(error), h('div', { class: 'row' }, button('Try again', ask)));
      }
    }
  }

  function draw(state) {
    const left = state.left ?? [];
    const lost = state.lost ?? [];
    let force = false;
    const act = button('Decommission', () => confirmByName({
      title: force ? 'Decommission by force' : 'Decommission this server', name: WORD, action: 'Decommission',
      consequences: [
        'All migrations of this server are forgotten: progress, validation, events, logs and reports.',
        ...(left.length > 0 ? [`${left.length} ${left.length === 1 ? 'thing' : 'things'} in the list “What is left” will be removed.`] : []),
        ...(force ? lost.map((entry) => `Lost: ${words(entry.kind).toLowerCase()} ${entry.name}${entry.detail ? ` (${entry.detail})` : ''}`) : []),
        'The databases on the source and on the target stay as they are.',
      ],
      act: async () => {
        draw(await post('/decommission', { force }) ?? {});
        announce('This server is decommissioned');
      },
    }), { kind: 'danger', sign: 'box' });
    act.disabled = !state.ready;
    fill(place,
      state.ready ? callout('good', 'Ready', h('p', {}, 'Every migration is complete and verified. Nothing of value is lost.'))
        : callout('warn', 'Not yet', h('p', {}, 'Some of what is here is still needed, or was never verified.')),
      h('section', {}, h('h2', {}, 'What is left'), left.length === 0 ? empty('check', 'Nothing is left') : list(left)),
      !state.ready && lost.length > 0 && h('section', {}, h('h2', {}, 'What would be lost by force'), list(lost),
        h('div', { class: 'row' }, checkbox({
          label: 'Decommission all the same', hint: 'What is in this list cannot be brought back.', value: false, onChange: (value) => {
            force = value;
            act.disabled = !value;
          },
        }))),
      h('div', { class: 'row final' }, act, button('Look again', ask)));
  }

  ask();
}

function list(entries) {
  return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, ['What', 'Name', 'Why'].map((label) => h('th', { scope: 'col' }, label)))),
    h('tbody', {}, entries.map((entry) => h('tr', {}, h('td', { class: 'nowrap' }, words(entry.kind)),
      h('th', { scope: 'row' }, entry.kind === 'migration' ? h('a', { href: href('migrations', entry.name) }, entry.name) : entry.name), h('td', {}, entry.detail ?? ''))))));
}
