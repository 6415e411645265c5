// What every component is built with: Preact and htm, and the two things that they lack here.

import { Component, html } from "./vendor/htm-preact.js";

export { Component, html, render, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";

/** A component that is drawn anew only when one of its arguments is another object. */
export function memo(View) {
  return class Memo extends Component {
    shouldComponentUpdate(next) {
      const names = new Set([...Object.keys(this.props), ...Object.keys(next)]);
      return [...names].some((name) => this.props[name] !== next[name]);
    }

    render(props) {
      return View(props);
    }
  };
}

/** Text for screen readers alone. */
export const Hidden = ({ children }) => html`<span class="hidden">${children}</span>`;
