// What has been entered in the wizard. It outlives going back and forth and a reload of the page,
// but for passwords, which are kept nowhere but in memory.

const KEY = 'pghaul-draft';
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

const endpoint = () => ({ host: '', port: '5432', user: '', password: '', database: 'postgres', sslMode: 'prefer', caCertificate: '' });

function fresh() {
  return {
    name: '', option: 'validateAndMigrate', topology: 'server',
    source: { ...endpoint(), type: 'OnPremises' }, target: endpoint(),
    allDatabases: true, databases: [], listed: null, names: '',
    overwrite: false, roles: true, rolePasswords: true, noOwner: false, noAcl: false, noTablespaces: false,
    strict: false, verify: true, schemaOnly: false,
    schemas: '', excludeSchemas: '', tables: '', excludeTables: '', excludeTableData: '',
    tablespaceMap: '', roleMap: '', tags: '',
    jobs: '', indexJobs: '', rate: '', start: 'now', startAt: '', windowFrom: '', windowTo: '',
    visited: {}, errors: [], restored: false,
  };
}

/** The one draft. */
export const draft = load();

function load() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY));
    if (kept && typeof kept === 'object') {
      return { ...fresh(), ...kept, restored: true };
    }
  } catch {
    // What cannot be read is begun anew.
  }
  return fresh();
}

/** Keeps the draft for a reload, without passwords. */
export function store() {
  const { listed, errors, restored, ...rest } = draft;
  const without = (side) => ({ ...side, password: '' });
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ ...rest, source: without(draft.source), target: without(draft.target) }));
  } catch {
    // Without storage the draft lasts until the page is left.
  }
}

/** Begins anew. */
export function clear() {
  for (const key of Object.keys(draft)) {
    delete draft[key];
  }
  Object.assign(draft, fresh());
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // There was nothing to remove.
  }
}

/** Begins anew with the settings of a migration that there is; passwords have to be given again. */
export function beginLike({ name, job }) {
  clear();
  const { source, target, selection = {}, window, startAt, databases = [], bytesPerSecond, ...rest } = job;
  for (const key of Object.keys(draft)) {
    if (typeof rest[key] === typeof draft[key]) {
      draft[key] = rest[key];
    }
  }
  const side = (from) => ({ ...from, port: String(from.port ?? 5432) });
  const text = (value) => (value === null || value === undefined ? '' : String(value));
  const asPairs = (map = {}) => Object.entries(map).map(([from, to]) => `${from}=${to}`).join('\n');
  Object.assign(draft, {
    name: nameLike(name),
    source: { ...draft.source, ...(source ? side(source) : {}) }, target: { ...draft.target, ...(target ? side(target) : {}) },
    allDatabases: databases.length === 0, databases, names: databases.join('\n'),
    schemaOnly: selection.schemaOnly ?? false,
    jobs: text(job.jobs), indexJobs: text(job.indexJobs), rate: bytesPerSecond ? `${bytesPerSecond / 1024} kB` : '',
    tablespaceMap: asPairs(job.tablespaceMap), roleMap: asPairs(job.roleMap), tags: asPairs(job.tags),
    start: 'now', restored: true,
  });
  for (const key of ['schemas', 'excludeSchemas', 'tables', 'excludeTables', 'excludeTableData']) {
    draft[key] = (selection[key] ?? []).join('\n');
  }
  store();
}

/** `move` becomes `move-2`, and `move-2` `move-3`. */
function nameLike(name) {
  const [, stem, number] = /^(.*?)(?:-(\d{1,4}))?$/.exec(name);
  const end = `-${Number(number ?? 1) + 1}`;
  return stem.slice(0, 63 - end.length) + end;
}

/** Whether nothing has been entered. */
export function isEmpty() {
  return !draft.name && !draft.source.host && !draft.target.host;
}

/** What the server takes for an endpoint. */
export function endpointOf(side) {
  const from = draft[side];
  const port = Number(from.port);
  return {
    host: from.host.trim(), port: Number.isInteger(port) && from.port.trim() !== '' ? port : from.port, user: from.user.trim(),
    sslMode: from.sslMode, database: from.database.trim() || 'postgres',
    ...(from.password ? { password: from.password } : {}),
    ...(from.caCertificate.trim() ? { caCertificate: from.caCertificate } : {}),
    ...(side === 'source' ? { type: from.type } : {}),
  };
}

/** The lines of a text, without empty ones. */
export function lines(text) {
  return text.split('\n').map((line) => line.trim()).filter(Boolean);
}

/** `a=b` by line, as an object. */
function pairs(text) {
  return Object.fromEntries(lines(text).map((line) => {
    const [key, ...value] = line.split('=');
    return [key.trim(), value.join('=').trim()];
  }));
}

const UNITS = { '': 1024 ** 2, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** Bytes per second of `50`, `50 MB` or `1.5 GB`; null for nothing, NaN for nonsense. */
export function rateOf(text) {
  if (!text.trim()) {
    return null;
  }
  const match = /^(\d+(?:[.,]\d+)?)\s*([kKmMgG]?)(?:[bB](?:\/s)?)?$/.exec(text.trim());
  return match ? Math.round(Number(match[1].replace(',', '.')) * UNITS[match[2].toUpperCase()]) : NaN;
}

const moment = (text) => (text ? new Date(text).toISOString() : null);

/** The job: the body that creates the migration. */
export function jobOf() {
  const server = draft.topology === 'server';
  const selection = {
    schemas: lines(draft.schemas), excludeSchemas: lines(draft.excludeSchemas), tables: lines(draft.tables),
    excludeTables: lines(draft.excludeTables), excludeTableData: lines(draft.excludeTableData), schemaOnly: draft.schemaOnly,
  };
  const number = (text) => (text.trim() === '' ? null : Number(text));
  const job = {
    mode: 'offline', option: draft.option, topology: draft.topology,
    ...(server ? { source: endpointOf('source'), target: endpointOf('target') } : {}),
    databases: chosenDatabases(),
    overwrite: draft.overwrite, roles: draft.roles, rolePasswords: draft.roles && draft.rolePasswords,
    selection, noOwner: draft.noOwner, noAcl: draft.noAcl, noTablespaces: draft.noTablespaces,
    tablespaceMap: pairs(draft.tablespaceMap), roleMap: pairs(draft.roleMap),
    jobs: number(draft.jobs), indexJobs: number(draft.indexJobs), bytesPerSecond: rateOf(draft.rate),
    strict: draft.strict, verify: draft.verify, tags: pairs(draft.tags),
  };
  if (draft.start === 'at') {
    job.startAt = moment(draft.startAt);
  }
  if (draft.start === 'window') {
    job.window = { from: moment(draft.windowFrom), to: moment(draft.windowTo) };
  }
  return job;
}

/** The databases that were chosen; empty for all of them. */
export function chosenDatabases() {
  if (draft.allDatabases) {
    return [];
  }
  return draft.topology === 'server' && draft.listed ? draft.databases : lines(draft.names);
}

/** Which step a place in the job belongs to. */
export function stepOf(path) {
  const [, first] = path.split('/');
  if (first === 'source' || first === 'target' || first === 'databases') {
    return first;
  }
  if (first === 'topology') {
    return 'runtime';
  }
  return ['name', 'option', 'mode'].includes(first) ? 'setup' : 'options';
}

/** What the server found wrong in this step. */
export function errorsOf(step) {
  return draft.errors.filter((error) => stepOf(error.path) === step);
}

/** What is plainly wrong in a step, before the server is asked: `[{path, detail}]`. */
export function problems(step) {
  const found = [];
  const need = (condition, path, detail) => condition || found.push({ path, detail });
  if (step === 'setup') {
    need(NAME.test(draft.name), '/name', draft.name
      ? 'Letters, digits, - and _, at most 63, beginning with a letter or digit.' : 'A name is needed.');
  }
  if (step === 'source' || step === 'target') {
    const side = draft[step];
    need(side.host.trim(), `/${step}/host`, 'A host is needed.');
    const port = Number(side.port);
    need(Number.isInteger(port) && port >= 1 && port <= 65535, `/${step}/port`, 'A number from 1 to 65535.');
    need(side.user.trim(), `/${step}/user`, 'A user is needed.');
    need(!['verifyCa', 'verifyFull'].includes(side.sslMode) || !side.caCertificate.trim() || side.caCertificate.includes('-----BEGIN CERTIFICATE-----'),
      `/${step}/caCertificate`, 'This is not a PEM certificate.');
  }
  if (step === 'databases') {
    need(draft.allDatabases || chosenDatabases().length > 0, '/databases', 'Choose at least one database, or all.');
  }
  if (step === 'options') {
    for (const key of ['jobs', 'indexJobs']) {
      const text = draft[key].trim();
      need(text === '' || (Number.isInteger(Number(text)) && Number(text) > 0), `/${key}`, 'A whole number above zero, or nothing.');
    }
    const rate = rateOf(draft.rate);
    need(rate === null || rate > 0, '/bytesPerSecond', 'A number with kB, MB or GB, or nothing.');
    need(draft.start !== 'at' || draft.startAt, '/startAt', 'A time is needed.');
    need(draft.start !== 'window' || (draft.windowFrom && draft.windowTo && draft.windowFrom < draft.windowTo), '/window', 'The window needs a beginning and a later end.');
    for (const key of ['tablespaceMap', 'roleMap', 'tags']) {
      need(lines(draft[key]).every((line) => /^[^=]+=.+$/.test(line)), `/${key}`, 'One pair a line: from=to.');
    }
  }
  return found;
}
