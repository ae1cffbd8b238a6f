// What the states of a migration are called here, how they look, and what follows from them.

import { h } from './dom.js';
import { icon } from './icons.js';
import { time, words } from './format.js';

const STATES = {
  InProgress: ['In progress', 'busy', 'play'],
  WaitingForUserAction: ['Waiting for you', 'warn', 'warning'],
  Canceled: ['Canceled', 'idle', 'cross'],
  Failed: ['Failed', 'bad', 'cross'],
  Succeeded: ['Succeeded', 'good', 'check'],
  ValidationFailed: ['Validation failed', 'bad', 'cross'],
  CleaningUp: ['Cleaning up', 'busy', 'play'],
};

const SUBSTATES = {
  PerformingPreRequisiteSteps: 'Preparing',
  ValidationInProgress: 'Validating',
  WaitingForDBsToMigrateSpecification: 'Waiting for the databases to be named',
  WaitingForTargetDBOverwriteConfirmation: 'Waiting for leave to overwrite',
  WaitingForDataMigrationScheduling: 'Waiting for its turn',
  WaitingForDataMigrationWindow: 'Waiting for its window',
  MigratingData: 'Copying',
  CompletingMigration: 'Completing',
  Completed: 'Ended',
  CancelingRequestedDBMigrations: 'Canceling',
};

const OPTIONS = {
  Validate: 'Validate only',
  Migrate: 'Migrate only',
  ValidateAndMigrate: 'Validate and migrate',
};

const FINAL = new Set(['Canceled', 'Failed', 'Succeeded', 'ValidationFailed']);

const status = (migration) => migration.currentStatus ?? {};

/** The substate as the service names it. */
export function subState(migration) {
  return status(migration).currentSubStateDetails?.currentSubState ?? '';
}

/** Whether nothing will happen any more by itself. */
export function ended(migration) {
  return FINAL.has(status(migration).state);
}

/** Whether it waits for others in the queue. */
export function queued(migration) {
  return !ended(migration) && typeof migration.queuePosition === 'number';
}

/** Whether a cancel has been asked for. */
export function canceling(migration) {
  return !ended(migration) && subState(migration).startsWith('Canceling');
}

/** Label, tone and sign of a migration's state. */
export function look(migration) {
  if (canceling(migration)) {
    return ['Canceling', 'warn', 'stop'];
  }
  if (!ended(migration) && migration.paused) {
    return ['Paused', 'warn', 'pause'];
  }
  if (queued(migration)) {
    return ['Queued', 'idle', 'clock'];
  }
  if (subState(migration).startsWith('WaitingForDataMigration') && !ended(migration)) {
    return ['Scheduled', 'idle', 'clock'];
  }
  return STATES[status(migration).state] ?? [words(status(migration).state), 'idle', 'dot'];
}

/** What it does just now, in words; empty when the state says it all. */
export function doing(migration) {
  if (ended(migration)) {
    if (migration.verified === true) {
      return 'verified';
    }
    return migration.verified === false ? 'source and target differ' : '';
  }
  if (queued(migration)) {
    return migration.queuePosition > 0 ? `number ${migration.queuePosition} in the queue` : 'next in the queue';
  }
  const name = subState(migration);
  const { startAt, window } = migration.job ?? {};
  if (name === 'WaitingForDataMigrationScheduling' && startAt) {
    return `Starts ${time(startAt)}`;
  }
  if (name === 'WaitingForDataMigrationWindow' && window) {
    return new Date() < new Date(window.from) ? `Its window opens ${time(window.from)}` : 'Its window is over';
  }
  return SUBSTATES[name] ?? words(name);
}

/** The migration option in words. */
export function option(migration) {
  return OPTIONS[migration.migrationOption] ?? words(migration.migrationOption);
}

/** A word with a tone and a sign, so that no state is told by colour alone. */
export function badge(label, tone, sign) {
  return h('span', { class: `badge tone-${tone}` }, icon(sign), label);
}

/** The badge of a migration. */
export function stateBadge(migration) {
  return badge(...look(migration));
}

/** The badge of a state that stands alone: of a migration, a database, a table, a finding or an agent. */
export function plainBadge(name) {
  const lower = String(name ?? '').toLowerCase();
  if (STATES[name]) {
    return badge(...STATES[name]);
  }
  if (name === 'Warning') {
    return badge('Warning', 'warn', 'warning');
  }
  if (['completed', 'done', 'working', 'connected'].includes(lower)) {
    return badge(words(name), lower === 'working' ? 'busy' : 'good', lower === 'working' ? 'play' : 'check');
  }
  if (['errored', 'lost', 'error'].includes(lower)) {
    return badge(words(name), 'bad', 'cross');
  }
  if (lower === 'loading') {
    return badge('Loading', 'busy', 'play');
  }
  if (lower === 'canceling') {
    return badge('Canceling', 'warn', 'stop');
  }
  return badge(words(name), 'idle', 'clock');
}

const sum = (rows, name) => rows.reduce((total, row) => total + (Number(row[name]) || 0), 0);

/** The databases of a migration with their details, by name. */
export function databases(migration) {
  const details = status(migration).currentSubStateDetails?.dbDetails ?? {};
  return Object.entries(details)
    .map(([name, detail]) => ({ ...detail, databaseName: detail.databaseName ?? name }))
    .sort((a, b) => a.databaseName.localeCompare(b.databaseName));
}

/** How much of one database is done, from 0 to 1. */
export function fractionOf(database) {
  if (database.migrationState === 'Succeeded') {
    return 1;
  }
  if (typeof database.fraction === 'number') {
    return database.fraction;
  }
  return database.bytesExpected > 0 ? Math.min(1, database.bytes / database.bytesExpected) : 0;
}

/** The sums over all databases. */
export function totals(migration) {
  const rows = databases(migration);
  const expected = sum(rows, 'bytesExpected');
  // As long as some have no plan, nobody knows what the others are a part of.
  const open = rows.some((row) => row.migrationState === 'InProgress' && !row.bytesExpected && !row.fraction);
  const weights = rows.map((row) => (expected > 0 ? Number(row.bytesExpected) || 0 : 1));
  const weight = open ? 0 : weights.reduce((total, value) => total + value, 0);
  const done = rows.reduce((total, row, index) => total + fractionOf(row) * weights[index], 0);
  const etas = rows.map((row) => row.etaSeconds).filter((eta) => typeof eta === 'number');
  const tables = {
    queued: sum(rows, 'fullLoadQueuedTables'),
    loading: sum(rows, 'fullLoadLoadingTables'),
    completed: sum(rows, 'fullLoadCompletedTables'),
    errored: sum(rows, 'fullLoadErroredTables'),
  };
  const succeeded = status(migration).state === 'Succeeded';
  return {
    rows: sum(rows, 'rows'),
    rowsExpected: sum(rows, 'rowsExpected'),
    bytes: sum(rows, 'bytes'),
    bytesExpected: expected,
    bytesPerSecond: sum(rows, 'bytesPerSecond'),
    etaSeconds: ended(migration) || etas.length === 0 ? undefined : Math.max(...etas),
    fraction: succeeded ? 1 : weight > 0 ? done / weight : 0,
    tables: { ...tables, all: tables.queued + tables.loading + tables.completed + tables.errored },
  };
}
