// The button of the session page. Without this script the form opens /api/me
// as a page.
"use strict";

const form = document.getElementById("api-form");
const button = document.getElementById("call-api");
const result = document.getElementById("api-result");

function element(name, text, attributes = {}) {
  const e = document.createElement(name);
  e.textContent = text;
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

async function call() {
  let response;
  try {
    response = await fetch(form.action, { headers: { Accept: "application/json" } });
  } catch {
    return [element("p", "The app cannot be reached.", { class: "bad" })];
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) {
    return [
      element("p", `Status ${response.status}`, { class: "good" }),
      element("pre", JSON.stringify(answer, null, 2), { tabindex: "0", "aria-label": "Answer" }),
    ];
  }

  // An error comes as application/problem+json (RFC 9457). When signing in
  // helps, login_url says where, and leads back to this page.
  const parts = [element("p", `Status ${response.status}: ${answer.title ?? "error"}`, { class: "bad" })];
  if (answer.detail) parts.push(element("p", answer.detail));
  if (answer.login_url) {
    const url = new URL(answer.login_url, location.href);
    if (url.protocol === "https:" || url.protocol === "http:") {
      parts.push(element("a", "Sign in", { class: "button", id: "api-sign-in", href: url.href }));
    }
  }
  return parts;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  result.replaceChildren(...(await call()));
  button.disabled = false;
});
