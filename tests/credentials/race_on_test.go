//go:build race

package credentials_test

const rolloverPeople, rolloverRenewals = 30, 5
