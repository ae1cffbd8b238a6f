// Who is signed in, and what the role allows. What a role may not do is not offered; the server
// refuses it all the same.

import { get, post, setCsrf } from './api.js';

const RANK = { viewer: 0, operator: 1, admin: 2 };

let current = null;

/** The session, or null. */
export function session() {
  return current;
}

/** Whether the role is at least this one. */
export function may(role) {
  return current !== null && (RANK[current.role] ?? -1) >= RANK[role];
}

function set(value) {
  current = value;
  setCsrf(value?.csrf ?? null);
}

/** Asks the server who is signed in; null if nobody is. */
export async function restore() {
  try {
    set(await get('/session'));
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) {
      throw error;
    }
    set(null);
  }
  return current;
}

/** Signs in. */
export async function signIn(user, password) {
  await post('/login', { user, password });
  return restore();
}

/** Signs out; the session is forgotten here even if the server is away. */
export async function signOut() {
  try {
    await post('/logout', {});
  } finally {
    set(null);
  }
}

/** The server knows the session no longer. */
export function forget() {
  set(null);
}
