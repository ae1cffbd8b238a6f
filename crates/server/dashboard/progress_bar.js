// A bar that shows how much of something is done.

import { h, setText } from './dom.js';
import { percent } from './format.js';

/** A bar with its number beside it; `label` says of what, for those who listen. */
export function progressBar(label) {
  const fillNode = h('span', { class: 'bar-fill' });
  const text = h('span', { class: 'bar-text' });
  const bar = h('span', { class: 'bar', role: 'progressbar', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100' }, fillNode);
  const node = h('span', { class: 'bar-with-text' }, bar, text);
  return {
    node,
    /** `tone` is busy, good, bad, warn or idle. */
    update(fraction, tone = 'busy') {
      const share = Math.max(0, Math.min(1, fraction || 0));
      fillNode.style.setProperty('width', `${share * 100}%`);
      bar.className = `bar tone-${tone}`;
      bar.setAttribute('aria-valuenow', String(Math.floor(share * 100)));
      setText(text, percent(share));
    },
  };
}
