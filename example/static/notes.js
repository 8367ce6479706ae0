// The page of notes. The fragment of its address, such as #note/ID, is the note that it
// shows: it survives a reload, the back button and, with Config.KeepFragments, a sign-in.
// Without this script the links download the files.
const { fetch } = await import(document.getElementById("msauth").href);

const place = document.getElementById("note");

function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

async function read(id) {
  try {
    // If the session has ended, this asks for a sign-in in a window, and goes on.
    const response = await fetch("/api/notes/" + encodeURIComponent(id), { headers: { Accept: "application/json" } });
    const answer = await response.json();
    if (response.ok) return [element("h3", answer.title, { tabindex: "-1" }), element("p", answer.text, { class: "text" })];
    return [element("p", answer.title ?? "The note could not be read.", { class: "bad", tabindex: "-1" })];
  } catch {
    return [element("p", "The app did not respond.", { class: "bad", tabindex: "-1" })];
  }
}

let shown; // late responses for others are not shown

async function show() {
  const id = location.hash.startsWith("#note/") ? location.hash.slice("#note/".length) : "";
  if (id === shown) return;
  shown = id;
  place.replaceChildren();
  for (const link of document.querySelectorAll("[data-note]")) {
    if (link.dataset.note === id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (!id) return;
  const parts = await read(id);
  if (id !== shown) return;
  place.replaceChildren(...parts);
  parts[0].focus(); // as at any fragment; screen readers read on from here
}

for (const link of document.querySelectorAll("[data-note]")) link.href = "#note/" + link.dataset.note;
addEventListener("hashchange", show);
show();
