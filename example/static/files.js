// Uploads from the upload page: several files, with progress. Without this script
// the form sends one file.
//
// A file goes straight to OneDrive's storage host, in chunks, at a URL that the app
// has asked for. Where the browser may not do that (the host is not in the page's
// policy, or does not allow it), the file goes through the app.
"use strict";

const form = document.getElementById("upload-form");
const input = document.getElementById("file");
const drop = document.getElementById("drop");
const list = document.getElementById("uploads");
const announcer = document.getElementById("upload-status");

const atOnce = 2; // files
const mostFailures = 8; // in a row, of one file
const mostSessions = 3; // of one file
const chunkTime = 5 * 60 * 1000; // milliseconds

let throughApp = false; // the storage host cannot be reached from here
let running = 0;
const waiting = [];

// A Failure ends an upload. What it says is for people.
class Failure extends Error {
  constructor(title, more = {}) {
    super(title);
    Object.assign(this, more);
  }
}

function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

// send resolves to the status of the answer, 0 if there is none, and its document.
function send(method, url, body, { headers = {}, progress, signal, timeout = 60000 }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal.addEventListener("abort", stop);
    request.open(method, url);
    request.timeout = timeout;
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (progress) request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("loadend", () => {
      signal.removeEventListener("abort", stop);
      if (signal.aborted) return reject(signal.reason);
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // no document
      }
      resolve({ status: request.status, answer });
    });
    request.send(body);
  });
}

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

// call sends a document to the app.
async function call(url, document, signal) {
  const body = JSON.stringify(document);
  const { status, answer } = await send("POST", url, body, { headers: { Accept: "application/json", "Content-Type": "application/json" }, signal });
  if (status !== 200) throw refused(status, answer);
  return answer;
}

// refused is the failure for an answer of the app: application/problem+json (RFC
// 9457). If signing in helps, login_url is where, and leads back to this page.
function refused(status, answer) {
  if (status === 0) return new Failure("The app did not respond.");
  if (status === 409) return new Failure("There is already a file of this name.", { exists: true });
  const text = [answer.title, answer.detail].filter(Boolean).join(". ");
  return new Failure(text || `The app answered with status ${status}.`, { login: answer.login_url });
}

// firstMissing is the first byte that the storage host asks for.
function firstMissing(answer, otherwise) {
  const starts = (answer.nextExpectedRanges ?? []).map((range) => parseInt(range, 10)).filter(Number.isFinite);
  return starts.length ? Math.min(...starts) : otherwise;
}

class Upload {
  constructor(file, conflict) {
    this.file = file;
    this.conflict = conflict;
    const name = element("span", file.name, { class: "name" });
    this.cancel = element("button", "Cancel", { class: "button quiet cancel", type: "button", "aria-label": `Cancel the upload of ${file.name}` });
    this.bar = element("progress", "", { max: Math.max(file.size, 1), value: 0, "aria-label": `Upload of ${file.name}` });
    this.state = element("p", "Waiting", { class: "state" });
    this.choices = element("div", "", { class: "choices" });
    this.row = element("li", "");
    this.row.append(name, this.cancel, this.bar, this.state, this.choices);
    this.cancel.addEventListener("click", () => this.stop());
    list.append(this.row);
    this.queue();
  }

  queue() {
    this.stopper = new AbortController();
    this.cancel.hidden = this.bar.hidden = false;
    this.choices.replaceChildren();
    this.say("Waiting");
    waiting.push(this);
    next();
  }

  stop() {
    const place = waiting.indexOf(this);
    if (place >= 0) {
      waiting.splice(place, 1);
      this.end("Cancelled");
      this.offer({});
    }
    this.stopper.abort();
  }

  say(text, bad = false) {
    this.state.textContent = text;
    this.state.classList.toggle("bad", bad);
  }

  show(bytes) {
    this.bar.value = Math.min(bytes, this.file.size);
    this.say(`${Math.floor((100 * this.bar.value) / this.bar.max)} %`);
  }

  // end says how the upload has ended, on the page and to screen readers.
  end(text, bad = false) {
    const focused = document.activeElement === this.cancel;
    this.cancel.hidden = true;
    this.bar.hidden = this.bar.value < this.bar.max;
    this.say(text, bad);
    announcer.textContent = `${this.file.name}: ${text}`;
    if (focused) document.getElementById("back").focus();
  }

  async run() {
    try {
      const name = await this.transfer();
      this.bar.value = this.bar.max;
      this.end(name === this.file.name ? "Uploaded" : `Uploaded as “${name}”`);
    } catch (failure) {
      if (this.stopper.signal.aborted) this.end("Cancelled");
      else this.end(failure instanceof Failure ? failure.message : "The file could not be read.", true);
      this.offer(failure);
    }
  }

  // offer adds what can be done after a failure.
  offer(failure) {
    const again = (label, conflict) => {
      const button = element("button", label, { class: "button quiet", type: "button" });
      button.addEventListener("click", () => {
        this.conflict = conflict;
        this.queue();
      });
      this.choices.append(button);
    };
    if (failure.login) {
      const login = new URL(failure.login, location.href);
      if (login.protocol === "https:" || login.protocol === "http:") {
        this.choices.append(element("a", "Sign in", { class: "button", href: login.href }));
      }
    } else if (failure.exists) {
      again("Keep both", "rename");
      again("Replace it", "replace");
    } else {
      again("Try again", this.conflict);
    }
  }

  // transfer stores the file and resolves to its name.
  async transfer() {
    this.show(0);
    for (let sessions = 0; this.file.size > 0 && !throughApp; sessions++) {
      if (sessions === mostSessions) throw new Failure("OneDrive has ended the upload before the file was complete.");
      const session = await this.begin();
      try {
        const name = await this.direct(session);
        if (name !== undefined) return name;
      } catch (failure) {
        if (this.stopper.signal.aborted) this.say("Cancelling");
        await this.forget(session);
        throw failure;
      }
    }
    return this.viaApp();
  }

  begin() {
    const { name, size, lastModified } = this.file;
    const modified = new Date(lastModified).toISOString();
    const account = form.elements.account.value; // somebody else may have signed in since
    return call(form.dataset.sessions, { account, in: form.elements.in.value, name, size, modified, conflict: this.conflict }, this.stopper.signal);
  }

  // direct sends the file to the storage host. It resolves to undefined if that
  // cannot be reached, or has ended the session.
  async direct(session) {
    const { file, stopper: { signal } } = this;
    this.row.dataset.way = "direct";
    let offset = 0;
    for (let failures = 0, reached = false; ; ) {
      const from = offset, end = Math.min(from + session.chunk, file.size);
      let { status, answer } = await send("PUT", session.url, file.slice(from, end), {
        headers: { "Content-Range": `bytes ${from}-${end - 1}/${file.size}` },
        progress: (bytes) => this.show(from + Math.min(bytes, end - from)), signal, timeout: chunkTime,
      });
      if (status === 200 || status === 201) return answer.name ?? file.name;
      if (status === 202) {
        offset = firstMissing(answer, end);
        failures = offset > from ? 0 : failures + 1;
        if (failures > mostFailures) throw new Failure("The connection was lost.");
        reached = true;
        this.show(offset);
        continue;
      }
      if (status === 409) throw new Failure("There is already a file of this name.", { exists: true });
      if (status === 507) throw new Failure("This OneDrive is full.");
      if (++failures > mostFailures) throw new Failure("The connection was lost.");
      if (failures > 1 || status !== 0) await pause(500 * 2 ** Math.min(failures, 6), signal);
      ({ status, answer } = await send("GET", session.url, null, { signal }));
      if (status === 200) {
        reached = true;
        offset = firstMissing(answer, file.size);
        if (offset < file.size) continue;
      }
      if (status === 0 && !reached) {
        throughApp = true;
        await this.forget(session);
        return undefined;
      }
      if (end === file.size && status !== 0 && status < 500) {
        throw new Failure("It is not known whether the file was stored. Look for it in the folder before you upload it again.");
      }
      if ([401, 403, 404, 410].includes(status)) return undefined;
    }
  }

  // forget ends a session: at the host, or else by the app. While it is open, the
  // name may count as taken.
  async forget({ url, id }) {
    const { signal } = new AbortController();
    const { status } = await send("DELETE", url, null, { signal, timeout: 10000 });
    if (status === 0) await call(form.dataset.sessions + "/cancel", { id }, signal).catch(() => {});
  }

  // viaApp sends the file to where the form sends it.
  async viaApp() {
    this.row.dataset.way = "app";
    const data = new FormData();
    data.set("account", form.elements.account.value);
    data.set("in", form.elements.in.value);
    data.set("conflict", this.conflict);
    data.set("file", this.file); // last
    const { status, answer } = await send("POST", form.action, data, {
      headers: { Accept: "application/json" }, progress: (bytes) => this.show(bytes), signal: this.stopper.signal, timeout: 0,
    });
    if (status !== 200) throw refused(status, answer);
    return answer.name;
  }
}

function next() {
  while (running < atOnce && waiting.length) {
    running++;
    waiting.shift().run().finally(() => {
      running--;
      next();
    });
  }
}

function add(files) {
  for (const file of files) new Upload(file, form.elements.conflict.value);
}

input.multiple = true;
drop.querySelector("label").textContent = "Files";
drop.append(element("p", "You can also drop files here.", { class: "note" }));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  add(input.files);
  input.value = "";
});
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", type === "dragenter" || type === "dragover");
  });
}
drop.addEventListener("drop", ({ dataTransfer }) => {
  const folder = [...dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folder) announcer.textContent = "Folders cannot be uploaded: drop files.";
  else add(dataTransfer.files);
});
window.addEventListener("beforeunload", (event) => {
  if (running) event.preventDefault();
});
