// Numbers, durations and dates as people read them. Pure: `now` is an argument.

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });

/** 1240 → "1,240", 3.14 → "3.1", 0 → "0", nothing known → "–". */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) < 0.05) return "<0.1";
  return Math.abs(value) < 9.95 && !Number.isInteger(value) ? TENTHS.format(value) : WHOLE.format(value);
}

/** Milliseconds with a unit: "2.4 ms", "1.2 s". */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${TENTHS.format(value / 1000)} s` : `${number(value)} ms`;
}

/** A share with as many nines as it deserves, never rounded up to 100: 0.99987 → "99.98 %". */
export function share(value) {
  if (value === null || value === undefined) return "–";
  if (value === 1) return "100 %";
  const digits = value > 0.9999 ? 3 : value > 0.99 ? 2 : 1;
  const scale = 10 ** digits;
  return `${(Math.floor(value * 100 * scale) / scale).toFixed(digits)} %`;
}

/** A whole per cent, for parts of a sum. */
export function part(value) {
  return value > 0 && value < 0.01 ? "<1 %" : `${Math.round(value * 100)} %`;
}

/** Seconds as a duration: "now", "8 s", "3 min", "2 h", "5 d". */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 90 * 60) return `${Math.round(s / 60)} min`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/** How long ago a date was. */
export function ago(iso, now) {
  const seconds = (now - Date.parse(iso)) / 1000;
  return seconds < 1 ? "just now" : `${duration(seconds)} ago`;
}

/** How long something has lasted. */
export function lasting(iso, now) {
  return `for ${duration((now - Date.parse(iso)) / 1000)}`;
}

/** Whole seconds until a date, never less than 0. */
export function secondsUntil(iso, now) {
  return Math.max(0, Math.ceil((Date.parse(iso) - now) / 1000));
}

export const clock = (iso) => CLOCK.format(new Date(iso));
export const day = (iso) => DAY.format(new Date(iso));

/** "1 backend", "2 backends". */
export const count = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

/** snake_case → words. */
export const words = (name) => String(name).replaceAll("_", " ");

/** A quantity of seconds as it was measured: 0.412 → "0.41 s". */
export const measured = (seconds) => (seconds < 10 ? `${seconds.toFixed(2)} s` : duration(seconds));
