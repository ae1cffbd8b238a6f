// Setup: the name of the migration, and what it does.

import { post } from '../api.js';
import { fill, h } from '../dom.js';
import { callout, cards, field, input } from '../form.js';
import { draft, problems } from './draft.js';

/** Builds the step. */
export function setupStep({ place, changed, signal }) {
  const name = field({
    label: 'Name', required: true, path: '/name', hint: 'Letters, digits, - and _. It is part of addresses and commands.',
    control: input(draft.name, (value) => {
      draft.name = value.trim();
      draft.errors = draft.errors.filter((error) => error.path !== '/name');
      changed();
    }, { maxlength: '63', name: 'name' }),
  });
  name.control.addEventListener('change', async () => {
    const found = problems('setup')[0];
    if (found) {
      name.setError(draft.name && found.detail);
      return;
    }
    const asked = draft.name;
    try {
      const answer = await post('/check-name-availability', { name: asked }, { signal });
      if (answer?.nameAvailable === false && draft.name === asked) {
        name.setError(answer.message ?? 'This name is taken.');
      }
    } catch {
      // The server says it again when the migration is created.
    }
  });
  fill(place, name.node,
    cards('What it does', draft.option, [
      ['validateAndMigrate', 'Validate and migrate', 'Checks both servers first, and does not begin if a check fails.'],
      ['validate', 'Validate only', 'Checks both servers and changes nothing.'],
      ['migrate', 'Migrate only', 'Without validation; for what was validated before.'],
    ], (value) => {
      draft.option = value;
      changed();
    }),
    callout('info', 'Offline', h('p', {}, 'Everything is copied as it stands in one snapshot. What the application writes to the source afterwards does not arrive, so stop its writes before the migration begins.')));
}
