// What the validation found, in the service's groups: the server, then each database.

import { address, at } from '../api.js';
import { fill, h } from '../dom.js';
import { empty, loading, select } from '../form.js';
import { icon } from '../icons.js';
import { between, duration, plural, time, words } from '../format.js';
import { plainBadge, subState } from '../state.js';

const RANK = { Failed: 0, Warning: 1, Succeeded: 2 };
/** Names of objects shown before the rest is folded away. */
const FEW = 8;

/** Opens the tab. */
export function validationTab({ place, name, migration }) {
  let drawn = '';
  let only = '';
  let details = null;
  fill(place, loading());

  function draw() {
    if (!details) {
      fill(place, migration.migrationOption === 'Migrate'
        ? empty('check', 'Not validated', 'This migration was created without validation.')
        : subState(migration) === 'ValidationInProgress' ? loading('Validating')
          : empty('check', 'Not validated yet', 'What the checks find is shown here.'));
      return;
    }
    const server = details.serverLevelValidationDetails ?? [];
    const perDatabase = details.dbLevelValidationDetails ?? [];
    const items = [...server, ...perDatabase.flatMap((entry) => entry.summary ?? [])];
    const tally = (state) => items.flatMap((item) => item.messages ?? []).filter((message) => message.state === state).length;
    const took = between(details.validationStartTimeInUtc, details.validationEndTimeInUtc);
    fill(place,
      h('div', { class: 'toolbar' },
        plainBadge(details.status ?? 'InProgress'),
        h('span', {}, [plural(tally('Failed'), 'failure'), plural(tally('Warning'), 'warning'), `${tally('Succeeded')} passed`].join(' · ')),
        details.validationEndTimeInUtc && h('span', { class: 'sub' }, `${time(details.validationEndTimeInUtc)}, took ${duration(took)}`),
        h('span', { class: 'grow' }),
        h('a', { href: address(at('migrations', name, 'validation.html')), target: '_blank', rel: 'noopener' }, 'Report as a page (HTML)'),
        select(only, [['', 'All findings'], ['trouble', 'Failures and warnings']], (value) => {
          only = value;
          draw();
        }, { 'aria-label': 'Which findings' })),
      group('Servers and connections', server),
      perDatabase.map((entry) => group(['Database ', h('code', {}, entry.databaseName)], entry.summary ?? [])));
  }

  function group(title, list) {
    const shown = list.filter((item) => !only || item.state !== 'Succeeded')
      .sort((a, b) => (RANK[a.state] ?? 3) - (RANK[b.state] ?? 3));
    return h('section', { class: 'group' }, h('h2', {}, title),
      shown.length === 0
        ? h('p', { class: 'quiet' }, list.length === 0 ? 'Nothing was checked.' : 'No failures and no warnings.')
        : h('div', { class: 'findings' }, shown.map(item)));
  }

  function item(entry) {
    const messages = (entry.messages ?? []).filter((message) => !only || message.state !== 'Succeeded');
    return h('details', { open: entry.state !== 'Succeeded' },
      h('summary', {}, icon('right', 'turn'), plainBadge(entry.state), h('span', { class: 'finding-type' }, words(entry.type).replace(/ validation$/, '')),
        h('span', { class: 'sub' }, plural(entry.messages?.length ?? 0, 'check'))),
      h('ul', {}, messages.sort((a, b) => (RANK[a.state] ?? 3) - (RANK[b.state] ?? 3)).map(finding)));
  }

  return {
    update(now) {
      migration = now;
      const found = now.currentStatus?.currentSubStateDetails?.validationDetails;
      const text = `${JSON.stringify(found ?? null)} ${subState(now)}`;
      if (text !== drawn) {
        drawn = text;
        details = found ?? null;
        draw();
      }
    },
  };
}

function finding(message) {
  const objects = message.objects ?? [];
  return h('li', { class: `finding ${String(message.state).toLowerCase()}` },
    h('div', { class: 'finding-head' }, plainBadge(message.state), message.code && h('code', { class: 'code' }, String(message.code)), h('span', {}, message.message)),
    objects.length > 0 && h('ul', { class: 'objects' }, objects.slice(0, FEW).map((name) => h('li', {}, h('code', {}, name)))),
    objects.length > FEW && h('details', { class: 'rest' }, h('summary', {}, icon('right', 'turn'), `${plural(objects.length - FEW, 'more object')}`),
      h('ul', { class: 'objects' }, objects.slice(FEW).map((name) => h('li', {}, h('code', {}, name))))),
    message.remedy && h('p', { class: 'remedy' }, h('strong', {}, 'What to do: '), message.remedy));
}
