// Dialogs: modal, so that the focus stays within, left with Esc, and the focus goes back to where
// it was.

import { fill, h, uniqueId } from './dom.js';
import { busy, button, field, input, problem } from './form.js';

/**
 * Opens a dialog. `body` gets a function that closes it. Resolves to what it was closed with;
 * undefined when it was left.
 */
export function open(title, body, { wide = false } = {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const heading = uniqueId('dialog');
    let result;
    const node = h('dialog', { 'aria-labelledby': heading, class: wide ? 'wide' : null });
    const close = (value) => {
      result = value;
      node.close();
    };
    node.append(h('h2', { id: heading }, title), ...[body(close)].flat());
    node.addEventListener('close', () => {
      node.remove();
      if (before?.isConnected) {
        before.focus();
      }
      resolve(result);
    });
    document.body.append(node);
    node.showModal();
  });
}

/**
 * Asks in two steps before something that cannot be undone: first what will happen, then the
 * name, typed. `act` does it; what it throws is shown, and the dialog stays.
 */
export function confirmByName({ title, consequences, name, action, act }) {
  return open(title, (close) => {
    const place = h('div', {});
    const leave = () => button('Go back', () => close(false));
    const first = () => {
      const next = button('Continue', second, { kind: 'danger' });
      fill(place,
        h('p', { class: 'step-of' }, 'Step 1 of 2: what will happen'),
        h('ul', { class: 'consequences' }, consequences.map((text) => h('li', {}, text))),
        h('div', { class: 'dialog-actions' }, leave(), next));
      next.focus();
    };
    const second = () => {
      const failed = h('div', {});
      const submit = button(action, null, { kind: 'danger', type: 'submit' });
      submit.disabled = true;
      const typed = field({
        label: ['Type ', h('code', {}, name), ' to confirm'],
        control: input('', (value) => {
          submit.disabled = value !== name;
        }),
      });
      const form = h('form', { novalidate: true },
        h('p', { class: 'step-of' }, 'Step 2 of 2: confirm'), typed.node, failed,
        h('div', { class: 'dialog-actions' }, leave(), submit));
      form.addEventListener('submit', async (event) => {
        event.preventDefault();
        if (typed.control.value !== name) {
          return;
        }
        fill(failed);
        try {
          await busy(submit, act);
          close(true);
        } catch (error) {
          fill(failed, problem(error));
        }
      });
      fill(place, form);
      typed.control.focus();
    };
    queueMicrotask(first);
    return place;
  });
}
