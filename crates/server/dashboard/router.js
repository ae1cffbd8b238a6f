// Which page the address names. Pages live behind the hash, so that one document serves all.

/** The segments of the address: `#/migrations/m%201/tables` is `['migrations', 'm 1', 'tables']`. */
export function here() {
  return location.hash.replace(/^#\/?/, '').split('?')[0].split('/').filter(Boolean).map((segment) => {
    try {
      return decodeURIComponent(segment);
    } catch {
      return segment;
    }
  });
}

/** The address of a page. */
export function href(...segments) {
  return `#/${segments.map(encodeURIComponent).join('/')}`;
}

/** Goes to a page. */
export function go(...segments) {
  location.hash = href(...segments);
}
