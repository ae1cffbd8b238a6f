// The report of the migration, once there is one.

import { at, get } from '../api.js';
import { fill, h } from '../dom.js';
import { button, empty, loading, problem } from '../form.js';
import { markdown } from '../markdown.js';
import { ended } from '../state.js';

/** Opens the tab. */
export function reportTab({ place, name, signal }) {
  let state = null;
  fill(place, loading());

  async function ask() {
    try {
      const { text } = await get(at('migrations', name, 'report'), { signal, as: 'text' });
      const save = button('Save', () => {
        const url = URL.createObjectURL(new Blob([text], { type: 'text/markdown' }));
        h('a', { href: url, download: `${name}.md` }).click();
        URL.revokeObjectURL(url);
      });
      fill(place, h('div', { class: 'toolbar' }, h('span', { class: 'grow' }), save), h('article', { class: 'report' }, markdown(text)));
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      if (error.status === 404) {
        none();
      } else {
        fill(place, problem(error));
      }
    }
  }

  function none() {
    fill(place, empty('book', 'No report yet', 'It is written when a database is complete: what was moved, how long it took, what the target lacks, and what to do next.'));
  }

  return {
    update(migration) {
      const now = `${migration.currentStatus?.state} ${migration.verified}`;
      if (now === state) {
        return;
      }
      state = now;
      if (ended(migration)) {
        ask();
      } else {
        none();
      }
    },
  };
}
