// Access: who may use this server, and tokens for programs. A token is shown once.

import { at, get, post, put, remove } from './api.js';
import { announce } from './announce.js';
import { confirmByName, open } from './dialog.js';
import { fill, h } from './dom.js';
import { busy, button, callout, cards, empty, field, input, loading, problem, select } from './form.js';
import { time } from './format.js';
import { LIFETIMES, secret } from './tokens.js';
import { session } from './session.js';
import { heading } from './shell.js';

const ROLES = [
  ['viewer', 'Viewer', 'Sees everything, and changes nothing.'],
  ['operator', 'Operator', 'Creates migrations, and pauses, throttles and cancels them.'],
  ['admin', 'Administrator', 'Deletes migrations, decommissions, and gives access.'],
];

/** Opens the page. */
export function accessPage({ main, setTitle, signal }) {
  setTitle('Access');
  const failed = h('div', {});
  const users = h('div', {}, loading());
  const tokens = h('div', {}, loading());
  const made = h('div', {});
  fill(main, heading('Access'), failed,
    h('section', {}, h('div', { class: 'section-head' }, h('h2', {}, 'Users'), button('Add a user', () => edit(null), { sign: 'plus' })), users),
    h('section', {}, h('div', { class: 'section-head' }, h('h2', {}, 'Tokens for programs'), button('Make a token', make, { sign: 'plus' })), made, tokens));

  async function ask() {
    try {
      const [people, programs] = await Promise.all([get('/users', { signal }), get('/tokens', { signal })]);
      fill(failed);
      fill(users, userList(people?.value ?? []));
      fill(tokens, tokenList(programs?.value ?? []));
    } catch (error) {
      if (!signal.aborted) {
        fill(failed, problem(error));
        fill(users);
        fill(tokens);
      }
    }
  }

  function userList(list) {
    return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
      h('caption', { class: 'visually-hidden' }, 'Users'),
      h('thead', {}, h('tr', {}, ['User', 'Role', 'Since', ''].map((label) => h('th', { scope: 'col' }, label)))),
      h('tbody', {}, list.map((user) => h('tr', {}, h('th', { scope: 'row' }, user.name), h('td', {}, roleName(user.role)), h('td', { class: 'nowrap' }, time(user.createdAt)),
        h('td', { class: 'number nowrap' },
          button('Change', () => edit(user), { 'aria-label': `Change ${user.name}`, kind: 'plain small' }), ' ',
          // Nobody takes away the ground under their own feet.
          user.name !== session().user && button('Delete', () => drop('user', user.name, at('users', user.name)), { 'aria-label': `Delete ${user.name}`, kind: 'danger small' })))))));
  }

  function tokenList(list) {
    if (list.length === 0) {
      return empty('agents', 'No token', 'Programs, as the command pghaul migration, show a token instead of a password.');
    }
    return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
      h('caption', { class: 'visually-hidden' }, 'Tokens'),
      h('thead', {}, h('tr', {}, ['Token', 'Role', 'Since', 'Good until', ''].map((label) => h('th', { scope: 'col' }, label)))),
      h('tbody', {}, list.map((token) => h('tr', {}, h('th', { scope: 'row' }, token.name), h('td', {}, roleName(token.role)), h('td', { class: 'nowrap' }, time(token.createdAt)),
        h('td', { class: 'nowrap' }, time(token.expiresAt)),
        h('td', { class: 'number' }, button('Delete', () => drop('token', token.name, at('tokens', token.id)), { 'aria-label': `Delete the token ${token.name}`, kind: 'danger small' })))))));
  }

  async function drop(kind, name, path) {
    await confirmByName({
      title: `Delete the ${kind} ${name}`, name, action: 'Delete',
      consequences: [kind === 'user' ? `${name} is signed out everywhere, and cannot sign in again.` : 'Programs that show it are refused from now on.'],
      act: async () => {
        await remove(path);
        announce(`${name} is deleted`);
      },
    });
    ask();
  }

  async function edit(user) {
    let role = user?.role ?? 'viewer';
    await open(user ? `Change ${user.name}` : 'Add a user', (close) => {
      const problems = h('div', {});
      const name = field({ label: 'Name', required: true, path: '/name', control: input('', () => {}, { maxlength: '63' }) });
      const password = field({
        label: user ? 'New password' : 'Password', required: !user, path: '/password', hint: user ? 'Empty: it stays as it is.' : 'At least 12 characters.',
        control: input('', () => {}, { type: 'password', autocomplete: 'new-password' }),
      });
      const submit = button(user ? 'Change' : 'Add', null, { kind: 'primary', type: 'submit' });
      const form = h('form', { novalidate: true }, !user && name.node, cards('Role', role, ROLES, (value) => {
        role = value;
      }), password.node, problems, h('div', { class: 'dialog-actions' }, button('Go back', () => close()), submit));
      form.addEventListener('submit', async (event) => {
        event.preventDefault();
        fill(problems);
        const who = user?.name ?? name.control.value.trim();
        const secretText = password.control.value;
        if (!who) {
          name.setError('A name is needed.');
          name.control.focus();
        } else if (secretText ? secretText.length < 12 : !user) {
          password.setError('At least 12 characters.');
          password.control.focus();
        } else {
          try {
            await busy(submit, () => put(at('users', who), { role, ...(secretText ? { password: secretText } : {}) }));
            announce(user ? `${who} is changed` : `${who} is added`);
            close();
          } catch (error) {
            fill(problems, problem(error));
          }
        }
      });
      return form;
    });
    ask();
  }

  async function make() {
    let role = 'viewer';
    let lifetime = '2592000';
    await open('Make a token', (close) => {
      const problems = h('div', {});
      const name = field({ label: 'What it is for', required: true, control: input('', () => {}, { maxlength: '63' }) });
      const submit = button('Make it', null, { kind: 'primary', type: 'submit' });
      const until = field({
        label: 'Good', control: select(lifetime, LIFETIMES, (value) => {
          lifetime = value;
        }),
      });
      const form = h('form', { novalidate: true }, name.node, cards('Role', role, ROLES, (value) => {
        role = value;
      }), until.node, problems, h('div', { class: 'dialog-actions' }, button('Go back', () => close()), submit));
      form.addEventListener('submit', async (event) => {
        event.preventDefault();
        fill(problems);
        if (!name.control.value.trim()) {
          name.setError('A name is needed.');
          name.control.focus();
          return;
        }
        try {
          const answer = await busy(submit, () => post('/tokens', { name: name.control.value.trim(), role, expiresInSeconds: Number(lifetime) }));
          fill(made, callout('warn', 'Shown this once', h('p', {}, `Good until ${time(answer.expiresAt)}. Programs read it from PGHAUL_TOKEN.`), secret(answer.token)));
          close();
        } catch (error) {
          fill(problems, problem(error));
        }
      });
      return form;
    });
    ask();
  }

  ask();
}

function roleName(role) {
  return ROLES.find(([name]) => name === role)?.[1] ?? role;
}
