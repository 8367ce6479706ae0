// Package e2e holds no code of its own: its tests start the built examples as a
// user does and click through it in Chromium, and once in WebKit. They need Go,
// chromium, webkit2gtk-driver and xvfb, those of device libnss3-tools too
// (scripts/setup installs what is missing), and run with
//
//	go test -race -shuffle=on .
//
// "make pictures" leaves a picture of every page in screenshots/, which git
// ignores.
package e2e
