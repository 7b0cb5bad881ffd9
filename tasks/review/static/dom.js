// The page's elements by their id, and making new ones.

export const byId = (id) => document.getElementById(id);

/** An element of a tag with some of its properties set, holding `children` (elements or text). */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
