// Shared by all pages: requests to the API, the session, the server's time, streams that tabs share, formats.

const API = "/api/v1";
const SESSION = location.protocol === "https:" ? "secure-cookie" : "cookie";
const WHO = "onsale:who";
const ATTEMPT = "onsale:attempt:";
const RETRY_S_MAX = 8;
const LOST = "The connection was lost.";

/** A request that the API refused (RFC 9457). Its `status` is 0 if no answer came. */
export class Problem extends Error {
  constructor(status, body = {}, retryAfterS = null) {
    super(body.detail || body.title || "The server gave no reason.");
    this.status = status;
    this.code = body.code;
    this.facts = body;
    this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may succeed later, and nothing is known of its effect. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Who is logged in, for show. The session itself is in cookies that scripts cannot read. */
export const account = {
  get() {
    try {
      return JSON.parse(localStorage.getItem(WHO));
    } catch {
      return null;
    }
  },
  remember({ email, role }) {
    localStorage.setItem(WHO, JSON.stringify({ email, role }));
  },
  forget() {
    localStorage.removeItem(WHO);
  },
};

async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  const sent = { Accept: "application/json", ...headers, "Onsale-Session": SESSION };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  try {
    const response = await fetch(API + path, {
      method, headers: sent, signal, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body),
    });
    clock.learn(response.headers);
    return response;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: LOST });
  }
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body, Number(response.headers.get("Retry-After")) || null);
}

/** The answer to a request, with the session refreshed if it has to be; throws a Problem. */
export async function request(path, options) {
  let response = await send(path, options);
  if (response.status === 401 && account.get() && (await refreshed())) response = await send(path, options);
  if (response.ok || response.status === 304) return response;
  throw await problemOf(response);
}

/** The JSON of an answer, null without one; throws a Problem. */
export async function read(path, options) {
  const response = await request(path, options);
  if (response.status === 204) return null;
  return response.json().catch(() => {
    throw new Problem(0, { detail: LOST });
  });
}

/** Refresh the session once for all tabs; false if it is over. */
function refreshed() {
  return alone("onsale:refresh", async () => {
    // Another tab may have refreshed it since. Only the server knows: what a tab stores, others see a little later.
    if ((await send("/me")).status !== 401) return true;
    const response = await send("/auth/refresh_token", { method: "POST" });
    if (response.ok) return true;
    if (response.status !== 401) throw await problemOf(response);
    account.forget();
    return false;
  });
}

/** Run `work` in one tab of the browser at a time, where the browser can (a secure context). */
async function alone(name, work, signal) {
  return navigator.locks ? navigator.locks.request(name, { signal }, work) : work();
}

/** Repeat an action until it has a final answer. `tell(problem, seconds)` is called while it waits. */
export async function untilAnswered(action, tell) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await action();
    } catch (problem) {
      if (!(problem instanceof Problem) || !problem.passing) throw problem;
      await pause(problem.retryAfterS ?? Math.min(2 ** failures, RETRY_S_MAX), (seconds) => tell(problem, seconds));
    }
  }
}

/** Wait, second by second; a connection that comes back ends the wait. */
export async function pause(seconds, tell = () => {}) {
  for (let left = Math.ceil(seconds); left > 0; left -= 1) {
    tell(left);
    const back = await new Promise((resolve) => {
      const online = () => resolve(true);
      addEventListener("online", online, { once: true });
      setTimeout(() => {
        removeEventListener("online", online);
        resolve(false);
      }, 1000);
    });
    if (back) return;
  }
}

/**
 * An account's attempt to book: the same key and body until there is a final answer, also after the page was loaded
 * again, and after a login in between.
 */
export const attempts = {
  of(eventId) {
    const attempt = JSON.parse(sessionStorage.getItem(ATTEMPT + eventId));
    return attempt?.email === account.get()?.email ? attempt : null;
  },
  begin(eventId, body) {
    const attempt = { key: randomKey(), body, email: account.get().email };
    sessionStorage.setItem(ATTEMPT + eventId, JSON.stringify(attempt));
    return attempt;
  },
  end(eventId) {
    sessionStorage.removeItem(ATTEMPT + eventId);
  },
};

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The server's time. Answers have it in milliseconds (`Onsale-Time`) or cut to seconds (`Date`). */
export const clock = {
  aheadMs: null,
  learn(headers) {
    const exact = Number(headers.get("Onsale-Time"));
    const told = exact || Date.parse(headers.get("Date"));
    if (!told) return;
    const aheadMs = told - Date.now();
    // A time that was cut is behind: the largest difference is the nearest.
    if (exact || this.aheadMs === null || aheadMs > this.aheadMs) this.aheadMs = aheadMs;
  },
  nowMs() {
    return Date.now() + (this.aheadMs ?? 0);
  },
};

/** Call `tell` with the time left in each second until a moment of the server's clock; then call `over`. */
export function countdown(moment, tell, over) {
  const endMs = Date.parse(moment);
  const step = () => {
    const leftMs = endMs - clock.nowMs();
    if (leftMs <= 0) {
      clearInterval(timer);
      over();
    } else tell(duration(leftMs));
  };
  const timer = setInterval(step, 250);
  step();
  return () => clearInterval(timer);
}

function duration(ms) {
  const all = Math.ceil(ms / 1000);
  const [days, hours, minutes, seconds] = [all / 86400, (all / 3600) % 24, (all / 60) % 60, all % 60].map(Math.floor);
  const two = (number) => String(number).padStart(2, "0");
  if (days) return `${days} ${days === 1 ? "day" : "days"} ${hours} h`;
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/**
 * Follow something in one tab for all tabs of the browser. The tab that holds the lock calls `follow(tell, signal)`;
 * every tab receives what it tells, until `receive` returns true. It ends when the page is left or out of sight, and
 * begins again when it is seen again: a browser has six connections to a host, and streams of six tabs would take all.
 */
export function shared(name, follow, receive) {
  const channel = new BroadcastChannel(name);
  let leaving = null;
  let over = false;
  const take = (data) => {
    over = receive(data) === true;
    if (over) end();
  };
  const begin = () => {
    if (leaving || over || document.hidden) return;
    leaving = new AbortController();
    const { signal } = leaving;
    const tell = (data) => {
      channel.postMessage(data);
      take(data);
    };
    alone(name, () => follow(tell, signal), signal).catch((error) => {
      if (!signal.aborted) throw error;
    });
  };
  const end = () => {
    leaving?.abort();
    leaving = null;
  };
  channel.onmessage = ({ data }) => take(data);
  addEventListener("pagehide", end);
  addEventListener("pageshow", begin);
  document.addEventListener("visibilitychange", () => (document.hidden ? end() : begin()));
  begin();
}

/**
 * The server-sent events of a path, with fetch: an EventSource could not send the session's header field.
 * `retry(seconds)` is called with the time after which to come back when the stream has ended.
 */
export async function* stream(path, { signal, lastId, retry = () => {} }) {
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const response = await request(path, { headers, signal });
  if (response.status === 204) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (fields.retry) retry(Number(fields.retry) / 1000);
      if (fields.data) yield { id: fields.id, data: JSON.parse(fields.data) };
    }
  }
}

/** An element with attributes and children; text is never read as HTML. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** A message in place of what an element has; none empties it. */
export function say(element, tone, headline, text = "") {
  element.replaceChildren(...(headline ? [el("div", { class: `note ${tone}` }, el("strong", {}, headline), text)] : []));
}

/** Say that an action waits to be repeated. */
export function sayWaiting(element, problem, seconds) {
  if (problem.status === 429) say(element, "warn", "Too many requests", `Trying again in ${seconds} s.`);
  else if (problem.status === 0) say(element, "warn", "The connection was lost", `Trying again in ${seconds} s. You will not book twice.`);
  else say(element, "", "One moment", "The service is busy. Your request is repeated by itself.");
}

/**
 * A moment in the language of the browser: `local`, the time at the venue as the API has it, or else `text` in the time
 * of the browser. Nothing is converted to another zone here, because the rules of browsers differ.
 */
export function moment(text, local, length = "long") {
  const date = length === "long" ? { weekday: "long", day: "numeric", month: "long", year: "numeric" } : { weekday: "short", day: "numeric", month: "short" };
  const options = { ...date, hour: "numeric", minute: "2-digit" };
  return new Intl.DateTimeFormat(undefined, { ...options, timeZone: local ? "UTC" : undefined }).format(new Date(local ? `${local}Z` : text));
}

export function localize(root = document) {
  for (const time of root.querySelectorAll("time[data-zone]")) {
    time.textContent = moment(time.dateTime, time.dataset.local, time.dataset.length);
  }
  for (const price of root.querySelectorAll("data.money")) {
    price.textContent = money(Number(price.value), price.dataset.currency, Number(price.dataset.decimals));
  }
}

/** The class of an event's colour. */
export const hue = (eventId) => `hue-${parseInt(eventId.slice(0, 2), 16) % 6}`;

/** An amount of minor units. The API says how many decimals a currency has; the browser's own table may differ. */
export function money(minor, currency, decimals = 2) {
  if (!minor) return "Free";
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return new Intl.NumberFormat(undefined, { style: "currency", currency, ...digits }).format(minor / 10 ** decimals);
}

/** The address to log in at, which leads back to this page. */
export function entrance(next = location.pathname + location.search, page = "/login") {
  return `${page}?${new URLSearchParams({ next })}`;
}

async function logOut() {
  try {
    await request("/auth/logout", { method: "POST" });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
  }
  account.forget();
  location.assign("/");
}

function showAccount() {
  const who = account.get();
  if (!who) return;
  const out = el("button", { class: "plain", type: "button", onclick: () => logOut().catch((problem) => { out.textContent = problem.message; }) }, "Log out");
  byId("account").replaceChildren(el("span", { class: "who", title: who.email }, who.email), out);
}

showAccount();
localize();
addEventListener("storage", ({ key, newValue }) => {
  if (key !== WHO) return;
  if (newValue) showAccount();
  else location.reload();
});
