// The page of the three examples: makes calls by cookie and by token, and shows what came back in plain words.
// Tokens live in this module's memory only. Whatever a server says reaches the page as text, never as markup.

const KEPT = 100; // log entries
const OPEN = new Set(["/auth/login", "/auth/token"]); // these ask for no credential, so no token is sent there
const SHOWN = ["WWW-Authenticate", "Cache-Control", "Vary", "Retry-After", "Allow", "Content-Type"];
const PASSWORDS = { alice: "wonderland", bob: "builder" };
const NOBODY = { user: null, session: null, askedAt: null, ended: "" };
const NO_TOKENS = { access: null, refresh: null, old: null, claims: null, firstUse: null };
const ways = { cookie: { ...NOBODY }, token: { ...NOBODY, ...NO_TOKENS } };
let skew = 0; // seconds by which the server's clock is ahead of ours
let stream = null;
let socket = null;

const now = () => Date.now() / 1000 + skew;
const at = (path) => new URL(`.${path}`, document.baseURI);
const card = (id) => document.querySelector(id in ways ? `.way[data-way="${id}"]` : `#${id}`);
const part = (name, root = document) => root.querySelector(`[data-part="${name}"]`);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();
const moment = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const short = (text) => (text.length > 16 ? `${text.slice(0, 10)}… (${text.length} characters)` : "…");
const took = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children); // strings become text nodes
  return element;
}

function left(until) {
  if (!Number.isFinite(until)) return "not known";
  const s = Math.floor(until - now());
  if (s <= 0) return "over";
  if (s >= 86400) return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  if (s >= 3600) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
}

// ---- one call

/** Make a call with what `way` has, show it in the log and in `show`, follow what it means, and return it. */
async function call(way, method, path, { json, form, show, auto = false, says } = {}) {
  const headers = new Headers();
  const sent = way === "token" && !OPEN.has(path) ? ways.token.access : null;
  if (sent) headers.set("Authorization", `Bearer ${sent}`);
  if (json !== undefined) headers.set("Content-Type", "application/json");
  const body = form ? new URLSearchParams(form) : json === undefined ? undefined : JSON.stringify(json);
  const answer = { way, method, path, auto, sent, asked: form ?? json, time: now(), status: 0, headers: [], body: null };
  const began = performance.now();
  try {
    const credentials = way === "cookie" ? "same-origin" : "omit";
    const response = await fetch(at(path), { method, headers, body, credentials, cache: "no-store" });
    const text = await response.text();
    answer.status = response.status;
    answer.headers = SHOWN.map((name) => [name, response.headers.get(name)]).filter(([, value]) => value !== null);
    answer.retry = response.headers.get("Retry-After");
    answer.body = parse(text);
    const ahead = Date.parse(response.headers.get("Date") ?? "") / 1000 - Date.now() / 1000;
    if (Number.isFinite(ahead)) skew = Math.abs(ahead) < 2 ? 0 : ahead; // a Date header knows whole seconds only
  } catch (error) {
    answer.body = String(error);
  }
  answer.ms = performance.now() - began;
  answer.tone = answer.status === 0 || answer.status >= 500 ? "bad" : answer.status < 400 ? "good" : "no";
  answer.says = says?.(answer) ?? explain(answer);
  log(answer);
  if (show) part("answer", show).replaceChildren(headline(answer), sentence(answer), details(answer));
  await follow(answer);
  return answer;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text.slice(0, 4000);
  }
}

/** What an answer changes in what we know of who is logged in. */
async function follow({ way, path, sent, status, body }) {
  const state = ways[way];
  if (sent && sent === state.access && status > 0 && status < 500 && status !== 401) state.firstUse ??= now();
  if (status === 200 && (path === "/auth/me" || (path === "/auth/login" && body.session))) {
    Object.assign(state, { user: body.user, session: body.session, askedAt: now(), ended: "" });
  } else if (way === "token" && status === 401 && body?.error === "invalid_token" && sent === state.access) {
    if (!/expired|out of date/.test(body.error_description)) end("token", `${body.error_description}.`);
  } else if (way === "cookie" && status === 401 && body?.error === "login_required") {
    if (body.reason) end("cookie", body.reason === "expired" ? "The session has expired." : "The session was ended.");
    else Object.assign(state, NOBODY);
  } else if (way === "cookie" && status === 200 && ["/public", "/private", "/admin"].includes(path)) {
    const known = state.ended ? null : (state.user?.id ?? null);
    if ((body?.user ?? null) !== known) await me("cookie");
  }
  paint(way);
}

const me = (way) => call(way, "GET", "/auth/me", { auto: true });

function end(way, why) {
  if (ways[way].user) ways[way].ended ||= why; // the first reason stands
}

// ---- in plain words

const REFUSED = {
  login_required: ({ reason }) => {
    if (reason === "expired") return "Refused: this session has expired. Log in again.";
    if (reason === "ended") return "Refused: this session was ended. Log in again.";
    return "Refused: somebody must be logged in here, and nobody is.";
  },
  invalid_token: ({ error_description: why }) =>
    `Refused: ${why}. ${/expired|out of date/.test(why) ? "Refresh, and it goes on." : "Only a new login helps."}`,
  invalid_credentials: () => "The user name or the password is wrong. Which is not said, so nobody learns who has an account.",
  invalid_grant: () => "Refused: a wrong user name or password, or a refresh token that is over or used.",
  invalid_scope: () => "Refused: this asks for more than the user has, or than was granted at login.",
  unsupported_grant_type: () => "The password grant is off here; JWT logins go through POST /auth/login with mode jwt.",
  insufficient_scope: (_, way) =>
    `Known, but not allowed: the scope that this needs is missing. ${way === "token" ? "Get a token as bob." : "Log in as bob."}`,
  insufficient_user_authentication: () => "Refused: this needs a recent login. Log in again, then repeat.",
  cross_origin: () => "Refused as a request from another site. Is the page open under the server's own address?",
  not_found: () => "There is nothing of that name, or nothing of yours.",
  too_many_requests: () => "Too many tries.",
  unavailable: () => "The server cannot look up who is calling right now, so it lets nobody in.",
};

function explain({ way, method, path, status, body, retry }) {
  const wait = retry ? ` Try again in ${retry} s.` : "";
  if (status === 0) return "No answer: the server is not running, or the connection broke.";
  if (path.startsWith("/data/") && way === "token" && status === 400) {
    return "Refused: session data goes with a cookie; a token has nowhere to put it.";
  }
  if (status >= 400) {
    const why = body && Object.hasOwn(REFUSED, body.error) ? REFUSED[body.error](body, way) : body?.error_description;
    return (why ?? `The server answered ${status}.`) + wait;
  }
  if (["/public", "/private", "/admin"].includes(path)) {
    return body?.user ? `Let in: ${body.user}, by ${body.backend === "jwt" ? "token" : "cookie"}.` : "Let in as nobody.";
  }
  if (path === "/auth/me") return "This is who you are to the server.";
  if (path === "/auth/login") return "Logged in: a new session, and the browser has its cookie.";
  if (path === "/auth/token") return "Here are the tokens: an access token to call with, a refresh token to get the next.";
  if (path === "/auth/logout") return "Logged out: the session is over, at the server too.";
  if (path === "/data") return Object.keys(body ?? {}).length ? "This is in the session." : "No data here.";
  if (path.startsWith("/data/")) return "Saved in the session.";
  if (path === "/auth/sessions") return method === "GET" ? "All sessions of this user." : "All other sessions are over.";
  return method === "DELETE" ? "This session is over." : "Done.";
}

const CLAIMS = {
  iss: "who made it", sub: "the user's id", aud: "whom it is for", exp: "good until", nbf: "good from", iat: "made at",
  jti: "its own id", client_id: "which program got it", sid: "the session it belongs to", scope: "what it may do",
  auth_time: "when the user logged in", amr: "how: pwd is a password", acr: "how sure that login was", ver: "the user's revision",
};
const TIMES = new Set(["exp", "nbf", "iat", "auth_time"]);

/** The claims of a JWT, unverified: to look at, nothing else. */
function claims(token) {
  const binary = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(binary, (c) => c.charCodeAt(0))));
}

// ---- showing

const badge = ({ status, tone, label }) => make("span", { class: `status ${tone}` }, label ?? (status || "no answer").toString());
const sentence = ({ says, tone }, tag = "p") => make(tag, { class: `says ${tone}` }, says);
function headline(entry, tag = "p") {
  const what = make("code", {}, entry.method ? `${entry.method} ${entry.path}` : entry.path);
  const time = entry.ms === undefined ? [] : [make("span", { class: "ms" }, took(entry.ms))];
  return make(tag, { class: "headline" }, badge(entry), what, ...time);
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value, veil, 2));

function veil(key, value) {
  if (key === "password" && value) return "••••••";
  return ["access_token", "refresh_token"].includes(key) && typeof value === "string" ? short(value) : value;
}

function details({ way, sent, asked, headers, body }) {
  const rows = [];
  if (sent) rows.push(["→ Authorization", `Bearer ${short(sent)}`]);
  rows.push(["→ Cookie", way === "cookie" ? "added by the browser, if it has one" : "left out on purpose"]);
  rows.push(...headers);
  if (way === "cookie") rows.push(["Set-Cookie", "browsers hide it from scripts: see the developer tools, Network"]);
  const list = make("dl", { class: "headers" });
  for (const [name, value] of rows) list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  const block = (title, value) => [make("p", { class: "hint" }, title), make("pre", { tabindex: "0" }, text(value))];
  const box = make("div", { class: "details" }, list);
  if (asked !== undefined) box.append(...block("Body sent", asked));
  if (body !== "" && body !== null) box.append(...block("Body of the answer", body));
  return box;
}

function log(entry) {
  const who = entry.way === "token" && !entry.sent && !OPEN.has(entry.path) ? "nobody" : entry.way;
  const foot = make("span", { class: "foot" }, `${clock(entry.time)} · ${who}${entry.auto ? " · by the page itself" : ""}`);
  const summary = make("summary", {}, headline(entry, "span"), sentence(entry, "span"), foot);
  const more = entry.method ? details(entry) : make("p", { class: "hint" }, entry.more);
  const list = part("log");
  list.prepend(make("li", {}, make("details", {}, summary, more)));
  while (list.children.length > KEPT) list.lastElementChild.remove();
  part("log-empty").hidden = true;
}

/** Something that happened on a live connection. */
const happened = (path, label, tone, says, more) => log({ way: "cookie", path, label, tone, says, more, time: now() });

/** Show who is logged in on one side. */
function paint(way) {
  const state = ways[way];
  const root = card(way);
  const somebody = Boolean(state.user) && !state.ended;
  const fact = (name, value) => {
    const element = root.querySelector(`[data-fact="${name}"]`);
    if (element) element.textContent = value;
  };
  root.dataset.standing = somebody ? "somebody" : state.ended ? "ended" : "nobody";
  fact("chip", somebody ? state.user.display_name : state.ended ? "ended" : "nobody");
  part("login", root).hidden = somebody;
  part("somebody", root).hidden = !somebody;
  part("clear", root).hidden = !state.user;
  part("notice", root).hidden = !state.ended;
  part("notice", root).textContent = `${state.ended} The page still sends what it has, so that you can see it refused.`;
  if (somebody) {
    const { user, session, claims: said } = state;
    const scopes = said ? (said.scope ?? "").split(" ").filter(Boolean) : user.scopes;
    fact("user", user.display_name === user.id ? user.id : `${user.display_name} (${user.id})`);
    fact("scopes", scopes.join(", ") || "none");
    fact("sid", session?.id ?? said.sid);
    fact("since", session ? moment(session.authenticated_at) : "");
    const until = { idle: session?.idle_expires_at, end: session?.expires_at, access: said?.exp };
    for (const element of root.querySelectorAll("[data-until]")) element.dataset.at = until[element.dataset.until];
  }
  if (way === "token") paintClaims(root);
  tick();
}

function paintClaims(root) {
  const { user, claims: said, ended, old } = ways.token;
  part("claims", root).hidden = !said;
  root.querySelector('[data-action="refresh"]').hidden = Boolean(ended);
  root.querySelector('[data-action="replay"]').setAttribute("aria-disabled", String(!old));
  part("replay-hint", root).hidden = !user || Boolean(ended);
  part("claims-body", root).replaceChildren(
    ...Object.entries(said ?? {}).map(([name, value]) => {
      const plain = typeof value === "string" ? value : JSON.stringify(value);
      const shown = TIMES.has(name) ? `${plain} (${clock(value)})` : plain;
      const meaning = Object.hasOwn(CLAIMS, name) ? CLAIMS[name] : "";
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, shown), make("td", {}, meaning));
    }),
  );
}

function replayHint({ old, firstUse }) {
  if (!old) return "A refresh token is used once. Refresh, and the one before is old: then try it again here.";
  if (firstUse === null) {
    return "The new tokens are unused yet, so the old one gets the same successor again: a lost answer does no harm.";
  }
  const ago = Math.round(now() - firstUse);
  const grace = "For ten seconds (unless set otherwise) the old one still gets the same successor.";
  const theft = "The grace of ten seconds (unless set otherwise) is over: now the old one is theft, and ends the whole session.";
  return `The new tokens were first used ${ago} s ago. ${ago < 10 ? grace : theft}`;
}

function tick() {
  for (const element of document.querySelectorAll("[data-at]")) element.textContent = left(Number(element.dataset.at));
  for (const way of Object.keys(ways)) {
    const asked = ways[way].askedAt;
    const ago = asked === null ? "" : `As /auth/me said ${Math.max(0, Math.round(now() - asked))} s ago; asking it is no activity.`;
    card(way).querySelector('[data-fact="asked"]').textContent = ago;
  }
  part("replay-hint").textContent = replayHint(ways.token);
}

// ---- what the buttons do

/** Take new tokens; `spent` is the refresh token that brought them. */
function take(body, spent = null) {
  const state = ways.token;
  if (spent === null) Object.assign(state, NOBODY, NO_TOKENS);
  if (body.refresh_token !== state.refresh) Object.assign(state, { old: spent, firstUse: null });
  const said = claims(body.access_token);
  Object.assign(state, { access: body.access_token, refresh: body.refresh_token, claims: said });
  state.user ??= { id: said.sub, display_name: said.sub };
}

async function login({ way, form, root }) {
  const fields = Object.fromEntries(new FormData(form));
  let answer;
  if (way === "cookie") {
    const { username, password, remember } = fields;
    const json = { username, password, mode: "session", remember: remember === "true" };
    answer = await call(way, "POST", "/auth/login", { json, show: root });
  } else {
    if (!fields.scope.trim()) delete fields.scope;
    answer = await call(way, "POST", "/auth/token", { form: fields, show: root });
    if (answer.status === 200) take(answer.body);
  }
  if (answer.status !== 200) return form.elements.password.select();
  form.reset();
  if (way === "token") await me(way);
  card(way).querySelector('[data-action="logout"]').focus();
}

async function logout({ way, root }) {
  const { status } = await call(way, "POST", "/auth/logout", { show: root });
  if (status === 204) forget({ way });
}

function forget({ way }) {
  Object.assign(ways[way], NOBODY, way === "token" ? NO_TOKENS : {});
  paint(way);
  card(way).querySelector('[name="username"]').focus();
}

async function refresh({ root }) {
  const spent = ways.token.refresh;
  const says = ({ status }) => (status === 200 ? "New tokens. The refresh token just used is now old." : undefined);
  const answer = await exchange(spent, root, says);
  if (answer.status === 200) take(answer.body, spent);
  else if (answer.body?.error === "invalid_grant") end("token", "The refresh token no longer works: this session is over.");
  paint("token");
}

async function replay({ root }) {
  const { old, refresh: current } = ways.token;
  if (!old) return;
  const says = ({ status, body }) => {
    if (status === 200 && body.refresh_token === current) return "The same refresh token again, with a fresh access token.";
    if (body?.error === "invalid_grant") return "Taken for theft: it came too late, so the whole session is over, new tokens and all.";
    return undefined;
  };
  const answer = await exchange(old, root, says);
  if (answer.status === 200) take(answer.body, old);
  else if (answer.body?.error === "invalid_grant") end("token", "A used refresh token came back, so the server ended this session.");
  paint("token");
}

const exchange = (token, show, says) =>
  call("token", "POST", "/auth/token", { form: { grant_type: "refresh_token", refresh_token: token }, show, says });

async function write({ way, root }) {
  const { key, value } = root.querySelector("form").elements;
  let json;
  try {
    json = JSON.parse(value.value);
  } catch {
    const help = `This is not JSON. A text stands in double quotes: ${JSON.stringify(value.value)}`;
    part("answer", root).replaceChildren(make("p", { class: "says no", role: "alert" }, help));
    return value.focus();
  }
  if (key.reportValidity()) await call(way, "PUT", `/data/${encodeURIComponent(key.value)}`, { json, show: root });
}

// ---- the list of sessions

const asker = () => document.querySelector('[name="asker"]:checked').value;

async function list({ auto = false } = {}) {
  const way = asker();
  const { status, body, says } = await call(way, "GET", "/auth/sessions", { auto });
  const sessions = status === 200 ? body.sessions : [];
  part("list").hidden = !sessions.length;
  part("list-note").textContent = status === 200 ? `As of ${clock(now())}, asked with the ${way}.` : says;
  part("list-body").replaceChildren(...sessions.map((session) => row(session, way)));
  if (status !== 200) return;
  for (const [side, state] of Object.entries(ways)) {
    const gone = state.user?.id === ways[way].user?.id && state.session && !sessions.some(({ id }) => id === state.session.id);
    if (gone) end(side, "The session was ended.");
    paint(side);
  }
}

function row(session, way) {
  const side = Object.keys(ways).find((name) => ways[name].session?.id === session.id);
  const here = session.current ? "this one" : side ? `this page's ${side}` : "";
  const cell = (label, ...content) => make("td", { "data-label": label }, ...content);
  const name = session.client.device || "unknown device";
  const label = `End the session of ${name}, ${session.client.address}`;
  const button = { "data-action": "end", "data-way": way, "data-sid": session.id, "aria-label": label };
  const until = Math.min(session.expires_at, session.idle_expires_at ?? Infinity);
  const what = make("span", { title: session.client.user_agent }, name);
  return make("tr", {},
    cell("Device", what, here ? make("span", { class: "chip" }, here) : "", make("small", {}, session.client.address)),
    cell("Mode", session.backend === "jwt" ? "JWT" : "cookie"),
    cell("Logged in", moment(session.created_at)),
    cell("Last seen", moment(session.last_seen_at)),
    cell("Ends in", make("span", { "data-at": until }, left(until))),
    cell("", make("button", button, "End")));
}

async function finish(way, path, own = false) {
  const { status, says } = await call(way, "DELETE", path);
  const note = part("list-note");
  if (status !== 204) {
    note.textContent = says;
  } else if (own) {
    end(way, "You ended this session.");
    paint(way);
    part("list").hidden = true;
    note.textContent = "That was the session you asked with. Log in again, or ask with the other side.";
  } else {
    await list({ auto: true });
  }
  if (document.activeElement === document.body) document.querySelector('[data-action="list"]').focus();
}

// ---- live connections

function pressed(action, on, label) {
  const button = document.querySelector(`[data-action="${action}"]`);
  button.setAttribute("aria-pressed", String(on));
  button.textContent = label;
}

function toggleStream() {
  if (stream) return stopStream("stopped", "You stopped the stream.", "good");
  const began = now();
  let count = 0;
  stream = new EventSource(at("/stream"));
  pressed("stream", true, "Stop");
  part("stream-state").textContent = "connecting";
  stream.onopen = () => happened("/stream", "open", "good", "The stream is open.", "An EventSource of the browser, with the cookie.");
  stream.onmessage = ({ data }) => {
    count += 1;
    part("stream-state").textContent = `${count} events, ${(count / Math.max(0.1, now() - began)).toFixed(1)} a second`;
    part("stream-last").textContent = data;
  };
  stream.onerror = async () => {
    if (stream?.readyState === EventSource.CONNECTING) {
      part("stream-state").textContent = "cut; the browser asks again";
      return happened("/stream", "cut", "no", "The stream ended; the browser asks again by itself.", "If the session is over, that is refused.");
    }
    stopStream("refused", "No stream: somebody must be logged in by cookie.", "no");
    await me("cookie");
  };
}

function stopStream(label, says, tone) {
  stream?.close();
  stream = null;
  pressed("stream", false, "Start");
  part("stream-state").textContent = label;
  part("stream-last").textContent = "";
  happened("/stream", label, tone, says, "A browser tells a page no status for an event stream; call /private to see it.");
}

const OVER = "Closed by the server: the session is over.";
const LATER = "Closed by the server: it cannot tell right now who is calling. Try again.";
const CLOSED = { 1006: "The connection was lost.", 1008: OVER, 3000: OVER, 1013: LATER, 4013: LATER };

function toggleSocket() {
  if (socket) return socket.close(1000);
  const url = at("/ws");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  let opened = false;
  socket = new WebSocket(url);
  pressed("socket", true, "Disconnect");
  part("socket-state").textContent = "connecting";
  socket.onopen = () => {
    opened = true;
    part("socket-state").textContent = "open";
    happened("/ws", "open", "good", "The WebSocket is open.", "The cookie went with the handshake; the server checked Origin, too.");
  };
  socket.onmessage = ({ data }) => said("←", String(data));
  socket.onclose = async ({ code, reason }) => {
    socket = null;
    pressed("socket", false, "Connect");
    const label = opened ? `closed (${code})` : "refused";
    const says = opened ? (CLOSED[code] ?? "The WebSocket is closed.") : "No WebSocket: somebody must be logged in by cookie.";
    part("socket-state").textContent = label;
    const why = `Close code ${code}${reason ? `, reason: ${reason}` : ""}. A browser tells no status of a refused handshake.`;
    happened("/ws", label, code === 1000 ? "good" : "no", says, why);
    if (code !== 1000) await me("cookie");
  };
}

function said(way, words) {
  const talk = part("talk");
  const mark = make("span", { class: "way-mark", "aria-hidden": "true" }, way);
  const spoken = make("span", { class: "unseen" }, way === "→" ? "sent: " : "received: ");
  talk.prepend(make("li", {}, mark, spoken, words));
  while (talk.children.length > 8) talk.lastElementChild.remove();
}

function send({ form }) {
  const { text: field } = form.elements;
  if (socket?.readyState !== WebSocket.OPEN) {
    part("socket-state").textContent = "connect first";
    return;
  }
  socket.send(field.value);
  said("→", field.value);
  field.select();
}

// ---- from the page to the actions

const ACTIONS = {
  login, logout, refresh, replay, write, send, list,
  forget,
  end({ way, button }) {
    const { sid } = button.dataset;
    return finish(way, `/auth/sessions/${encodeURIComponent(sid)}`, ways[way].session?.id === sid);
  },
  stream: toggleStream,
  socket: toggleSocket,
  get: ({ way, root, button }) => call(way, "GET", button.dataset.path, { show: root }),
  "end-others": () => finish(asker(), "/auth/sessions"),
  fill({ form, button }) {
    form.elements.username.value = button.dataset.user;
    form.elements.password.value = PASSWORDS[button.dataset.user];
    form.querySelector("button").focus();
  },
  "clear-log"() {
    part("log").replaceChildren();
    part("log-empty").hidden = false;
  },
};

async function act(element, form) {
  if (element.getAttribute("aria-busy") === "true" || element.getAttribute("aria-disabled") === "true") return;
  element.setAttribute("aria-busy", "true"); // one at a time each; `disabled` would take the focus away
  try {
    const root = element.closest(".card");
    await ACTIONS[element.dataset.action]({ way: element.dataset.way ?? root.dataset.way, root, form, button: element });
  } finally {
    element.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-action]");
  if (button) act(button, button.form);
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  act(event.target, event.target);
});
setInterval(tick, 1000);
paint("cookie");
paint("token");
await call("cookie", "GET", "/public", { auto: true }); // who are we, should a cookie be there already
