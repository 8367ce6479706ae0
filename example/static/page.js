// What every page does when the session ends, or somebody signs out in another tab: it
// hides what is private. msauth.js notices; it also has the element of the countdown.
const { session } = await import(document.getElementById("msauth").href);

const main = document.getElementById("main");
const ended = document.getElementById("ended");
const other = document.getElementById("other");

function show(state, isOther) {
  const gone = !state.signed_in;
  main.hidden = gone || isOther;
  document.querySelector(".account").hidden = main.hidden;
  ended.hidden = !gone;
  other.hidden = gone || !isOther;
}

session.addEventListener("change", ({ detail }) => show(detail.state, detail.other));

// "change" tells nothing of what happened while this page was loading.
session.look().then((state) => state && !state.signed_in && show(state, false));

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
