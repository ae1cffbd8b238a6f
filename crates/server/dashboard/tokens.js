// Tokens for agents: made once, shown once.

import { at, post } from './api.js';
import { announce } from './announce.js';
import { fill, h } from './dom.js';
import { busy, button, callout, problem, select } from './form.js';
import { time } from './format.js';

/** For how long a token is good, in seconds. */
export const LIFETIMES = [['3600', 'for an hour'], ['86400', 'for a day'], ['604800', 'for a week'], ['2592000', 'for 30 days']];

/** A form that makes tokens for the agents of this migration. */
export function tokens(name) {
  let side = 'source';
  let lifetime = '86400';
  const result = h('div', {});
  const make = button('Make a token', null, { type: 'submit', kind: 'primary' });
  const form = h('form', { class: 'token-form' },
    select(side, [['source', 'For the agent at the source'], ['target', 'For the agent at the target']], (value) => {
      side = value;
    }, { 'aria-label': 'Side' }),
    select(lifetime, LIFETIMES, (value) => {
      lifetime = value;
    }, { 'aria-label': 'How long it is good' }),
    make);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const chosen = side;
    try {
      const answer = await busy(make, () => post(at('migrations', name, 'tokens'), { side: chosen, expiresInSeconds: Number(lifetime) }));
      fill(result, shown(name, chosen, answer));
      result.querySelector('button')?.focus();
    } catch (error) {
      fill(result, problem(error));
    }
  });
  return h('div', { class: 'tokens' },
    h('p', { class: 'quiet' }, 'An agent shows its token when it dials this server. A token is good for one migration and one side.'), form, result);
}

/** A secret to copy. */
export function secret(text) {
  const value = h('code', { class: 'token', tabindex: '0', 'aria-label': 'Token' }, text);
  const copy = button('Copy', async () => {
    try {
      await navigator.clipboard.writeText(text);
      announce('The token is copied');
    } catch {
      // Without TLS a page may not write to the clipboard.
      getSelection().selectAllChildren(value);
      announce('The token is selected; copy it with the keyboard');
    }
  }, { sign: 'copy' });
  return h('div', { class: 'row' }, value, copy);
}

function shown(name, side, answer) {
  const verb = side === 'source' ? 'extract' : 'load';
  const scheme = location.protocol === 'https:' ? 'relay+https' : 'relay+http';
  return callout('warn', 'Shown this once', h('p', {}, `Good until ${time(answer.expiresAt)}. Keep it where the agent at the ${side} reads it.`),
    secret(answer.token),
    h('p', { class: 'quiet' }, `On the host at the ${side}, with the token in PGHAUL_TOKEN:`),
    h('pre', { class: 'command', tabindex: '0' }, `pghaul ${verb} --spool ${scheme}://${location.host}/${name}`));
}
