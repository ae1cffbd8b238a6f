// The wizard of a new migration: one step after another, each of which can be gone back to.

import { fill, h, show } from './dom.js';
import { button } from './form.js';
import { icon } from './icons.js';
import { go, href } from './router.js';
import { heading } from './shell.js';
import { clear, draft, errorsOf, isEmpty, problems, store } from './wizard/draft.js';
import { setupStep } from './wizard/setup.js';
import { runtimeStep } from './wizard/runtime.js';
import { endpointStep } from './wizard/endpoint.js';
import { databasesStep } from './wizard/databases.js';
import { optionsStep } from './wizard/options.js';
import { reviewStep } from './wizard/review.js';

const STEPS = [
  ['setup', 'Setup', setupStep],
  ['runtime', 'Runtime server', runtimeStep],
  ['source', 'Source', (context) => endpointStep(context, 'source')],
  ['target', 'Target', (context) => endpointStep(context, 'target')],
  ['databases', 'Databases', databasesStep],
  ['options', 'Options', optionsStep],
  ['review', 'Review', reviewStep],
];

/** Opens the wizard at the step that the address names. */
export function wizardPage({ main, rest, setTitle, signal }) {
  setTitle('New migration');
  const list = h('ol', { class: 'wizard-steps' });
  const form = h('form', { class: 'wizard-form', novalidate: true });
  const again = h('div', {});
  fill(main, heading('New migration', {
    above: [h('a', { href: href('migrations') }, 'Migrations'), h('span', { 'aria-hidden': 'true' }, ' / '), 'New migration'],
    actions: [button('Start over', () => {
      clear();
      open('setup');
    })],
  }), again, h('div', { class: 'wizard' }, h('nav', { 'aria-label': 'Steps' }, list), form));

  let end = new AbortController();

  function open(wanted) {
    const index = Math.max(0, steps().findIndex(([id]) => id === wanted));
    const [id, label, build] = steps()[index];
    end.abort();
    end = new AbortController();
    draft.visited[id] = true;
    mark(id);
    const title = h('h2', { tabindex: '-1' }, label);
    const place = h('div', { class: 'wizard-place' });
    const previous = steps()[index - 1];
    const next = steps()[index + 1];
    const back = previous && h('a', { class: 'button', href: href('new', previous[0]) }, icon('left'), 'Back');
    const forward = next && button('Next', null, { kind: 'primary', type: 'submit' });
    const slot = h('span', {});
    // The hidden first line keeps the place of the actions the same in every step.
    fill(form, title, place, h('div', { class: 'wizard-actions' }, back, h('span', { class: 'grow' }), slot, forward));
    const step = build({
      place, slot, signal: AbortSignal.any([signal, end.signal]), changed: () => {
        store();
        mark(id);
      },
    });
    showErrors(id);
    form.onsubmit = (event) => {
      event.preventDefault();
      store();
      if (!next) {
        step?.submit?.();
        return;
      }
      const found = problems(id);
      mark(id);
      if (found.length > 0) {
        step?.show?.(found);
        showAt(found);
        return;
      }
      go('new', next[0]);
    };
    title.focus();
  }

  // With agents this server dials neither side, so there are no addresses to give.
  function steps() {
    return draft.topology === 'agents' ? STEPS.filter(([id]) => id !== 'source' && id !== 'target') : STEPS;
  }

  /** Shows what is wrong at the fields, and goes to the first. */
  function showAt(found) {
    let first = null;
    for (const { path, detail } of found) {
      const node = fieldAt(path);
      if (!node) {
        continue;
      }
      const line = node.querySelector('.field-error') ?? node.appendChild(h('p', { class: 'field-error', role: 'alert' }));
      fill(line, icon('warning'), detail);
      show(line, true);
      node.classList.add('invalid');
      const control = node.querySelector('input, select, textarea');
      control?.setAttribute('aria-invalid', 'true');
      first ??= control;
    }
    first?.focus();
  }

  /** The field of this place, or of what it is a part of. */
  function fieldAt(path) {
    const nodes = [...form.querySelectorAll('[data-path]')];
    return nodes.find((node) => node.dataset.path === path) ?? nodes.find((node) => path.startsWith(`${node.dataset.path}/`));
  }

  function showErrors(id) {
    const found = errorsOf(id);
    if (found.length > 0) {
      queueMicrotask(() => showAt(found));
    }
  }

  function mark(current) {
    const all = steps();
    const position = all.findIndex(([id]) => id === current);
    fill(list, all.map(([id, label], index) => {
      const bad = errorsOf(id).length > 0 || (draft.visited[id] && id !== current && problems(id).length > 0);
      const over = !bad && draft.visited[id] && id !== current && id !== 'review';
      const reachable = draft.visited[id] || index <= position + 1;
      const sign = h('span', { class: 'wizard-sign', 'aria-hidden': 'true' }, bad ? icon('warning') : over ? icon('check') : String(index + 1));
      const said = bad ? ', needs a look' : over ? ', done' : '';
      const text = [sign, label, said && h('span', { class: 'visually-hidden' }, said)];
      return h('li', { class: bad ? 'bad' : over ? 'over' : null }, reachable
        ? h('a', { href: href('new', id), 'aria-current': id === current ? 'step' : null }, text)
        : h('span', { class: 'ahead' }, text));
    }));
    fill(again, !isEmpty() && draft.restored && h('p', { class: 'quiet' }, 'Your input was kept; passwords have to be given again.'));
  }

  open(rest[0] ?? 'setup');
  return { moved: ([wanted]) => open(wanted ?? 'setup') };
}
