// What surrounds every page: the navigation, the user, the colours, and whether the server is there.

import { connection, get } from './api.js';
import { fill, h, setText, show } from './dom.js';
import { icon } from './icons.js';
import { may, session, signOut } from './session.js';
import { href } from './router.js';

const ENTRIES = [
  ['migrations', 'Migrations', 'list', 'viewer'],
  ['agents', 'Agents', 'agents', 'viewer'],
  ['sizing', 'Sizing', 'gauge', 'viewer'],
  ['decommission', 'Decommission', 'box', 'admin'],
  ['audit', 'Audit log', 'book', 'admin'],
  ['access', 'Access', 'key', 'admin'],
];

const THEMES = [['system', 'System', 'system'], ['light', 'Light', 'sun'], ['dark', 'Dark', 'moon']];

/** How often a server that is away is asked whether it is back, in milliseconds. */
const ASK_AGAIN = 3000;

let shown = null;

/** Builds the frame once, marks the entry, and gives an empty place for the page. */
export function frame(root, current, signedOut) {
  if (shown?.root !== root || !shown.node.isConnected || shown.user !== session()?.user) {
    shown = build(root, signedOut);
  }
  for (const [name, link] of shown.links) {
    if (name === current || (name === 'migrations' && current === 'new')) {
      link.setAttribute('aria-current', 'page');
    } else {
      link.removeAttribute('aria-current');
    }
  }
  fill(shown.main);
  scrollTo(0, 0);
  return { main: shown.main, setTitle: shown.setTitle };
}

function build(root, signedOut) {
  const main = h('main', { id: 'main', tabindex: '-1' });
  const links = new Map();
  const navigation = h('nav', { 'aria-label': 'Pages' }, h('ul', {},
    ENTRIES.filter(([, , , role]) => may(role)).map(([name, label, sign]) => {
      const link = h('a', { href: href(name) }, icon(sign), label);
      links.set(name, link);
      return h('li', {}, link);
    })));
  const version = h('span', {});
  get('/host').then((host) => setText(version, host?.version ? `pghaul ${host.version}` : ''), () => {});
  const leaving = h('button', {
    type: 'button', class: 'bare', 'aria-label': 'Sign out', title: 'Sign out',
    on: { click: () => signOut().catch(() => {}).finally(signedOut) },
  }, icon('leave'));
  const side = h('header', { class: 'side' },
    h('a', { class: 'brand', href: href('migrations') }, h('img', { src: '/assets/icon.svg', alt: '', width: 22, height: 22 }), 'pghaul'),
    navigation,
    h('div', { class: 'side-foot' },
      themeSwitch(),
      h('div', { class: 'who' }, h('div', {}, h('div', { class: 'who-name' }, session().user), h('div', { class: 'who-role' }, session().role)), leaving),
      h('div', { class: 'version' }, version)));
  const skip = h('a', { class: 'skip', href: '#main' }, 'Skip to the content');
  skip.addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  const node = h('div', { class: 'frame' }, side, h('div', { class: 'content' }, awayBanner(), main));
  fill(root, skip, node);
  return {
    root, node, main, links, user: session().user,
    setTitle: (title) => {
      document.title = `${title} · pghaul`;
    },
  };
}

function themeSwitch() {
  const root = document.documentElement;
  const chosen = root.dataset.theme ?? 'system';
  const choose = (name) => {
    if (name === 'system') {
      delete root.dataset.theme;
    } else {
      root.dataset.theme = name;
    }
    try {
      localStorage.setItem('pghaul-theme', name);
    } catch {
      // Without storage the choice lasts until the page is left.
    }
  };
  return h('fieldset', { class: 'segmented theme' }, h('legend', { class: 'visually-hidden' }, 'Colours'),
    THEMES.map(([name, label, sign]) => h('label', { title: label },
      h('input', {
        type: 'radio', name: 'theme', value: name, checked: name === chosen, 'aria-label': label,
        on: { change: () => choose(name) },
      }), h('span', {}, icon(sign)))));
}

function awayBanner() {
  const banner = h('div', { class: 'away-banner', role: 'alert', hidden: connection.up });
  const text = () => fill(banner, !connection.up && [icon('offline'),
    h('span', {}, h('strong', {}, 'The server does not answer. '), 'Migrations go on by themselves; what is shown may be old. Trying again…')]);
  text();
  let timer = null;
  const ask = () => get('/session').catch(() => {});
  connection.addEventListener('change', () => {
    text();
    show(banner, !connection.up);
    clearInterval(timer);
    timer = connection.up ? null : setInterval(ask, ASK_AGAIN);
  });
  return banner;
}

/** The heading of a page with what can be done there. */
export function heading(title, { above, beside, actions = [], below } = {}) {
  return h('div', { class: 'page-head' },
    above && h('div', { class: 'crumbs' }, above),
    h('div', { class: 'page-title' }, h('h1', { tabindex: '-1' }, title), beside, h('div', { class: 'page-actions' }, actions)),
    below);
}
