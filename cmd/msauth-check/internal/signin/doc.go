// Package signin signs the operator in, on a page of this computer, by package msauth
// itself, and tells what came of it: the claims, the sizes, the permissions, and whether
// a renewal works. Tokens stay in memory and are forgotten with the process.
package signin
