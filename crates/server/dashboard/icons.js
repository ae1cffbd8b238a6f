// Drawn signs, 16 by 16, in the colour of the text. They say nothing that a word beside them or
// a label does not say.

import { s } from './dom.js';

const PATHS = {
  list: 'M2.5 4h11M2.5 8h11M2.5 12h11',
  agents: 'M3 2.5h10v4H3zM3 9.5h10v4H3zM5.5 4.5h.01M5.5 11.5h.01',
  gauge: 'M2.5 12a6 6 0 1 1 11 0M8 9.5l2.5-3.5',
  box: 'M2.5 5 8 2.5 13.5 5v6L8 13.5 2.5 11zM2.5 5 8 7.5 13.5 5M8 7.5v6',
  book: 'M4 2.5h8.5v11H4a1.5 1.5 0 0 1 0-3h8.5M4 2.5A1.5 1.5 0 0 0 2.5 4v8',
  plus: 'M8 3v10M3 8h10',
  check: 'M3 8.5 6.5 12 13 4.5',
  cross: 'M4 4l8 8M12 4l-8 8',
  warning: 'M8 2.5 14 13H2zM8 6.5v3M8 11.3v.01',
  info: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 7.5V11M8 5v.01',
  clock: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 4.5V8l2.5 1.5',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3v10l8-5z',
  stop: 'M4 4h8v8H4z',
  speed: 'M2.5 4.5 6 8l-3.5 3.5M8.5 4.5 12 8l-3.5 3.5',
  trash: 'M3 4.5h10M6 4.5v-2h4v2M4.5 4.5l.5 9h6l.5-9',
  sun: 'M8 10.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.400 3.400l1 1M11.600 11.600l1 1M3.400 12.600l1-1M11.600 4.400l1-1',
  moon: 'M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z',
  system: 'M2.5 3h11v7.5h-11zM6 13.5h4M8 10.5v3',
  leave: 'M6.5 2.5h-4v11h4M6 8h7.5M10.5 5l3 3-3 3',
  arrow: 'M3 8h10M9.5 4.5 13 8l-3.5 3.5',
  left: 'M10 3.5 5.5 8l4.5 4.5',
  right: 'M6 3.5 10.5 8 6 12.5',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  search: 'M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3l3.200 3.200',
  database: 'M3 4c0-2 10-2 10 0v8c0 2-10 2-10 0zM3 4c0 2 10 2 10 0M3 8c0 2 10 2 10 0',
  dot: 'M8 8h.01',
  key: 'M5.5 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM7.6 7.9 13 2.5M10.5 5l2 2',
  offline: 'M2 2l12 12M5 6.5a6 6 0 0 0-2 1.3M8 5.5a7 7 0 0 1 5 2.3M6.5 9.5a3 3 0 0 0-1.200.8M8 12.5v.01',
};

/** One sign, hidden from those who listen. */
export function icon(name, className = '') {
  return s('svg', {
    viewBox: '0 0 16 16', class: `icon ${className}`.trim(), 'aria-hidden': 'true', focusable: 'false',
  }, s('path', { d: PATHS[name] }));
}
