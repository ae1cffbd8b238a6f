// Shows the Markdown that pghaul's reports are written in: headings, paragraphs, lists, tables,
// blocks of code, and within a line code and bold. Everything else is shown as it stands; nothing
// of it becomes markup.

import { h } from './dom.js';

/** The elements of a text. */
export function markdown(text) {
  const lines = text.split('\n');
  const blocks = [];
  let at = 0;
  const take = (fits) => {
    const taken = [];
    while (at < lines.length && fits(lines[at])) {
      taken.push(lines[at]);
      at += 1;
    }
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,6}) (.*)$/.exec(line);
    if (line.trim() === '') {
      at += 1;
    } else if (heading) {
      at += 1;
      // The page has its own first headings.
      blocks.push(h(`h${Math.min(6, heading[1].length + 1)}`, {}, inline(heading[2])));
    } else if (FENCE.test(line)) {
      // A fence is as long as it must be for what is in it, and as far to the right as its list.
      const [, indent, fence] = FENCE.exec(line);
      at += 1;
      const code = take((next) => next.trim() !== fence);
      at += 1;
      const strip = (next) => (next.startsWith(indent) ? next.slice(indent.length) : next);
      blocks.push(h('pre', { class: indent ? 'command indented' : 'command', tabindex: '0' }, code.map(strip).join('\n')));
    } else if (line.startsWith('|')) {
      blocks.push(table(take((next) => next.startsWith('|'))));
    } else if (ITEM.test(line)) {
      blocks.push(list(take((next) => ITEM.test(next) || (/^ {2,}\S/.test(next) && !FENCE.test(next)))));
    } else {
      blocks.push(h('p', { class: /^\s{2}/.test(line) ? 'indented' : null }, inline(take((next) => next.trim() !== '' && !/^(#{1,6} |\|)/.test(next) && !FENCE.test(next) && !ITEM.test(next)).map((next) => next.trim()).join(' '))));
    }
  }
  return blocks;
}

const ITEM = /^\s*(?:[-*]|\d+\.) /;
const FENCE = /^(\s*)(`{3,})/;

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (ITEM.test(line)) {
      items.push(line.replace(ITEM, ''));
    } else {
      items[items.length - 1] += ` ${line.trim()}`;
    }
  }
  // What stands between two items of a list divides it; the numbers go on.
  const start = /^\s*(\d+)/.exec(lines[0])?.[1];
  return h(start ? 'ol' : 'ul', { start }, items.map((item) => h('li', {}, inline(item))));
}

/** The cells of a row; a bar after a backslash is a bar. */
function cells(line) {
  return line.replace(/^\||\|\s*$/g, '').split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function table(lines) {
  const [head, rule = '', ...rows] = lines;
  const numeric = cells(rule).map((cell) => /-:$/.test(cell));
  const kind = (index) => (numeric[index] ? 'number' : null);
  return h('div', { class: 'scroll-x' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, cells(head).map((cell, index) => h('th', { scope: 'col', class: kind(index) }, inline(cell))))),
    h('tbody', {}, rows.map((row) => h('tr', {}, cells(row).map((cell, index) => h('td', { class: kind(index) }, inline(cell))))))));
}

/** Code between backticks, of which the longest run wins, and bold between two asterisks. */
function inline(text) {
  const parts = [];
  let rest = text;
  while (rest) {
    const match = /(`+)(.+?)\1(?!`)|\*\*(.+?)\*\*/.exec(rest);
    if (!match) {
      parts.push(unescape(rest));
      break;
    }
    parts.push(unescape(rest.slice(0, match.index)));
    parts.push(match[2] === undefined ? h('strong', {}, unescape(match[3])) : h('code', {}, match[2].replace(/^ (.+) $/, '$1')));
    rest = rest.slice(match.index + match[0].length);
  }
  return parts;
}

const ENTITIES = { lt: '<', gt: '>', amp: '&', quot: '"' };

/** What was escaped so that it is no markup. */
function unescape(text) {
  return text.replace(/\\([!-/:-@[-`{-~])/g, '$1').replace(/&(lt|gt|amp|quot);/g, (_, name) => ENTITIES[name]);
}
