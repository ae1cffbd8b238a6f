// Fields with their labels, hints and errors.

import { fill, h, show, uniqueId } from './dom.js';
import { icon } from './icons.js';

/**
 * A labelled field. `control` is an element with a value; `path` names the place in the body that
 * is sent, so that what the server finds wrong is shown here.
 */
export function field({ label, control, hint, path, required }) {
  control.id ||= uniqueId('field');
  const error = h('p', { class: 'field-error', id: `${control.id}-error`, hidden: true });
  const described = [hint && `${control.id}-hint`, error.id].filter(Boolean).join(' ');
  control.setAttribute('aria-describedby', described);
  if (required) {
    control.setAttribute('aria-required', 'true');
  }
  const node = h('div', { class: 'field', 'data-path': path },
    h('label', { for: control.id }, label, required && h('span', { class: 'required', 'aria-hidden': 'true' }, ' *')),
    control,
    hint && h('p', { class: 'hint', id: `${control.id}-hint` }, hint),
    error);
  const setError = (text) => {
    fill(error, text && icon('warning'), text);
    show(error, Boolean(text));
    node.classList.toggle('invalid', Boolean(text));
    if (text) {
      control.setAttribute('aria-invalid', 'true');
    } else {
      control.removeAttribute('aria-invalid');
    }
  };
  control.addEventListener('input', () => setError(''));
  return { node, control, path, setError };
}

/** A line of text. */
export function input(value, onInput, attributes = {}) {
  return h('input', {
    type: 'text', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', value: value ?? '', ...attributes,
    on: { input: (event) => onInput(event.target.value) },
  });
}

/** Several lines of text. */
export function textarea(value, onInput, attributes = {}) {
  return h('textarea', {
    spellcheck: 'false', rows: '3', value: value ?? '', ...attributes,
    on: { input: (event) => onInput(event.target.value) },
  });
}

/** One of a few: `[[value, label]]`. */
export function select(value, choices, onChange, attributes = {}) {
  const node = h('select', { ...attributes, on: { change: (event) => onChange(event.target.value) } },
    choices.map(([choice, label]) => h('option', { value: choice }, label)));
  node.value = value;
  return node;
}

/** A box to tick, with its label beside it. */
export function checkbox({ label, hint, value, onChange, path }) {
  const id = uniqueId('check');
  const control = h('input', {
    type: 'checkbox', id, checked: value, 'aria-describedby': hint ? `${id}-hint` : null,
    on: { change: (event) => onChange(event.target.checked) },
  });
  return h('div', { class: 'check', 'data-path': path }, control,
    h('div', {}, h('label', { for: id }, label), hint && h('p', { class: 'hint', id: `${id}-hint` }, hint)));
}

/** One of a few, each with a sentence that explains it: `[[value, label, hint]]`. */
export function cards(legend, value, choices, onChange, { hideLegend = false } = {}) {
  const name = uniqueId('choice');
  return h('fieldset', { class: 'cards' }, h('legend', { class: hideLegend ? 'visually-hidden' : null }, legend),
    choices.map(([choice, label, hint]) => {
      const id = uniqueId('card');
      return h('div', { class: 'card-choice' },
        h('input', {
          type: 'radio', name, id, value: choice, checked: choice === value, 'aria-describedby': `${id}-hint`,
          on: { change: () => onChange(choice) },
        }),
        h('label', { for: id }, h('span', { class: 'card-title' }, label), h('span', { class: 'hint', id: `${id}-hint` }, hint)));
    }));
}

/** A button; `kind` is primary, plain, danger or bare. */
export function button(label, onClick, { kind = 'plain', sign, type = 'button', ...attributes } = {}) {
  return h('button', { type, class: kind, ...attributes, on: onClick ? { click: onClick } : {} }, sign && icon(sign), label);
}

/** Disables a button while the work runs, and says so to those who listen. */
export async function busy(node, work) {
  node.disabled = true;
  node.setAttribute('aria-busy', 'true');
  try {
    return await work();
  } finally {
    node.disabled = false;
    node.removeAttribute('aria-busy');
  }
}

/** What went wrong, with the remedy, in a box. */
export function problem(error) {
  return h('div', { class: 'callout tone-bad', role: 'alert' }, icon('warning'), h('div', {},
    h('p', { class: 'callout-title' }, 'That did not work'),
    h('p', {}, error.message),
    error.remedy && h('p', { class: 'remedy' }, h('strong', {}, 'What to do: '), error.remedy)));
}

/** A sentence to take note of. */
export function callout(tone, title, ...children) {
  const sign = { info: 'info', warn: 'warning', bad: 'warning', good: 'check' }[tone];
  return h('div', { class: `callout tone-${tone}` }, icon(sign), h('div', {}, title && h('p', { class: 'callout-title' }, title), children));
}

/** What is shown where there is nothing to show. */
export function empty(sign, title, text, action) {
  return h('div', { class: 'empty' }, icon(sign, 'large'), h('p', { class: 'empty-title' }, title), text && h('p', {}, text), action);
}

/** What is shown until the first answer comes. */
export function loading(label = 'Loading') {
  return h('div', { class: 'loading', role: 'status' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), `${label}…`);
}
