//go:build !race

package credentials_test

// 2000 renewals, at the machine's own pace.
const rolloverPeople, rolloverRenewals = 200, 10
