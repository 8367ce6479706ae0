// Shows the status of the session. Without this script, the link to sign in works all
// the same.
"use strict";

const byId = (id) => document.getElementById(id);

const texts = {
  connected: "You are signed in.",
  notConnected: "You did not connect: you came back from Microsoft without signing in.",
  expired: "Your session has ended. Sign in again to go on.",
  unknown: "You are not signed in.",
};

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  return { response, answer: await response.json().catch(() => ({})) };
}

async function showStatus() {
  try {
    const { response, answer } = await ask("/api/status");
    if (!response.ok) throw new Error(`status ${response.status}`);
    byId("status").textContent = answer.status;
    byId("text").textContent = texts[answer.status];
    byId("user").textContent = answer.user ?? "";
    const connected = answer.status === "connected";
    byId("as").hidden = !connected;
    byId("sign-in").hidden = connected;
    byId("sign-out").hidden = !connected;
  } catch {
    byId("text").textContent = "The site did not respond.";
  }
}

// What needs a session is answered with 401 if there is none. login_url leads back to
// this page.
async function showMe() {
  const result = byId("result");
  try {
    const { response, answer } = await ask("/api/me");
    if (response.ok) {
      const ends = new Date(answer.ends).toLocaleString();
      result.textContent = `You are ${answer.user}, with the scopes ${answer.scopes.join(", ")}, until ${ends}.`;
      return;
    }
    result.textContent = `Status ${response.status}: ${answer.title ?? "error"}. `;
    if (!answer.login_url) return;
    const login = new URL(answer.login_url, location.href);
    if (login.origin !== location.origin) return;
    const link = document.createElement("a");
    link.id = "login-url";
    link.href = login.href;
    link.textContent = "Sign in";
    result.append(link);
  } catch {
    result.textContent = "The site did not respond.";
  }
}

byId("ask").hidden = false;
byId("ask").addEventListener("click", showMe);
// The person may have signed in or out in another tab.
addEventListener("focus", showStatus);
addEventListener("pageshow", showStatus);
