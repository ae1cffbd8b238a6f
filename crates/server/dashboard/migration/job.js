// The settings the migration was created with, and the tokens of its agents.

import { fill, h } from '../dom.js';
import { rate, words } from '../format.js';
import { may } from '../session.js';
import { ended } from '../state.js';
import { tokens } from '../tokens.js';

/** Opens the tab. */
export function jobTab({ place, name, migration }) {
  const agents = migration.topology === 'agents';
  fill(place,
    agents && may('operator') && !ended(migration) && h('section', {}, h('h2', {}, 'Tokens of the agents'), tokens(name)),
    h('section', {}, h('h2', {}, 'Settings'),
      h('dl', { class: 'terms' }, [
        term('Migration id', h('code', {}, migration.migrationId)),
        ...settings(migration.job ?? {}),
      ])));
}

function term(label, value) {
  return h('div', {}, h('dt', {}, label), h('dd', {}, value));
}

function settings(job, prefix = '') {
  return Object.entries(job).flatMap(([key, value]) => {
    const label = prefix ? `${prefix}: ${words(key).toLowerCase()}` : words(key);
    if (value === null || value === undefined || value === '') {
      return [];
    }
    if (Array.isArray(value)) {
      return value.length === 0 ? [] : [term(label, value.map((entry, index) => [index > 0 && ', ', h('code', {}, String(entry))]))];
    }
    if (typeof value === 'object') {
      return settings(value, label);
    }
    if (typeof value === 'boolean') {
      return [term(label, value ? 'yes' : 'no')];
    }
    return [term(label, key === 'bytesPerSecond' ? rate(value) : String(value))];
  });
}
