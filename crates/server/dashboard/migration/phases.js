// The way of a migration from its beginning to its end, with where it is.

import { fill, h } from '../dom.js';
import { icon } from '../icons.js';
import { ended, queued, subState } from '../state.js';

const STEPS = [
  ['Prepare', ['PerformingPreRequisiteSteps', 'WaitingForDBsToMigrateSpecification', 'WaitingForTargetDBOverwriteConfirmation']],
  ['Validate', ['ValidationInProgress']],
  ['Wait for its turn', ['WaitingForDataMigrationScheduling', 'WaitingForDataMigrationWindow']],
  ['Copy', ['MigratingData']],
  ['Complete', ['CompletingMigration']],
];

function stepsOf(migration) {
  return STEPS.filter(([name]) => {
    if (migration.migrationOption === 'Validate') {
      return name === 'Prepare' || name === 'Validate';
    }
    return !(migration.migrationOption === 'Migrate' && name === 'Validate');
  });
}

/** The list of steps; `update` marks those that are done and the one under way. */
export function phases() {
  const node = h('ol', { class: 'phases', 'aria-label': 'Steps' });
  let reached = 0;
  let drawn = '';
  return {
    node,
    update(migration) {
      const steps = stepsOf(migration);
      const state = migration.currentStatus?.state;
      const name = subState(migration);
      const now = queued(migration) ? steps.findIndex(([label]) => label === 'Wait for its turn')
        : steps.findIndex(([, names]) => names.includes(name));
      if (now >= 0) {
        reached = now;
      }
      // A migration that ended while nobody looked: how far it came shows in what it holds.
      if (ended(migration) && now < 0) {
        reached = state === 'Succeeded' ? steps.length : state === 'ValidationFailed'
          ? steps.findIndex(([label]) => label === 'Validate') : Math.max(reached, furthest(migration, steps));
      }
      const text = `${state} ${reached} ${steps.length}`;
      if (text === drawn) {
        return;
      }
      drawn = text;
      const bad = state === 'Failed' || state === 'ValidationFailed';
      fill(node, steps.map(([label], index) => {
        const over = index < reached || state === 'Succeeded';
        const stuck = !over && index === reached && ended(migration);
        const current = index === reached && !ended(migration);
        const kind = over ? 'over' : stuck ? (bad ? 'failed' : 'stopped') : current ? 'current' : 'ahead';
        const sign = over ? 'check' : stuck ? 'cross' : 'dot';
        const said = { over: 'done', failed: 'failed', stopped: 'canceled here', current: 'under way', ahead: 'to come' }[kind];
        return h('li', { class: kind, 'aria-current': current ? 'step' : null },
          h('span', { class: 'phase-sign' }, icon(sign)), label, h('span', { class: 'visually-hidden' }, `, ${said}`));
      }));
    },
  };
}

function furthest(migration, steps) {
  const details = Object.values(migration.currentStatus?.currentSubStateDetails?.dbDetails ?? {});
  const copied = details.some((detail) => detail.bytes > 0 || detail.fullLoadCompletedTables > 0);
  return copied ? steps.findIndex(([label]) => label === 'Copy') : 0;
}
