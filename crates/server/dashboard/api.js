// Speaks to the server's API. Every answer either becomes a value or an ApiError that can be shown.

const BASE = '/api/v1';
/** How long an answer may take, in milliseconds, before the server counts as away. */
const PATIENCE = 60_000;

/** What the server refused, or that it did not answer. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.remedy = problem.remedy ?? '';
    /** What is wrong where in the body that was sent. */
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
  }

  /** Whether the server was not there at all. */
  get away() {
    return this.status === 0;
  }
}

/** Tells `change` events when the server goes away and when it is back. */
class Connection extends EventTarget {
  up = true;

  #set(up) {
    if (this.up !== up) {
      this.up = up;
      this.dispatchEvent(new Event('change'));
    }
  }

  answered() {
    this.#set(true);
  }

  failed() {
    this.#set(false);
  }
}

export const connection = new Connection();

let token = null;
let onSignedOut = () => {};

/** The token that writes must carry, because the cookie alone proves nothing. */
export function setCsrf(value) {
  token = value;
}

/** What happens when the server knows the session no longer. */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/** The address of a resource; every segment is escaped. */
export function at(...segments) {
  return `/${segments.map(encodeURIComponent).join('/')}`;
}

/** Adds what of these parameters has a value. */
export function query(path, parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== '') {
      search.set(name, value);
    }
  }
  return search.size > 0 ? `${path}?${search}` : path;
}

/** The full address of a resource, for links and streams. */
export function address(path) {
  return BASE + path;
}

async function call(method, path, body, { signal, as = 'json' } = {}) {
  const headers = { Accept: as === 'json' ? 'application/json' : 'text/plain, */*' };
  if (body !== undefined) {
    headers['Content-Type'] = 'application/json';
  }
  if (method !== 'GET' && token) {
    headers['X-CSRF-Token'] = token;
  }
  const deadline = AbortSignal.timeout(PATIENCE);
  let response;
  let text;
  try {
    response = await fetch(BASE + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin', cache: 'no-store', redirect: 'error',
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) {
      throw error;
    }
    connection.failed();
    throw new ApiError(0, { detail: 'The server does not answer.' });
  }
  // What stands between may answer for a server that is away.
  if ([502, 503, 504].includes(response.status) && !response.headers.get('content-type')?.includes('json')) {
    connection.failed();
    throw new ApiError(0, { detail: 'The server does not answer.' });
  }
  connection.answered();
  if (!response.ok) {
    if (response.status === 401 && path !== '/login' && path !== '/session') {
      onSignedOut();
    }
    throw new ApiError(response.status, parse(text) ?? { detail: text.slice(0, 500) });
  }
  return as === 'json' ? parse(text) : { text, headers: response.headers };
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

export const get = (path, options) => call('GET', path, undefined, options);
export const put = (path, body, options) => call('PUT', path, body, options);
export const post = (path, body, options) => call('POST', path, body, options);
export const patch = (path, body, options) => call('PATCH', path, body, options);
export const remove = (path, options) => call('DELETE', path, undefined, options);
