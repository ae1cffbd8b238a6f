// Keeps what is shown in step with the server: by asking again and again, and by its stream.

import { address, connection } from './api.js';

/** Between attempts at a stream that broke, in milliseconds; grows to the second. */
const PAUSES = [1000, 15_000];

/** Waits, unless the signal says that nobody waits any more. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });
}

/**
 * Calls `ask` now and then again, never two at a time, until the signal. Asks less often while
 * the page is out of sight. What `ask` throws goes to `failed`, and the asking goes on.
 * Returns a function that asks at once.
 */
export function every(milliseconds, ask, failed, signal) {
  let wake = new AbortController();
  (async () => {
    while (!signal.aborted) {
      try {
        await ask();
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        failed(error);
      }
      wake = new AbortController();
      const slow = document.hidden ? 10 : 1;
      await pause(milliseconds * slow, AbortSignal.any([signal, wake.signal]));
    }
  })();
  const onVisible = () => document.hidden || wake.abort();
  document.addEventListener('visibilitychange', onVisible, { signal });
  return () => wake.abort();
}

/**
 * Follows a stream of server-sent events until the signal, or until it ends and `goesOn` says no.
 * `path` gives the address to begin at, anew for every attempt, so that nothing is told twice and
 * nothing is left out.
 */
export function follow(path, onEvent, goesOn, signal) {
  let wait = PAUSES[0];
  const open = () => {
    if (signal.aborted) {
      return;
    }
    const source = new EventSource(address(path()));
    const close = () => source.close();
    signal.addEventListener('abort', close);
    source.onopen = () => {
      wait = PAUSES[0];
      connection.answered();
    };
    source.onmessage = (message) => {
      let event;
      try {
        event = JSON.parse(message.data);
      } catch {
        return;
      }
      onEvent(event, message.lastEventId);
    };
    // The browser would try again by itself, but not after an answer that is no stream.
    source.onerror = async () => {
      signal.removeEventListener('abort', close);
      close();
      if (!goesOn()) {
        return;
      }
      await pause(wait, signal);
      wait = Math.min(wait * 2, PAUSES[1]);
      open();
    };
  };
  open();
}
