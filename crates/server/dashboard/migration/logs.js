// The log of the migration's process, as it is written.

import { at, get, query } from '../api.js';
import { fill, h, setText, show } from '../dom.js';
import { checkbox, empty, loading, problem } from '../form.js';
import { every } from '../live.js';

/** How often more is asked for, in milliseconds. */
const AGAIN = 2000;
/** So many characters are kept in the page. */
const MOST = 1_000_000;

/** Opens the tab. */
export function logsTab({ place, name, signal }) {
  let after = 0;
  let stay = true;
  const text = h('pre', { class: 'log', tabindex: '0', role: 'log', 'aria-label': 'Log', 'aria-live': 'off' });
  const waiting = loading();
  const failed = h('div', {});
  const nothing = empty('book', 'The log is empty', 'What the process of this migration has to say is written here.');
  const cut = h('p', { class: 'quiet', hidden: true }, 'The beginning is left out here.');
  fill(place, h('div', { class: 'toolbar' }, checkbox({
    label: 'Stay at the end', value: stay, onChange: (value) => {
      stay = value;
    },
  })), failed, waiting, nothing, cut, text);
  show(nothing, false);
  show(text, false);

  every(AGAIN, async () => {
    let next = null;
    do {
      const answer = await get(query(at('migrations', name, 'logs'), { after }), { signal });
      fill(failed);
      show(waiting, false);
      append(answer.value);
      next = answer.next;
      if (next === after) {
        return;
      }
      after = next;
    } while (next !== null);
  }, (error) => {
    show(waiting, false);
    if (!error.away) {
      fill(failed, problem(error));
    }
  }, signal);

  function append(more) {
    if (more) {
      text.append(more);
      if (text.textContent.length > MOST) {
        setText(text, text.textContent.slice(-MOST / 2));
        show(cut, true);
      }
    }
    show(nothing, text.textContent === '');
    show(text, text.textContent !== '');
    if (more && stay) {
      text.scrollTop = text.scrollHeight;
    }
  }
}
