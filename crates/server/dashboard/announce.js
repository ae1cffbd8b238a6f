// Says what happened: to the eye for a few seconds at the edge of the page, to the ear by a live
// region.

import { h } from './dom.js';
import { icon } from './icons.js';

/** How long a message stays, in milliseconds. One that reports a failure stays until dismissed. */
const STAY = 6000;

const region = h('div', { class: 'notices', role: 'status', 'aria-live': 'polite' });

/** The place of the messages; once in the page. */
export function announcements() {
  return region;
}

/** Shows a message: tone `good` or `bad`. */
export function announce(text, tone = 'good') {
  const dismiss = h('button', { class: 'bare', type: 'button', 'aria-label': 'Dismiss' }, icon('cross'));
  const notice = h('div', { class: `notice tone-${tone}` },
    icon(tone === 'good' ? 'check' : 'warning'), h('span', {}, text), dismiss);
  dismiss.addEventListener('click', () => notice.remove());
  region.append(notice);
  if (tone === 'good') {
    setTimeout(() => notice.remove(), STAY);
  }
}
