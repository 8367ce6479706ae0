// Package page shows in Chromium what msauth.js does on pages of a site with a strict
// Content-Security-Policy and Trusted Types: how sessions end there, and begin again.
package page
