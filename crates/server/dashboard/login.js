// Signing in.

import { fill, h } from './dom.js';
import { busy, button, field, input, problem } from './form.js';
import { signIn } from './session.js';

/** The page to sign in; `done` is called afterwards. */
export function loginPage(done) {
  document.title = 'Sign in · pghaul';
  const failed = h('div', {});
  const user = field({ label: 'User', required: true, control: input('', () => {}, { autocomplete: 'username', name: 'user' }) });
  const password = field({
    label: 'Password', required: true, control: input('', () => {}, { type: 'password', autocomplete: 'current-password', name: 'password' }),
  });
  const submit = button('Sign in', null, { kind: 'primary', type: 'submit' });
  const form = h('form', { class: 'login-form', novalidate: true }, user.node, password.node, failed, submit);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    fill(failed);
    for (const entry of [user, password]) {
      if (!entry.control.value) {
        entry.setError('This is needed.');
        entry.control.focus();
        return;
      }
    }
    try {
      const session = await busy(submit, () => signIn(user.control.value, password.control.value));
      if (!session) {
        throw new Error('The browser did not keep the session; cookies may be blocked for this address.');
      }
      done();
    } catch (error) {
      password.control.value = '';
      fill(failed, problem(error.status === 401 ? { message: 'User or password is wrong.' } : error));
      password.control.focus();
    }
  });
  queueMicrotask(() => user.control.focus());
  return h('main', { class: 'login' },
    h('div', { class: 'login-card' },
      h('div', { class: 'login-brand' }, h('img', { src: '/assets/icon.svg', alt: '', width: 36, height: 36 }),
        h('div', {}, h('h1', {}, 'pghaul'), h('p', {}, 'Migration runtime server for PostgreSQL'))),
      form));
}
