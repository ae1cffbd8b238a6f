// The agents that have dialed this server, and tokens for more.

import { get } from './api.js';
import { fill, h, keyed, setText, show } from './dom.js';
import { empty, loading, problem, select } from './form.js';
import { between, bytes, count, duration } from './format.js';
import { every } from './live.js';
import { href } from './router.js';
import { may } from './session.js';
import { heading } from './shell.js';
import { ended, plainBadge } from './state.js';
import { tokens } from './tokens.js';

/** How often the agents are asked for, in milliseconds. */
const AGAIN = 3000;

/** Opens the page. */
export function agentsPage({ main, setTitle, signal }) {
  setTitle('Agents');
  const failed = h('div', {});
  const waiting = loading();
  const body = h('tbody');
  const rows = keyed(body, (agent) => agent.agentId, row);
  const list = h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('caption', { class: 'visually-hidden' }, 'Agents'),
    h('thead', {}, h('tr', {}, [['Host'], ['State'], ['Side'], ['Migration'], ['Processors', 'number'], ['Memory', 'number'], ['Version'], ['Last heard of', 'number']]
      .map(([label, kind]) => h('th', { scope: 'col', class: kind }, label)))), body));
  const none = empty('agents', 'No agent has dialed in', 'Agents are for a source and a target that this server cannot reach. Create a migration whose runtime server is “Agents at each side”, and make a token for each.');
  const making = h('section', {});
  show(none, false);
  show(list, false);
  fill(main, heading('Agents'), failed, waiting, none, list, may('operator') && making);

  every(AGAIN, async () => {
    const answer = await get('/agents', { signal });
    const agents = answer?.value ?? [];
    fill(failed);
    show(waiting, false);
    show(none, agents.length === 0);
    show(list, agents.length > 0);
    rows(agents);
  }, (error) => {
    show(waiting, false);
    if (!error.away) {
      fill(failed, problem(error));
    }
  }, signal);

  if (may('operator')) {
    get('/migrations?filter=active', { signal }).then((answer) => {
      const names = (answer?.value ?? []).filter((m) => m.topology === 'agents' && !ended(m)).map((m) => m.name);
      if (names.length === 0) {
        return;
      }
      const place = h('div', {}, tokens(names[0]));
      fill(making, h('h2', {}, 'Tokens'), h('div', { class: 'row' }, h('span', {}, 'Migration'),
        select(names[0], names.map((name) => [name, name]), (name) => fill(place, tokens(name)), { 'aria-label': 'Migration' })), place);
    }, () => {});
  }
}

function row(agent) {
  const state = h('td', {});
  const seen = h('td', { class: 'number nowrap' });
  let drawn = '';
  return {
    node: h('tr', {}, h('th', { scope: 'row' }, agent.host ?? agent.agentId), state, h('td', {}, agent.side),
      h('td', {}, agent.migration ? h('a', { href: href('migrations', agent.migration) }, agent.migration) : '–'),
      h('td', { class: 'number' }, count(agent.processors)), h('td', { class: 'number nowrap' }, bytes(agent.memory)), h('td', {}, agent.version ?? '–'), seen),
    update(now) {
      if (drawn !== now.state) {
        drawn = now.state;
        fill(state, plainBadge(now.state));
      }
      setText(seen, now.lastSeen ? `${duration(between(now.lastSeen))} ago` : '–');
    },
  };
}
