// What every page does when the session ends, or somebody signs out in another tab: it
// hides what is private. msauth.js notices; it also has the element of the countdown.
const { session } = await import(document.getElementById("msauth").href);

const main = document.getElementById("main");
const ended = document.getElementById("ended");
const other = document.getElementById("other");

session.addEventListener("change", ({ detail }) => {
  const gone = !detail.state.signed_in;
  main.hidden = gone || detail.other;
  document.querySelector(".account").hidden = main.hidden;
  ended.hidden = !gone;
  other.hidden = gone || !detail.other;
});

// For those who do not see the countdown.
session.addEventListener("ending", () => {
  const ending = document.getElementById("ending");
  ending.textContent = ending.dataset.text;
});

// Signing in leaves the page as it is, and what has been typed there.
ended.querySelector("a").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  session.signIn();
});
