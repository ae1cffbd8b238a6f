// Options: what is brought along, how fast, and when. All of them have a sensible default.

import { fill, h, show } from '../dom.js';
import { cards, checkbox, field, input, textarea } from '../form.js';
import { draft } from './draft.js';

/** Builds the step. */
export function optionsStep({ place, changed }) {
  const set = (key, then) => (value) => {
    draft[key] = value;
    draft.errors = draft.errors.filter((error) => !error.path.startsWith(`/${key}`));
    then?.(value);
    changed();
  };
  const box = (key, label, hint, then) => checkbox({ label, hint, value: draft[key], path: `/${key}`, onChange: set(key, then) });
  const text = (key, label, hint, path = `/selection/${key}`) => field({ label, hint, path, control: textarea(draft[key], set(key), { class: 'mono', rows: '2' }) }).node;
  const number = (key, label, hint) => field({ label, hint, path: `/${key}`, control: input(draft[key], set(key), { inputmode: 'numeric', class: 'narrow', placeholder: 'automatic' }) }).node;
  const passwords = box('rolePasswords', 'Passwords of roles', 'As the hashes that the source has; needs a superuser there.');
  passwords.hidden = !draft.roles;

  const at = field({ label: 'Begin at', path: '/startAt', hint: 'In the time of this machine.', control: input(draft.startAt, set('startAt'), { type: 'datetime-local' }) }).node;
  const from = field({ label: 'From', path: '/window', control: input(draft.windowFrom, set('windowFrom'), { type: 'datetime-local' }) }).node;
  const to = field({ label: 'To', control: input(draft.windowTo, set('windowTo'), { type: 'datetime-local' }) }).node;
  const window = h('div', { class: 'grid two' }, from, to);
  const schedule = (value) => {
    show(at, value === 'at');
    show(window, value === 'window');
  };
  schedule(draft.start);

  fill(place,
    group('On the target',
      box('overwrite', 'Overwrite databases that exist', 'Databases of the same name on the target are dropped first. Their data is lost.'),
      box('roles', 'Roles and memberships', 'Those that the databases need, and that the target lacks.', (value) => show(passwords, value)), passwords,
      box('verify', 'Verify afterwards', 'Compares every table on both sides by checksums. Reads everything once more.'),
      box('strict', 'Strict', 'Fails rather than leave anything out.')),
    group('Speed',
      h('div', { class: 'grid three' },
        number('jobs', 'Copies at a time', 'Connections that copy rows.'),
        number('indexJobs', 'Index builds at a time', 'Connections that build indexes.'),
        field({ label: 'At most', hint: 'For example 50 MB; a second.', path: '/bytesPerSecond', control: input(draft.rate, set('rate'), { class: 'narrow', placeholder: 'no limit' }) }).node)),
    group('When it begins',
      cards('When it begins', draft.start, [
        ['now', 'As soon as it is its turn', 'Others that were created earlier go first.'],
        ['at', 'At a certain time', 'Not before that.'],
        ['window', 'Within a window', 'Begins in the window, and not afterwards.'],
      ], set('start', schedule), { hideLegend: true }), at, window),
    folded('Only a part of the databases', ['schemas', 'excludeSchemas', 'tables', 'excludeTables', 'excludeTableData', 'schemaOnly'],
      box('schemaOnly', 'The schema alone, without rows', null),
      h('div', { class: 'grid two' },
        text('schemas', 'Only these schemas', 'One pattern a line, as psql reads them.'), text('excludeSchemas', 'Without these schemas'),
        text('tables', 'Only these tables', 'For example sales.order*'), text('excludeTables', 'Without these tables'),
        text('excludeTableData', 'Without the rows of these tables'))),
    folded('Owners, privileges and tablespaces', ['noOwner', 'noAcl', 'noTablespaces', 'tablespaceMap', 'roleMap'],
      box('noOwner', 'Everything belongs to the role that logs in', null),
      box('noAcl', 'Without privileges', null),
      box('noTablespaces', 'Everything in the default tablespace', null),
      h('div', { class: 'grid two' }, text('tablespaceMap', 'Other tablespaces', 'from=to, one a line.', '/tablespaceMap'), text('roleMap', 'Other roles', 'from=to, one a line.', '/roleMap'))),
    folded('Tags', ['tags'], text('tags', 'Tags', 'name=value, one a line.', '/tags')));
}

function group(title, ...children) {
  return h('section', { class: 'option-group' }, h('h3', {}, title), children);
}

function folded(title, keys, ...children) {
  const used = keys.some((key) => draft[key] === true || (typeof draft[key] === 'string' && draft[key].trim()))
    || draft.errors.some((error) => keys.some((key) => error.path.includes(key)));
  return h('details', { class: 'option-group', open: used }, h('summary', {}, h('h3', {}, title)), h('div', { class: 'folded' }, children));
}
