// Builds the document. Text only ever becomes text: nothing here parses markup, so a name that
// looks like markup is a name.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element. `on` holds listeners; a property that is null, undefined or false is left out. */
export function h(tag, properties, ...children) {
  return build(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function s(tag, properties, ...children) {
  return build(document.createElementNS(SVG, tag), properties, children);
}

function build(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === 'on') {
      for (const [type, listener] of Object.entries(value)) {
        node.addEventListener(type, listener);
      }
    } else if (name === 'value' || name === 'checked' || name === 'disabled') {
      node[name] = value;
    } else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) {
      node.append(child);
    }
  }
}

/** Puts these children in the place of all that a node has. */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
  return node;
}

/** Sets a text, and touches the document only if it is another one. */
export function setText(node, text) {
  const string = String(text);
  if (node.textContent !== string) {
    node.textContent = string;
  }
}

/** Shows or hides a node. */
export function show(node, visible) {
  node.hidden = !visible;
}

/**
 * Keeps the children of a node in step with a list, so that what has the focus keeps it.
 * `create` makes `{node, update}` for an item; `update` is called with every later state of it.
 */
export function keyed(parent, key, create) {
  const entries = new Map();
  return (items) => {
    const present = new Set();
    let place = parent.firstChild;
    for (const item of items) {
      const name = key(item);
      present.add(name);
      let entry = entries.get(name);
      if (!entry) {
        entry = create(item);
        entries.set(name, entry);
      }
      entry.update(item);
      if (entry.node === place) {
        place = place.nextSibling;
      } else {
        parent.insertBefore(entry.node, place);
      }
    }
    for (const [name, entry] of entries) {
      if (!present.has(name)) {
        entry.node.remove();
        entries.delete(name);
      }
    }
  };
}

let last = 0;

/** An id that no other element of the page has. */
export function uniqueId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
