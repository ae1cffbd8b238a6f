// Numbers and times as people read them, the way the command prints them.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
const NOTHING = '–';

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** `1.2 GB`: powers of 1024 with PostgreSQL's unit names. */
export function bytes(value) {
  if (!known(value)) {
    return NOTHING;
  }
  let amount = value;
  let unit = 0;
  while (amount >= 1024 && unit + 1 < UNITS.length) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit > 0 && amount < 10 ? amount.toFixed(1) : Math.round(amount)} ${UNITS[unit]}`;
}

/** `1.2 MB/s`. */
export function rate(value) {
  return known(value) ? `${bytes(value)}/s` : NOTHING;
}

/** `12,345,678`. */
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString('en-US') : NOTHING;
}

/** `1.2M`, for axes and tiles. */
export function short(value) {
  if (!known(value)) {
    return NOTHING;
  }
  for (const [limit, sign] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
    if (Math.abs(value) >= limit) {
      const amount = value / limit;
      return `${amount < 10 && !Number.isInteger(amount) ? amount.toFixed(1) : Math.round(amount)}${sign}`;
    }
  }
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

/** `12 %`; never 100 before all is done. */
export function percent(fraction) {
  if (!known(fraction)) {
    return NOTHING;
  }
  const whole = Math.floor(Math.max(0, Math.min(1, fraction)) * 1000) / 10;
  return `${whole >= 10 || Number.isInteger(whole) ? Math.floor(whole) : whole.toFixed(1)} %`;
}

/** `0.4 s`, `12 s`, `4 min 05 s`, `2 h 03 min`, `3 d 04 h`. */
export function duration(seconds) {
  if (!known(seconds)) {
    return NOTHING;
  }
  const two = (value) => String(value).padStart(2, '0');
  const whole = Math.floor(seconds);
  if (seconds < 10) {
    return `${Math.max(0, seconds).toFixed(1)} s`;
  }
  if (whole < 60) {
    return `${whole} s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  }
  if (whole < 86400) {
    return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole % 3600 / 60))} min`;
  }
  return `${Math.floor(whole / 86400)} d ${two(Math.floor(whole % 86400 / 3600))} h`;
}

/** Seconds between two times; to now if the second is missing. */
export function between(from, to) {
  return from ? ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000 : undefined;
}

const same = (a, b) => a.toDateString() === b.toDateString();
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

/** `14:03:22` today, `3 Nov 2026, 14:03:22` on another day; in the time of this machine. */
export function time(value) {
  const date = value ? new Date(value) : null;
  if (!date || Number.isNaN(date.getTime())) {
    return NOTHING;
  }
  return same(date, new Date()) ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
}

/** The time alone. */
export function clockTime(value) {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? NOTHING : clock.format(date);
}

/** `1 table`, `3 tables`. */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `PerformingPreRequisiteSteps` as `Performing pre requisite steps`, for words not known here. */
export function words(name) {
  const text = String(name ?? '').replace(/([a-z0-9])([A-Z])/g, '$1 $2').replace(/[._-]+/g, ' ').toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
