// Starts the dashboard: who is signed in, which page, and what happens when one is left.

import { connection, whenSignedOut } from './api.js';
import { announcements } from './announce.js';
import { fill, h } from './dom.js';
import { loading, problem, button, empty } from './form.js';
import { forget, may, restore, session } from './session.js';
import { go, here, href } from './router.js';
import { frame } from './shell.js';
import { loginPage } from './login.js';
import { migrationsPage } from './migrations.js';
import { migrationPage } from './migration.js';
import { wizardPage } from './wizard.js';
import { agentsPage } from './agents.js';
import { sizingPage } from './sizing.js';
import { decommissionPage } from './decommission.js';
import { auditPage } from './audit.js';
import { accessPage } from './access.js';

/** The pages by the first segment of their address, with the role that each needs. */
const PAGES = {
  migrations: { open: (rest) => (rest.length === 0 ? migrationsPage : migrationPage), role: 'viewer' },
  new: { open: () => wizardPage, role: 'operator' },
  agents: { open: () => agentsPage, role: 'viewer' },
  sizing: { open: () => sizingPage, role: 'viewer' },
  decommission: { open: () => decommissionPage, role: 'admin' },
  audit: { open: () => auditPage, role: 'admin' },
  access: { open: () => accessPage, role: 'admin' },
};

/** Where to go after signing in. */
let wanted = null;
/** Ends what the page before did. */
let leave = new AbortController();
/** The page that is open, without its part that it changes by itself. */
let opened = null;
const root = h('div', { id: 'root' });

function render() {
  const [first = 'migrations', ...rest] = here();
  if (!session()) {
    if (first !== 'login') {
      wanted = location.hash;
    }
    opened = null;
    renew();
    fill(root, loginPage(() => {
      const target = wanted && !wanted.startsWith('#/login') ? wanted : href('migrations');
      wanted = null;
      if (location.hash === target) {
        render();
      } else {
        location.hash = target;
      }
    }));
    return;
  }
  if (first === 'login') {
    go('migrations');
    return;
  }
  const page = PAGES[first];
  const name = JSON.stringify([first, page?.open(rest).name, first === 'migrations' ? rest[0] : null]);
  // A page that divides itself into tabs or steps hears of the new address on its own.
  if (opened?.name === name && opened.moved) {
    opened.moved(rest);
    return;
  }
  renew();
  const allowed = page && may(page.role);
  const { main, setTitle } = frame(root, first, () => {
    forget();
    go('login');
    render();
  });
  opened = { name };
  if (!allowed) {
    setTitle('Not found');
    fill(main, empty('search', page ? 'Your role does not include this page' : 'There is no such page',
      page ? 'Ask an administrator of this server.' : null, h('a', { class: 'button', href: href('migrations') }, 'To the migrations')));
    return;
  }
  const result = page.open(rest)({ main, rest, setTitle, signal: leave.signal });
  opened.moved = result?.moved;
  // Whoever listens hears the new page, and Tab begins in it.
  if (!main.contains(document.activeElement)) {
    main.focus({ preventScroll: true });
  }
}

function renew() {
  leave.abort();
  leave = new AbortController();
}

async function start() {
  document.body.append(root, announcements());
  fill(root, loading('Connecting'));
  try {
    await restore();
  } catch (error) {
    fill(root, h('div', { class: 'centered' }, problem(error), button('Try again', start, { kind: 'primary' })));
    return;
  }
  whenSignedOut(() => {
    if (session()) {
      forget();
      document.querySelectorAll('dialog[open]').forEach((dialog) => dialog.close());
      render();
    }
  });
  addEventListener('hashchange', render);
  render();
}

connection.addEventListener('change', () => document.body.classList.toggle('away', !connection.up));
start();
