// Package device is what a browser proves of the device that it runs on: Device Bound
// Session Credentials (W3C draft "Device Bound Session Credentials"). The browser keeps a
// private key that cannot be copied, and signs challenges with it.
//
//   - A proof is a JWT of the browser. [ReadRegistration] reads the one that brings a
//     new [Key], [Key.Check] one of that key.
//   - [Values] seals what travels through the browser, so that nothing is kept on the
//     server: challenges, which last a minute, the identifier of a binding, which has
//     the key, and the [Bound] cookie, which says when the device was proved last.
//
// A proof counts from when its challenge was made, and not from when it arrives: a copy
// of one that is sent again gains nothing.
//
// The package imports seal and a JOSE library. It knows no sessions, cookies or requests.
package device
