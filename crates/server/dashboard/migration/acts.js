// What can be done with a migration: what its state and the role allow, and nothing else.

import { announce } from '../announce.js';
import { at, patch, remove } from '../api.js';
import { fill, h } from '../dom.js';
import { confirmByName, open } from '../dialog.js';
import { busy, button, cards, field, input, problem, select } from '../form.js';
import { rate } from '../format.js';
import { go } from '../router.js';
import { beginLike } from '../wizard/draft.js';
import { may } from '../session.js';
import { canceling, ended } from '../state.js';

const UNITS = { 'kB/s': 1024, 'MB/s': 1024 ** 2, 'GB/s': 1024 ** 3 };

/** The buttons; `update` shows those that fit. */
export function acts(refresh) {
  const node = h('div', { class: 'acts', role: 'group', 'aria-label': 'Actions' });
  let drawn = '';
  return {
    node,
    update(migration) {
      const live = !ended(migration);
      const offered = [];
      if (live && may('operator') && !canceling(migration)) {
        // One whose window is over goes on, without the window, when it is resumed.
        const waits = migration.currentStatus.state === 'WaitingForUserAction';
        offered.push(migration.paused || waits ? 'resume' : 'pause', 'throttle', 'cancel');
      }
      if (!live && may('operator') && migration.job) {
        offered.push('again');
      }
      if (!live && may('admin')) {
        offered.push('delete');
      }
      const text = offered.join() + migration.bytesPerSecond;
      if (text === drawn) {
        return;
      }
      drawn = text;
      fill(node, offered.map((act) => make(act, migration, refresh)));
    },
  };
}

function make(act, migration, refresh) {
  const name = migration.name;
  const send = async (body, said) => {
    await patch(at('migrations', name), body);
    announce(said);
    refresh();
  };
  const direct = (event, action, said) => busy(event.currentTarget, () => send({ action }, said))
    .catch((error) => announce(`${name}: ${error.message}`, 'bad'));
  switch (act) {
    case 'pause':
      return button('Pause', (event) => direct(event, 'pause', `${name} pauses; its snapshot stays open`), { sign: 'pause' });
    case 'resume':
      return button('Resume', (event) => direct(event, 'resume', `${name} goes on`), { sign: 'play', kind: 'primary' });
    case 'again':
      return button('Create a similar one', () => {
        beginLike(migration);
        go('new', 'setup');
      }, { sign: 'copy' });
    case 'throttle':
      return button('Throttle', () => throttle(migration, send), { sign: 'speed' });
    case 'cancel':
      return button('Cancel', () => confirmByName({
        title: 'Cancel this migration', name, action: 'Cancel the migration',
        consequences: [
          'Copying stops, in all of its databases. It cannot be taken up again.',
          'What is already on the target stays there. pghaul cleanup lists and removes what pghaul made.',
          'The source is not changed.',
        ],
        act: () => send({ action: 'cancel' }, `${name} is being canceled`),
      }), { sign: 'stop', kind: 'danger' });
    default:
      return button('Delete', () => confirmByName({
        title: 'Delete this migration', name, action: 'Delete the migration',
        consequences: [
          'Its record is removed from this server: progress, validation, events, logs and report.',
          'Neither the source nor the target is touched.',
        ],
        act: async () => {
          await remove(at('migrations', name));
          announce(`${name} is deleted`);
          go('migrations');
        },
      }), { sign: 'trash', kind: 'danger' });
  }
}

function throttle(migration, send) {
  const current = migration.bytesPerSecond ?? null;
  let limited = current !== null;
  let unit = current !== null && current < UNITS['MB/s'] ? 'kB/s' : 'MB/s';
  return open('Throttle', (close) => {
    const failed = h('div', {});
    const amount = field({
      label: 'At most', control: input(current === null ? '' : String(Math.round(current / UNITS[unit] * 100) / 100), () => {}, { inputmode: 'decimal' }),
      hint: 'All databases of the migration together.',
    });
    const units = select(unit, Object.keys(UNITS).map((key) => [key, key]), (value) => {
      unit = value;
    }, { 'aria-label': 'Unit' });
    const limits = h('div', { class: 'joined' }, amount.node, units);
    limits.hidden = !limited;
    const submit = button('Apply', null, { kind: 'primary', type: 'submit' });
    const form = h('form', { novalidate: true },
      cards('How fast it may copy', limited ? 'limited' : 'free', [
        ['free', 'As fast as it can', 'No limit.'],
        ['limited', 'With a limit', 'It takes hold at once, while the migration runs.'],
      ], (value) => {
        limited = value === 'limited';
        limits.hidden = !limited;
        if (limited) {
          amount.control.focus();
        }
      }),
      limits, failed,
      h('div', { class: 'dialog-actions' }, button('Go back', () => close()), submit));
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      fill(failed);
      const bytesPerSecond = limited ? Math.round(Number(amount.control.value.replace(',', '.')) * UNITS[unit]) : null;
      if (limited && !(bytesPerSecond > 0)) {
        amount.setError('A number above zero.');
        amount.control.focus();
        return;
      }
      const said = limited ? `${migration.name} copies at most ${rate(bytesPerSecond)}` : `${migration.name} copies without a limit`;
      try {
        await busy(submit, () => send({ action: 'throttle', bytesPerSecond }, said));
        close();
      } catch (error) {
        fill(failed, problem(error));
      }
    });
    return form;
  });
}
