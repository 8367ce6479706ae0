import { fetch, session } from "/auth/msauth.js"

// Once nobody is signed in, nobody sees what is private; somebody else gets a page of their own.
session.addEventListener("change", ({ detail }) => {
	document.getElementById("private").hidden = !detail.state.signed_in
	if (detail.other) location.reload()
})

// Of the requests that change something, drafts may be sent again after a sign-in.
session.repeat = (request) => new URL(request.url).pathname === "/api/drafts"

document.getElementById("save").onclick = async () => {
	const response = await fetch("/api/drafts", { method: "POST", body: document.getElementById("draft").value })
	document.getElementById("saved").hidden = !response.ok
}
