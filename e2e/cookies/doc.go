// Package cookies shows in Chromium what the package's cookies withstand.
package cookies
