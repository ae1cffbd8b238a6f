// A chart of one value over time, drawn as SVG. The pointer or the arrow keys read single points.

import { fill, h, s, setText } from './dom.js';
import { clockTime } from './format.js';

const HEIGHT = 132;
const MARGIN = { left: 56, right: 8, top: 10, bottom: 20 };
/** Points more than this are thinned: no screen shows them. */
const MOST = 600;

/** Steps of an axis in tens, or in powers of two for bytes. */
function niceStep(span, binary) {
  const rough = span / 3;
  if (rough <= 0) {
    return 1;
  }
  if (binary) {
    // In the unit of the highest value, or halves of it.
    const unit = 1024 ** Math.max(0, Math.floor(Math.log(span) / Math.log(1024)));
    const scaled = rough / unit;
    const step = [0.5, 1, 2, 5, 10, 20, 50, 100, 200].find((value) => value >= scaled) ?? 500;
    return step * unit;
  }
  const unit = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5].find((value) => value * unit >= rough) ?? 10) * unit;
}

/**
 * A chart. `format` turns a value into text, `axis` one of the axis; `binary` chooses steps for
 * bytes; `most` fixes the top. `set` takes `[[milliseconds, value]]` in the order of time.
 */
export function chart({ title, format, axis = format, binary = false, most }) {
  const drawing = s('svg', { class: 'chart-drawing', 'aria-hidden': 'true' });
  const latest = h('span', { class: 'chart-latest' });
  const readout = h('span', { class: 'visually-hidden', 'aria-live': 'polite' });
  const tip = h('div', { class: 'chart-tip', hidden: true });
  const area = h('div', {
    class: 'chart-area', tabindex: '0', role: 'img', 'aria-label': `${title} over time; arrow keys read points`,
  }, drawing, tip);
  const node = h('figure', { class: 'chart' },
    h('figcaption', {}, h('span', {}, title), latest), area, readout);

  let points = [];
  let cursor = null;
  let width = 0;
  let place = null;

  function draw() {
    if (width >= 80) {
      drawAll();
      tell();
    }
  }

  function drawAll() {
    drawing.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute('width', width);
    drawing.setAttribute('height', HEIGHT);
    const right = width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    if (points.length < 2) {
      place = null;
      fill(drawing, s('text', { x: width / 2, y: HEIGHT / 2, class: 'chart-empty', 'text-anchor': 'middle' }, 'No data yet'));
      return;
    }
    const from = points[0][0];
    const to = points[points.length - 1][0];
    const highest = points.reduce((top, [, value]) => Math.max(top, value), 0);
    const step = most ? most / 4 : niceStep(highest || 1, binary);
    const top = most ?? Math.max(step, Math.ceil(highest / step) * step);
    const x = (time) => MARGIN.left + (right - MARGIN.left) * (time - from) / Math.max(1, to - from);
    const y = (value) => bottom - (bottom - MARGIN.top) * value / top;
    place = { x, y };

    const grid = [];
    for (let value = 0; value <= top * 1.0001; value += most ? most / 2 : step) {
      grid.push(s('line', { x1: MARGIN.left, x2: right, y1: y(value), y2: y(value), class: 'chart-grid' }));
      grid.push(s('text', { x: MARGIN.left - 6, y: y(value) + 4, 'text-anchor': 'end' }, axis(value)));
    }
    const times = width > 420 ? [0, 0.5, 1] : [0, 1];
    for (const share of times) {
      const time = from + (to - from) * share;
      const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
      grid.push(s('text', { x: x(time), y: HEIGHT - 4, 'text-anchor': anchor }, clockTime(time)));
    }
    const line = points.map(([time, value]) => `${x(time).toFixed(1)} ${y(Math.min(value, top)).toFixed(1)}`).join('L');
    fill(drawing, grid,
      s('path', { d: `M${x(from)} ${bottom}L${line}L${x(to)} ${bottom}Z`, class: 'chart-fill' }),
      s('path', { d: `M${line}`, class: 'chart-line' }),
      cursor !== null && points[cursor] && mark(points[cursor]));
  }

  function mark([time, value]) {
    const { x, y } = place;
    return s('g', { class: 'chart-cursor' },
      s('line', { x1: x(time), x2: x(time), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
      s('circle', { cx: x(time), cy: y(value), r: 3.5 }));
  }

  function point(index, aloud) {
    cursor = index;
    draw();
    if (aloud && !tip.hidden) {
      setText(readout, tip.textContent);
    }
  }

  function tell() {
    const chosen = cursor === null ? null : points[cursor];
    tip.hidden = !chosen || !place;
    if (tip.hidden) {
      return;
    }
    const [time, value] = chosen;
    setText(tip, `${format(value)} at ${clockTime(time)}`);
    const left = Math.min(Math.max(place.x(time), 70), width - 70);
    tip.style.setProperty('left', `${left}px`);
  }

  area.addEventListener('pointermove', (event) => {
    if (!place) {
      return;
    }
    const at = event.clientX - area.getBoundingClientRect().left;
    let best = 0;
    for (let index = 1; index < points.length; index += 1) {
      if (Math.abs(place.x(points[index][0]) - at) < Math.abs(place.x(points[best][0]) - at)) {
        best = index;
      }
    }
    point(best, false);
  });
  area.addEventListener('pointerleave', () => point(null, false));
  area.addEventListener('blur', () => point(null, false));
  area.addEventListener('keydown', (event) => {
    const last = points.length - 1;
    const now = cursor ?? last;
    const next = {
      ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last, PageUp: now - 20, PageDown: now + 20,
    }[event.key];
    if (next === undefined || last < 0) {
      return;
    }
    event.preventDefault();
    point(Math.min(last, Math.max(0, next)), true);
  });
  new ResizeObserver(([entry]) => {
    width = Math.floor(entry.contentRect.width);
    draw();
  }).observe(area);

  return {
    node,
    set(all) {
      points = thin(all);
      if (cursor !== null && cursor >= points.length) {
        cursor = null;
      }
      setText(latest, points.length > 0 ? format(points[points.length - 1][1]) : '');
      draw();
    },
  };
}

/** At most [`MOST`] points: the mean of each group, so that no spike is made up. */
function thin(all) {
  if (all.length <= MOST) {
    return all;
  }
  const size = Math.ceil(all.length / MOST);
  const thinned = [];
  for (let start = 0; start < all.length; start += size) {
    const group = all.slice(start, start + size);
    const mean = group.reduce((sum, [, value]) => sum + value, 0) / group.length;
    thinned.push([group[group.length - 1][0], mean]);
  }
  return thinned;
}
