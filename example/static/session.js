// The buttons of the session page. Without this script they are plain links to the
// API.
"use strict";

const calls = document.getElementById("api-calls");
const result = document.getElementById("api-result");

function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

async function call(url) {
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" } });
  } catch {
    return [element("p", "The app did not respond.", { class: "bad" })];
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) {
    return [
      element("p", `Status ${response.status}`, { class: "good" }),
      element("pre", JSON.stringify(answer, null, 2), { tabindex: "0", "aria-label": "Response" }),
    ];
  }

  // Errors are application/problem+json (RFC 9457). If signing in helps, login_url
  // is where, and leads back to this page.
  const parts = [element("p", `Status ${response.status}: ${answer.title ?? "error"}`, { class: "bad" })];
  if (answer.detail) parts.push(element("p", answer.detail));
  if (answer.login_url) {
    const login = new URL(answer.login_url, location.href);
    if (login.protocol === "https:" || login.protocol === "http:") {
      parts.push(element("a", "Sign in", { class: "button", id: "api-sign-in", href: login.href }));
    }
  }
  return parts;
}

let latest; // the last button pressed: late responses to others are not shown

calls.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const mine = (latest = {});
  result.replaceChildren();
  const parts = await call(link.href);
  if (mine === latest) result.replaceChildren(...parts);
});
