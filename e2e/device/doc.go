// Package device has sessions bound to the device in Chromium: Device Bound Session
// Credentials (Config.DeviceBinding). Its keys are software, and each test has a
// browser of its own with a new profile: one profile signs only about six times in
// nine minutes for a site.
package device
