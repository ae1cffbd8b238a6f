// Runtime server: who does the work, and so who must be able to reach what.

import { get } from '../api.js';
import { fill, h } from '../dom.js';
import { cards } from '../form.js';
import { bytes, count } from '../format.js';
import { draft } from './draft.js';

/** Builds the step. */
export function runtimeStep({ place, changed, signal }) {
  const picture = h('div', { class: 'topology' });
  const facts = h('dl', { class: 'terms' });
  const explain = h('div', {});
  const draw = () => {
    const server = draft.topology === 'server';
    fill(picture,
      box('Source'), arrow(server ? 'dials' : 'is read by', server), !server && [box('Agent'), arrow('dials', false)],
      box('This server', 'strong'), arrow(server ? 'dials' : 'is dialed by', false), !server && [box('Agent'), arrow('writes', false)], box('Target'));
    fill(explain, server
      ? h('p', {}, 'This server must reach both databases on their ports. No other host is involved.')
      : h('p', {}, 'An agent beside the source and one beside the target dial this server; nothing dials in to either side, and this server gets no password of a database. When the migration is created, you make a token for each agent.'));
  };
  fill(place,
    cards('Where the work is done', draft.topology, [
      ['server', 'This server', 'It reaches both the source and the target.'],
      ['agents', 'Agents at each side', 'Source and target have no way between them, and no way in.'],
    ], (value) => {
      draft.topology = value;
      draw();
      changed();
    }), picture, explain, h('section', {}, h('h3', {}, 'This server'), facts));
  draw();
  get('/host', { signal }).then((host) => fill(facts,
    [['Processors', count(host.processors)], ['Memory', bytes(host.memoryBytes)], ['Free disk', bytes(host.diskFreeBytes)], ['Migrations at a time', count(host.maxRunning)], ['Version', host.version]]
      .map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value)))), () => {});
}

function box(label, kind = '') {
  return h('span', { class: `topology-box ${kind}`.trim() }, label);
}

function arrow(label, back) {
  return h('span', { class: 'topology-arrow' }, back ? '← ' : '→ ', h('span', { class: 'visually-hidden' }, label));
}
