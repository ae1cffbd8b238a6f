// Review: everything at one glance, the connections tried once more, and the button that creates.

import { announce } from '../announce.js';
import { at, put } from '../api.js';
import { fill, h } from '../dom.js';
import { busy, button, callout, problem } from '../form.js';
import { bytes, plural, rate, time } from '../format.js';
import { go, href } from '../router.js';
import { chosenDatabases, clear, draft, jobOf, lines, problems, rateOf, stepOf } from './draft.js';
import { testConnection } from './endpoint.js';

const OPTIONS = { validate: 'Validate only', migrate: 'Migrate only', validateAndMigrate: 'Validate and migrate' };
const STEP_NAMES = { setup: 'Setup', runtime: 'Runtime server', source: 'Source', target: 'Target', databases: 'Databases', options: 'Options' };

/** Builds the step. */
export function reviewStep({ place, slot, changed, signal }) {
  const failed = h('div', {});
  const server = draft.topology === 'server';
  const needed = ['setup', 'runtime', ...(server ? ['source', 'target'] : []), 'databases', 'options'];
  const missing = needed.filter((step) => problems(step).length > 0);
  const submit = button(draft.option === 'validate' ? 'Create and validate' : 'Create migration', null, { kind: 'primary', type: 'submit' });
  submit.disabled = missing.length > 0;
  fill(slot, submit);
  const results = Object.fromEntries(['source', 'target'].map((side) => [side, h('div', { class: 'test-result', role: 'status', 'aria-live': 'polite' })]));
  const check = button('Test both connections', () => busy(check, async () => {
    await Promise.all(Object.entries(results).map(([side, result]) => testConnection(side, result, signal)));
  }));

  fill(place,
    missing.length > 0 && callout('warn', 'Not complete yet', h('ul', {}, missing.map((step) => h('li', {},
      h('a', { href: href('new', step) }, STEP_NAMES[step]), `: ${problems(step).map((found) => found.detail).join(' ')}`)))),
    draft.overwrite && callout('warn', 'Databases on the target will be dropped', h('p', {}, 'Those that have the name of a database to move are dropped before it is copied.')),
    part('Setup', 'setup', [['Name', h('code', {}, draft.name || '–')], ['What it does', OPTIONS[draft.option]], ['Mode', 'Offline']]),
    part('Runtime server', 'runtime', [['Where', server ? 'This server' : 'Agents at each side']]),
    server && ['source', 'target'].map((side) => part(STEP_NAMES[side], side, [
      ['Server', h('code', {}, `${draft[side].host}:${draft[side].port}`)], ['User', h('code', {}, draft[side].user)],
      ['Password', draft[side].password ? 'given' : 'none'], ['Encryption', draft[side].sslMode],
    ], results[side])),
    server && h('div', { class: 'row' }, check),
    part('Databases', 'databases', [['Which', databasesText()]]),
    part('Options', 'options', optionTerms()),
    failed);

  return {
    async submit() {
      if (missing.length > 0) {
        return;
      }
      fill(failed);
      draft.errors = [];
      try {
        await busy(submit, () => put(at('migrations', draft.name), jobOf(), { signal }));
        const { name } = draft;
        clear();
        announce(`${name} is created`);
        go('migrations', name);
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        draft.errors = error.status === 409 ? [{ path: '/name', detail: error.message }] : errorsIn(error);
        changed();
        fill(failed, problem(error), draft.errors.length > 0 && callout('warn', 'Where to look', h('ul', {}, draft.errors.map(({ path, detail }) => {
          const step = stepOf(path);
          return h('li', {}, h('a', { href: href('new', step) }, STEP_NAMES[step]), `: ${detail}`);
        }))));
        failed.scrollIntoView({ block: 'center' });
      }
    },
  };
}

/** What the server says is wrong, with the places in the job: `source.host` is `/source/host`. */
function errorsIn(error) {
  return (error.errors ?? []).map((entry) => {
    const place = entry.pointer ?? entry.key ?? '';
    const path = place.startsWith('#') || place.startsWith('/') ? place.replace(/^#/, '') : `/${place.replace(/[.[]/g, '/').replaceAll(']', '')}`;
    return { path, detail: entry.detail ?? entry.message ?? error.message };
  }).filter((entry) => entry.path.length > 1);
}

function part(title, step, terms, below) {
  return h('section', { class: 'review-part' },
    h('div', { class: 'review-head' }, h('h3', {}, title), h('a', { href: href('new', step), 'aria-label': `Change ${title}` }, 'Change')),
    h('dl', { class: 'terms' }, terms.map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value)))), below);
}

function databasesText() {
  if (draft.allDatabases) {
    return draft.listed ? `All, at present ${draft.listed.length}` : 'All';
  }
  const names = chosenDatabases();
  const size = draft.listed?.filter((entry) => names.includes(entry.name)).reduce((total, entry) => total + (entry.bytes ?? 0), 0);
  return [`${plural(names.length, 'database')}${size ? `, ${bytes(size)}` : ''}: `, names.slice(0, 20).map((name, index) => [index > 0 && ', ', h('code', {}, name)]), names.length > 20 && ' …'];
}

function optionTerms() {
  const yes = (value) => (value ? 'yes' : 'no');
  const limit = rateOf(draft.rate);
  const begin = { now: 'as soon as it is its turn', at: `not before ${time(draft.startAt)}`, window: `between ${time(draft.windowFrom)} and ${time(draft.windowTo)}` };
  const list = (label, text) => lines(text).length > 0 && [label, lines(text).map((line, index) => [index > 0 && ', ', h('code', {}, line)])];
  return [
    ['Overwrite', yes(draft.overwrite)], ['Roles', draft.roles ? (draft.rolePasswords ? 'with passwords' : 'without passwords') : 'no'],
    ['Verify', yes(draft.verify)], ['Strict', yes(draft.strict)],
    ['Copies at a time', draft.jobs || 'automatic'], ['Index builds at a time', draft.indexJobs || 'automatic'],
    ['Limit', limit ? rate(limit) : 'none'], ['Begins', begin[draft.start]],
    draft.schemaOnly && ['Rows', 'none: the schema alone'], draft.noOwner && ['Owners', 'not kept'], draft.noAcl && ['Privileges', 'not kept'],
    draft.noTablespaces && ['Tablespaces', 'not kept'],
    list('Only schemas', draft.schemas), list('Without schemas', draft.excludeSchemas), list('Only tables', draft.tables),
    list('Without tables', draft.excludeTables), list('Without rows of', draft.excludeTableData),
    list('Other tablespaces', draft.tablespaceMap), list('Other roles', draft.roleMap), list('Tags', draft.tags),
  ].filter(Boolean);
}
