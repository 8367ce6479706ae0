// @ts-check

/**
 * What a page does when its session ends: it asks for a sign-in in place, in a window of
 * its own, and repeats the requests that were refused. docs/recipes.md shows the few
 * lines that a page needs.
 *
 * Who is signed in, only {BaseURL}/session says. Messages of other tabs, times and the
 * state of windows are reasons to ask it, and nothing more: Microsoft's pages cut the
 * window off (Cross-Origin-Opener-Policy), so that its opener is null for good, and its
 * closed true while it is open. Where /session does not answer, nothing is known, and
 * nobody counts as signed out.
 *
 * There are no words here: texts come from the server, in the reader's language.
 *
 * @typedef {object} State  What {BaseURL}/session answered last.
 * @property {boolean} signed_in
 * @property {string} [name]
 * @property {string} [username]
 * @property {string} [ends]       When the session ends at the latest.
 * @property {string} [idle_ends]  When it ends if it is not used.
 * @property {number} [person]     Another number for another account.
 * @property {number} [sign_in]    Another number after each sign-in.
 * @property {string} login_url
 * @property {string} [logout_url]
 *
 * @typedef {object} Problem  The server's answer to a request that needs a sign-in.
 * @property {string} [title]
 * @property {string} [detail]
 * @property {string} [language]    Of these texts.
 * @property {string} [login_label]
 * @property {string} [cancel_label]
 * @property {number} [sign_in]  The sign-in that does not suffice, 0 if there is none.
 * @property {string} login_url
 */

const base = new URL(".", import.meta.url).href;
const send = window.fetch.bind(window);

/** The times of this module, in milliseconds. */
const pace = 300, patience = 5000, poll = 3000, retry = 10000, longest = 60000;

/** @param {number} ms @returns {Promise<void> | undefined} */
const sleep = (ms) => (ms > 0 ? new Promise((done) => setTimeout(done, ms)) : undefined);

/** @param {string} type @param {object} detail @returns {boolean} whether nobody prevents the default */
const tellPage = (type, detail) => session.dispatchEvent(new CustomEvent(type, { detail, cancelable: type === "signin" }));

/**
 * Events:
 *   "signin"  A sign-in is needed. preventDefault() leaves the dialog and the window to the
 *             page. detail: problem, open() for a click, cancel(),
 *             finished (a promise of whether somebody has signed in).
 *   "change"  Somebody has signed in or out, here or elsewhere. detail: old and state, and
 *             other: another person than the one before.
 *   "ending"  The session is about to end. detail: ends, a Date.
 */
class Session extends EventTarget {
	/** @type {State | undefined} Undefined as long as nothing is known. */
	state;

	/** How many seconds before the end "ending" comes. */
	notice = 120;

	/**
	 * Says whether a request that may change something is sent again after a sign-in: only
	 * if this returns true, or a promise of it.
	 * @type {((request: Request) => unknown) | undefined}
	 */
	repeat;

	/** When the session ends, by this computer's clock; Infinity if it does not. */
	get end() {
		return ends;
	}

	/** Asks the server who is signed in, and returns the state. */
	look() {
		return look();
	}

	/** Uses the session, so that its idle time begins anew, and returns the state. */
	async stay() {
		await (tail = tail.then(() => ask("POST")));
		return this.state;
	}

	/** Opens a window to sign in, in a click; returns whether somebody has. @param {AbortSignal} [signal] */
	signIn(signal) {
		const wait = front() || new Wait("", { login_url: this.state?.login_url || base + "login" }, signInOf(this.state));
		wait.begin();
		wait.open();
		return wait.joined(signal).then(Boolean);
	}
}

export const session = new Session();

// What is known.

/** The last person who was signed in; 0: nobody so far; undefined: not known. @type {number | undefined} */
let owner;
let ends = Infinity;
/** The key of the state that "ending" was for. @type {string | undefined} */
let announced;
/** That of the state whose end the server was asked for once more. @type {string | undefined} */
let confirmed;
/** @type {Set<() => void>} called whenever /session has answered */
const watchers = new Set();

/** @param {State | undefined} state */
const signInOf = (state) => state && (state.signed_in ? state.sign_in : 0);

/** What tabs compare: the sign-in and its end. */
const key = () => session.state && [signInOf(session.state), session.state.ends, session.state.idle_ends].join();

/** @param {State} state @param {number} ahead  by how much this computer's clock is ahead of the server's */
function know(state, ahead) {
	const old = session.state, oldKey = key();
	session.state = state;
	const times = [state.ends, state.idle_ends].map((time) => Date.parse(time || "") + ahead).filter((time) => time);
	const end = state.signed_in ? Math.min(...times) : Infinity;
	if (key() !== oldKey && key() !== heard) tellTabs(key());
	// Date has whole seconds.
	if (key() !== oldKey || Math.abs(end - ends) > 2000) ends = end;
	const other = !!state.person && !!owner && state.person !== owner;
	owner = state.person || owner || 0;
	if (old && (old.person || 0) !== (state.person || 0)) tellPage("change", { old, state, other });
	for (const watcher of watchers) watcher();
	watch();
}

/** @param {string} method */
async function ask(method) {
	try {
		const response = await send(base + "session", { method, cache: "no-store", redirect: "error", headers: { "X-Msauth": "1" }, signal: AbortSignal.timeout(patience) });
		const date = Date.parse(response.headers.get("Date") || ""), now = Date.now();
		const state = await response.json();
		if (response.ok && typeof state.signed_in === "boolean") know(state, date ? now - date : 0);
	} catch {
		// Nothing is known.
	}
}

/** The end of all requests to /session so far: one at a time, so that the last answer is the newest. */
let tail = Promise.resolve();
/** @type {Promise<State | undefined> | undefined} the next look, which has not begun */
let next;
let begun = -Infinity;

/** Asks /session after everything that has happened until now, and not too often. */
function look() {
	if (!next) {
		tail = tail
			.then(() => sleep(begun + pace - performance.now()))
			.then(() => {
				next = undefined;
				begun = performance.now();
				return ask("GET");
			});
		next = tail.then(() => session.state);
	}
	return next;
}

// Time. No timer is long: they would stand still while a laptop sleeps, and overflow
// after 24.8 days.

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

function watch() {
	clearTimeout(timer);
	if (ends === Infinity) return;
	const left = ends - Date.now();
	const notice = left - session.notice * 1000;
	const due = Math.min(notice > 0 ? notice : left > 0 ? left : retry, longest);
	const at = Date.now() + due;
	timer = setTimeout(() => {
		// If so, the computer has slept.
		const late = Date.now() - at > pace * 10 && !document.hidden;
		if (late || ends - Date.now() <= 0) look().finally(watch);
		else watch();
	}, due);
	if (notice <= 0 && left > 0 && announced !== key() && sure()) {
		announced = key();
		tellPage("ending", { ends: new Date(ends) });
	}
}

/** Reports whether the end is certain; if other requests may have put it off, it asks, once. */
function sure() {
	if (confirmed === key() || performance.now() - begun < pace * 5) return true;
	confirmed = key();
	look().finally(() => {
		watch();
		for (const watcher of watchers) watcher();
	});
	return false;
}

// Other tabs.

/** @type {BroadcastChannel | undefined} */
let channel;
/** What all tabs were told last: nobody says it again, or servers that disagree would keep them busy. @type {unknown} */
let heard;

function listen() {
	if (channel || typeof BroadcastChannel !== "function") return;
	channel = new BroadcastChannel("msauth " + new URL(base).pathname);
	channel.onmessage = ({ data }) => {
		heard = data;
		if (data === "leaving") lookOften();
		else if (data !== key()) look();
	};
}

/** @param {unknown} message */
function tellTabs(message) {
	channel?.postMessage((heard = message));
}

/** Somebody is about to sign out: when that is done, no page may say. */
async function lookOften() {
	for (const ms of [0, 400, 500, 1000, 2000, 4000]) {
		await sleep(ms);
		look();
	}
}

/** @param {Event} event */
function mayLeave(event) {
	const target = event.composedPath()[0];
	if (!(target instanceof Element)) return;
	const link = event instanceof SubmitEvent ? (event.submitter?.getAttribute("formaction") ?? target.getAttribute("action")) : target.closest("a[href]")?.getAttribute("href");
	if (link == null || !URL.canParse(link, document.baseURI)) return;
	const { origin, pathname } = new URL(link, document.baseURI);
	if (origin + pathname !== base + "logout") return;
	tellTabs("leaving");
	lookOften();
}

// Requests.

/**
 * window.fetch that asks for a sign-in when the server does, and then sends the request
 * again, once. It returns the refusal if nobody signs in, if somebody else does, if
 * session.repeat does not agree to a request that may change something, or if the body
 * was a stream.
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function fetch(input, init) {
	const request = new Request(input, init);
	const spare = init?.body instanceof ReadableStream ? undefined : request.clone();
	let person = owner, before = signInOf(session.state);
	let response = await send(request);
	let agreed = /^(GET|HEAD|OPTIONS)$/.test(request.method);
	for (let rest = 2; rest > 0; rest--) {
		const problem = await problemOf(response);
		if (!problem) break;
		if (person === undefined) {
			// It began before the request.
			const state = await first;
			[person, before] = [state && (state.person || 0), signInOf(state)];
		}
		const now = signInOf(session.state);
		// If not, another tab has signed in.
		if (!now || before === undefined || now === before) {
			const wait = waits.get(problem.login_url) || new Wait(problem.login_url, problem, problem.sign_in ?? now);
			wait.begin();
			const done = await wait.joined(request.signal);
			if (!done) break;
			if (done === "asked") rest = 1;
		}
		const same = () => !!session.state?.signed_in && (person === 0 || person === session.state.person);
		if (!spare || !same()) break;
		// To agree may take time: who is signed in by then?
		agreed ||= (await session.repeat?.(spare.clone())) === true && !!(await look());
		if (!agreed || !same()) break;
		before = signInOf(session.state);
		response = await send(spare.clone());
	}
	return response;
}

/** The problem document that asks for a sign-in here, if that is what the response is. @param {Response} response @returns {Promise<Problem | undefined>} */
async function problemOf(response) {
	if (response.status !== 401 && response.status !== 403) return;
	if (!/^application\/problem\+json *(;|$)/i.test(response.headers.get("Content-Type") || "")) return;
	// "null/" begins no address.
	if (!response.url.startsWith(location.origin + "/")) return;
	try {
		const problem = await response.clone().json();
		const login = new URL(problem.login_url, response.url);
		problem.login_url = base + "login" + login.search;
		if (login.origin + login.pathname === base + "login") return problem;
	} catch {
		// No problem document.
	}
}

/** Sign-ins that are waited for, by login_url. @type {Map<string, Wait>} */
const waits = new Map();
/** The one that is shown: the first. One that the page has asked for has no dialog, and gives way. */
const front = () => [...waits.values()].sort((a, b) => +!a.key - +!b.key)[0];

class Wait {
	shown = false;
	joins = 0;

	/** @param {string} key  "" if the page has asked for it  @param {Problem} problem @param {number | undefined} before  the sign-in that does not suffice */
	constructor(key, problem, before) {
		this.key = key;
		this.problem = problem;
		this.before = before;
		waits.set(key, this);
		watchers.add(this.check);
		/** @type {Promise<"" | "asked" | "other">} by which sign-in it is over: its own, or another one */
		this.over = new Promise((resolve) => (this.resolve = resolve));
		this.over.then(() => front()?.begin());
	}

	check = () => {
		const now = signInOf(session.state);
		this.before ??= now;
		if (now && now !== this.before) this.end(this.shown ? "asked" : "other");
	};

	/** @param {"" | "asked" | "other"} how */
	end(how) {
		if (waits.get(this.key) !== this) return;
		waits.delete(this.key);
		watchers.delete(this.check);
		this.resolve?.(how);
	}

	/** Shows it, if it is its turn. */
	begin() {
		if (this.shown || front() !== this) return;
		this.shown = true;
		const { problem, over } = this;
		const timer = setInterval(() => document.hidden || look(), poll);
		over.then(() => clearInterval(timer));
		look();
		const open = () => this.open(), cancel = () => this.cancel();
		if (!this.key || !tellPage("signin", { problem, open, cancel, finished: over.then(Boolean) })) return;
		const dialog = element("dialog", "");
		dialog.className = "msauth";
		dialog.lang = problem.language || "";
		dialog.dir = "auto";
		const title = element("h2", problem.title || ""), login = element("button", problem.login_label || "\u2192");
		title.id = "msauth-title";
		dialog.setAttribute("aria-labelledby", title.id);
		const close = element("button", problem.cancel_label || "\u00d7");
		dialog.append(title, element("p", problem.detail || ""), login, " ", close);
		(document.body || document.documentElement).append(dialog);
		login.onclick = open;
		close.onclick = dialog.onclose = cancel;
		over.then(() => {
			dialog.onclose = null;
			// This gives the focus back.
			dialog.close();
			dialog.remove();
		});
		dialog.showModal();
		if (navigator.userActivation?.isActive) open();
	}

	/** Opens the window, or leaves the page where that is not possible. */
	open() {
		const to = new URL(this.problem.login_url, base);
		to.searchParams.set("return_to", new URL(base).pathname + "done");
		const opened = window.open(to, "_blank", "popup,width=520,height=680");
		if (opened) {
			// Nobody there is to lead this page elsewhere.
			opened.opener = null;
			return;
		}
		// A fragment with values in it is not for servers.
		const place = /^#[\w/!.-]{1,200}$/.test(location.hash) ? location.hash : "";
		to.searchParams.set("return_to", location.pathname + location.search + place);
		location.assign(to);
	}

	/** Gives up, also for those whose turn has not come. */
	cancel() {
		if (waits.get(this.key) === this) for (const wait of waits.values()) wait.end("");
	}

	/** @param {AbortSignal} [signal] */
	joined(signal) {
		this.joins++;
		return new Promise((resolve, reject) => {
			const leave = () => {
				if (--this.joins === 0) this.end("");
				reject(signal?.reason);
			};
			if (signal?.aborted) return leave();
			signal?.addEventListener("abort", leave);
			this.over.then((how) => {
				signal?.removeEventListener("abort", leave);
				resolve(how);
			});
		});
	}
}

/** @template {keyof HTMLElementTagNameMap} T @param {T} name @param {string} text */
function element(name, text) {
	const made = document.createElement(name);
	made.textContent = text;
	return made;
}

// <msauth-countdown before="300">: hidden until so many seconds before the end. Its <time>
// shows how long that is, and its button[data-stay] stays signed in.

class Countdown extends HTMLElement {
	/** @type {ReturnType<typeof setTimeout> | undefined} */
	#timer;

	connectedCallback() {
		if (!this.hasAttribute("role")) this.setAttribute("role", "timer");
		this.addEventListener("click", this);
		watchers.add(this.draw);
		this.draw();
	}

	disconnectedCallback() {
		this.removeEventListener("click", this);
		watchers.delete(this.draw);
		clearTimeout(this.#timer);
	}

	/** @param {Event} event */
	handleEvent({ target }) {
		if (target instanceof Element && target.closest("button[data-stay]")) session.stay();
	}

	draw = () => {
		clearTimeout(this.#timer);
		const left = ends - Date.now();
		const early = left - (Number(this.getAttribute("before")) || 300) * 1000;
		this.hidden = early > 0 || !sure();
		if (ends === Infinity) return;
		this.#timer = setTimeout(this.draw, early > 0 ? Math.min(early, longest) : Math.max(left % 1000, 0) || 1000);
		const seconds = Math.max(0, Math.ceil(left / 1000)), minutes = Math.floor(seconds / 60);
		const time = this.querySelector("time") || this.appendChild(element("time", ""));
		time.dateTime = `PT${minutes}M${seconds % 60}S`;
		time.textContent = minutes + ":" + String(seconds % 60).padStart(2, "0");
	};
}

// A page of this package tells the others, and is done.

/** What is known from the start. */
let first = Promise.resolve(session.state);
const here = location.origin + location.pathname;
listen();
if (here === base + "done" || here === base + "signed-out") {
	// They ask nothing, as their policy says.
	if (channel) channel.onmessage = null;
	tellTabs("changed");
	if (here === base + "done") window.close();
} else {
	const wake = () => void (document.hidden || look());
	first = look();
	customElements.get("msauth-countdown") || customElements.define("msauth-countdown", Countdown);
	addEventListener("focus", wake);
	document.addEventListener("visibilitychange", wake);
	addEventListener("pageshow", ({ persisted }) => {
		listen();
		if (persisted) look();
	});
	addEventListener("pagehide", () => {
		// An open one would keep the page out of the back-forward cache.
		channel?.close();
		channel = undefined;
	});
	for (const type of ["click", "auxclick", "submit"]) addEventListener(type, mayLeave, true);

	// A page of this package that keeps a form says when it can be sent.
	const notice = document.getElementById("msauth-signed-in-again");
	/** @type {number | undefined} */
	let before;
	if (notice)
		watchers.add(() => {
			const now = signInOf(session.state);
			before ??= now;
			if (!notice.hidden || !now || now === before) return;
			notice.hidden = false;
			document.querySelector("button")?.focus();
		});
}
